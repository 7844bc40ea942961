package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"vivarium/bpf"
	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

// headSize is the size of a record without numbers and texts, bytes.
const headSize = int(unsafe.Offsetof(bpf.VivRecord{}.Num))

var errShort = errors.New("record is shorter than it says")

// decoder turns the records of the BPF programs into events. What it fills in
// aliases the record or its own storage: valid until the next call.
type decoder struct {
	text     []byte // storage of composed texts
	id       event.ID
	data     []byte // what an ssl_write captured
	inner    bool   // the record was no event but for ourselves: of kind and num
	kind     bpf.VivKind
	num      [4]uint64
	asks     bool   // the record is of a method that the list does not have yet
	function uint64 // where an event is of a function: the number of its site
	sp       uint64 // the thread's stack pointer, if it may be in a method of Ruby; else 0
	bad      bool   // the record was a marker that says nothing
	blind    string // not empty: the record was no event but says what cannot be seen
}

// decode fills ev from raw and returns how many
// records were lost in front of it. ev.TraceID is left alone.
func (d *decoder) decode(raw []byte, ev *event.Event) (lost uint64, err error) {
	var r bpf.VivRecord
	if len(raw) < headSize {
		return 0, errShort
	}
	whole := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	copy(whole, raw[:headSize])
	size := headSize + bits.Len8(r.Nums)*int(unsafe.Sizeof(r.Num[0]))
	if size > len(whole) || len(raw) < size {
		return 0, errShort
	}
	copy(whole[headSize:], raw[headSize:size])
	var texts [len(r.Len)][]byte
	rest := raw[size:]
	for i, n := range r.Len {
		if int(n) > len(rest) {
			return 0, errShort
		}
		texts[i], rest = rest[:n:n], rest[n:]
	}
	d.blind, d.bad, d.inner, d.data, d.asks, d.function = "", false, false, nil, false, 0
	d.num, d.sp = r.Num, r.Sp
	trace := ev.TraceID
	ev.Reset()
	ev.TraceID = trace
	ev.KtimeNS = r.Ktime
	ev.PID, ev.TID, ev.UID, ev.GID = r.Pid, r.Tid, r.Uid, r.Gid
	const comm = unsafe.Offsetof(r.Comm)
	ev.Comm = cutNUL(raw[comm : comm+unsafe.Sizeof(r.Comm)])
	ev.SpanID, ev.ParentSpanID = r.Span, r.Parent
	switch k := bpf.VivKind(r.Kind); k {
	case bpf.VivKindVIV_LIBRARY, bpf.VivKindVIV_TLS_END, bpf.VivKindVIV_METHOD_JUMP:
		d.inner, d.kind = true, k
		return uint64(r.Lost), nil
	case bpf.VivKindVIV_BLIND:
		d.blind = fmt.Sprintf("%s of process %d", blindNames[bpf.VivBlind(r.Num[0])], r.Pid)
		return uint64(r.Lost), nil
	}
	if event.ID(r.Kind) >= event.NumKinds {
		return 0, fmt.Errorf("record of unknown kind %d", r.Kind)
	}
	d.id = event.ID(r.Kind)
	ev.Kind = &event.Kinds[d.id]
	ev.OutcomeUnknown = r.Flags&uint8(bpf.VivFlagVIV_UNKNOWN) != 0
	ev.Truncated = r.Flags&uint8(bpf.VivFlagVIV_TRUNCATED) != 0
	if r.Ret < 0 {
		ev.Error = errnoName(syscall.Errno(-int64(r.Ret)))
	}
	d.text = d.text[:0]
	if r.Flags&uint8(bpf.VivFlagVIV_MARKER) != 0 {
		d.bad = !d.marker(texts[0], ev)
		return uint64(r.Lost), nil
	}
	for i := range ev.Kind.Fields {
		f := &ev.Kind.Fields[i]
		v := &ev.Fields[i]
		switch w := f.Wire; w {
		case event.Num0, event.Num1, event.Num2, event.Num3:
			n := w - event.Num0
			if r.Nums&(1<<n) != 0 {
				v.Type, v.Num = f.Type, r.Num[n]
			}
		case event.Text0, event.Text1:
			if t := texts[w-event.Text0]; len(t) > 0 {
				v.Type, v.Text = event.Text, t
			}
		case event.Addr0, event.Addr1:
			if a, ok := netip.AddrFromSlice(texts[w-event.Addr0]); ok {
				v.Type, v.Text = event.Text, d.compose(a.AppendTo)
			}
		case event.Args0, event.Args1:
			v.Type, v.List = event.List, splitArgs(v.List, texts[w-event.Args0])
		}
	}
	switch d.id {
	case event.EnvCaccess:
		setText(ev, "op", envOps[bpf.VivCall(r.Num[0])])
		const most = 255 // bytes of a key that fit
		ev.Fields[1].Text = cutNUL(ev.Fields[1].Text)
		ev.Truncated = len(ev.Fields[1].Text) == most
	case event.SSLWrite:
		d.data = texts[1]
	case event.DNSReq:
		d.question(ev, texts[0], r.Num[0] == unix.SOCK_STREAM)
	case event.SockConnect:
		unixPath(&ev.Fields[3])
	case event.SbMount:
		dev, fstype, _ := bytes.Cut(texts[0], []byte{0})
		setText(ev, "dev", dev)
		setText(ev, "fstype", cutNUL(fstype))
	case event.TaskKill:
		if r.Nums&1 != 0 {
			setText(ev, "sig_name", []byte(event.SignalName(int64(r.Num[0]))))
		}
	case event.CapableCheck:
		setText(ev, "cap_name", []byte(event.CapName(r.Num[0])))
	case event.KernelReadFile:
		if r.Num[0] < uint64(len(readFileIDs)) {
			setText(ev, "id_name", []byte(readFileIDs[r.Num[0]]))
		}
	case event.SetidChange:
		d.ids(ev, texts[0])
	case event.SpanStart, event.SpanStop, event.SpanRaise:
		d.asks = r.Flags&uint8(bpf.VivFlagVIV_UNDECIDED) != 0
		setText(ev, "source", sourceUSDT)
		if d.id == event.SpanRaise {
			class, message, _ := bytes.Cut(texts[0], []byte{0})
			ev.Fields[0].Text = class
			setText(ev, "message", message)
		} else if r.Flags&uint8(bpf.VivFlagVIV_FUNCTION) != 0 {
			d.function = r.Num[0] + 1
			setText(ev, "source", sourceFunction)
			ev.Fields[2] = event.Value{}
		}
	}
	if r.Flags&uint8(bpf.VivFlagVIV_PSEUDO) != 0 {
		d.pseudoPath(ev, r.Num[3])
	} else if r.Flags&uint8(bpf.VivFlagVIV_UNREACHABLE) != 0 {
		d.unreachablePath(ev, event.Text0)
	}
	if r.Flags&uint8(bpf.VivFlagVIV_UNREACHABLE_1) != 0 {
		d.unreachablePath(ev, event.Text1)
	}
	return uint64(r.Lost), nil
}

var blindNames = map[bpf.VivBlind]string{
	bpf.VivBlindVIV_BLIND_COMPAT:   "unseen 32-bit system calls",
	bpf.VivBlindVIV_BLIND_IO_URING: "unseen io_uring operations",
}

// readFileIDs are the names of enum kernel_read_file_id
// (include/linux/kernel_read_file.h).
var readFileIDs = []string{"unknown", "firmware", "kernel-module", "kexec-image", "kexec-initramfs", "security-policy", "x509-certificate"}

func setText(ev *event.Event, name string, text []byte) {
	for i := range ev.Kind.Fields {
		if ev.Kind.Fields[i].Name == name && len(text) > 0 {
			ev.Fields[i] = event.Value{Type: event.Text, Text: text}
		}
	}
}

// ids fills old_ids and new_ids from struct ids of bpf/authority.h.
func (d *decoder) ids(ev *event.Event, raw []byte) {
	for _, name := range []string{"old_ids", "new_ids"} {
		if len(raw) < 16 {
			return
		}
		setText(ev, name, d.compose(func(b []byte) []byte {
			for i := range 4 {
				if i > 0 {
					b = append(b, ',')
				}
				b = strconv.AppendUint(b, uint64(binary.NativeEndian.Uint32(raw[4*i:])), 10)
			}
			return b
		}))
		raw = raw[16:]
	}
}

// compose appends to the decoder's storage and returns what was appended.
func (d *decoder) compose(appendTo func([]byte) []byte) []byte {
	n := len(d.text)
	d.text = appendTo(d.text)
	return d.text[n:len(d.text):len(d.text)]
}

func cutNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

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

// unixPath makes a sun_path the text that people know: an abstract name with @
// in front (unix(7)), a path without what follows its NUL.
func unixPath(v *event.Value) {
	if v.Type == event.None {
		return
	}
	if v.Text[0] == 0 {
		v.Text[0] = '@'
		return
	}
	v.Text = cutNUL(v.Text)
}

// pseudoPath names a file that lies in no directory as the kernel's d_path
// does: pipe:[INODE], socket:[INODE], net:[INODE] of a namespace, or the file's
// own name (memfd:NAME).
func (d *decoder) pseudoPath(ev *event.Event, ino uint64) {
	for i := range ev.Kind.Fields {
		v := &ev.Fields[i]
		if ev.Kind.Fields[i].Name != "path" || v.Type != event.Text {
			continue
		}
		name := v.Text
		if bytes.HasPrefix(name, []byte("memfd:")) {
			v.Text = d.compose(func(b []byte) []byte { return append(append(b, '/'), name...) })
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
		v.Text = d.compose(func(b []byte) []byte {
			b = append(append(b, name...), ":["...)
			return append(strconv.AppendUint(b, ino, 10), ']')
		})
	}
}

// unreachablePath marks a path that does not lead to the task's root, because
// its mount is gone or it lies outside a chroot, as getcwd(2) does.
func (d *decoder) unreachablePath(ev *event.Event, of event.Wire) {
	for i := range ev.Kind.Fields {
		f, v := &ev.Kind.Fields[i], &ev.Fields[i]
		// What is moved lies in text 0, which holds more for other mounts.
		moved := of == event.Text0 && ev.Kind == &event.Kinds[event.SbMount] && f.Name == "dev"
		if (f.Wire == of || moved) && v.Type == event.Text {
			v.Text = d.compose(func(b []byte) []byte { return append(append(b, "(unreachable)"...), v.Text...) })
		}
	}
}

// errnoName is the errno's name as strace prints it, also of those that only
// the kernel sees because it restarts the call (include/linux/errno.h).
func errnoName(e syscall.Errno) []byte {
	if e < syscall.Errno(len(errnoNames)) && errnoNames[e] != nil {
		return errnoNames[e]
	}
	return strconv.AppendUint([]byte("errno "), uint64(e), 10)
}

var errnoNames = func() (names [1024][]byte) {
	for e := range names {
		if n := unix.ErrnoName(syscall.Errno(e)); n != "" {
			names[e] = []byte(n)
		}
	}
	names[unix.EOPNOTSUPP] = []byte("EOPNOTSUPP") // not its other name, ENOTSUP
	for e, n := range map[int]string{512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK"} {
		names[e] = []byte(n)
	}
	return names
}()
