package wire

import (
	"bytes"
	"strconv"

	"vivarium/bpf"
	"vivarium/pkg/event"
)

// splitArgs appends to list the strings of an argv as the kernel keeps it, each
// ended by a NUL; the last one may have been cut.
func splitArgs(list [][]byte, b []byte) [][]byte {
	for len(b) > 0 {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return append(list, b)
		}
		list = append(list, b[:i])
		b = b[i+1:]
	}
	return list
}

// pseudoPath names a file that lies in no directory as the kernel's d_path
// does: pipe:[INODE], socket:[INODE], net:[INODE] of a namespace, or the file's
// own name (memfd:NAME).
func (m *Message) pseudoPath(ino uint64) {
	ev := &m.Event
	for i := range ev.Kind.Fields {
		v := &ev.Fields[i]
		if ev.Kind.Fields[i].Name != "path" || v.Type != event.Text {
			continue
		}
		name := v.Text
		if bytes.HasPrefix(name, []byte("memfd:")) {
			v.Text = m.compose(func(b []byte) []byte { return append(append(b, '/'), name...) })
			continue
		}
		switch string(name) {
		case "pipefs":
			name = []byte("pipe")
		case "sockfs":
			name = []byte("socket")
		case "pidfs":
			name = []byte("pidfd")
		}
		v.Text = m.compose(func(b []byte) []byte {
			b = append(append(b, name...), ":["...)
			return append(strconv.AppendUint(b, ino, 10), ']')
		})
	}
}

// rootRecord reads what a root is.
func (m *Message) rootRecord(raw []byte) error {
	r, texts, err := split(raw)
	if err != nil {
		return err
	}
	m.Type, m.RootID, m.RootPath = Root, r.Num[0], texts[0]
	if r.Head.Flags&uint8(bpf.VivFlagVIV_UNREACHABLE|bpf.VivFlagVIV_TRUNCATED) != 0 {
		m.raw.Buf = m.raw.Buf[:0]
		m.RootPath = m.compose(func(b []byte) []byte { return append(append(b, "(unreachable)"...), texts[0]...) })
	}
	return nil
}

// unreachablePath marks a path that does not lead to the task's root, because
// its mount is gone or it lies outside a chroot, as getcwd(2) does.
func (m *Message) unreachablePath(of event.Wire) {
	ev := &m.Event
	for i := range ev.Kind.Fields {
		f, v := &ev.Kind.Fields[i], &ev.Fields[i]
		// What is moved lies in text 0, which holds more for other mounts.
		moved := of == event.Text0 && m.ID == event.SbMount && i == event.SbMountDev
		if (f.Wire == of || moved) && v.Type == event.Text {
			v.Text = m.compose(func(b []byte) []byte { return append(append(b, "(unreachable)"...), v.Text...) })
		}
	}
}
