package vivraw

import (
	"bytes"
	"testing"

	"vivarium/pkg/event"
)

// vivariumKinds are the kinds of events that vivarium 0.6.0 has.
var vivariumKinds = []event.ID{
	event.PathOpen, event.MmapExec, event.Dlopen, event.SockConnect, event.OddSocket, event.DNSReq, event.ProcFork,
	event.ProcExec, event.ProcExit, event.PtraceCheck, event.SbMount, event.KernelReadFile, event.TaskKill,
	event.SetidChange, event.CapableCheck, event.BprmCreds, event.FileSymlink, event.FileHardlink, event.FileRename,
	event.FileUnlink, event.FileChmod, event.FileGetdents, event.SSLWrite, event.EnvCaccess, event.SpanStart,
	event.SpanStop, event.SpanRaise,
}

// Each of vivarium's kinds has a layout, which lies in the payload, and no
// other kind has one.
func TestLayouts(t *testing.T) {
	vivariums := map[event.ID]bool{}
	for _, id := range vivariumKinds {
		vivariums[id] = true
	}
	for i := range event.Kinds {
		k := &event.Kinds[i]
		l := layoutOf(k)
		if (l != nil) != vivariums[k.ID] {
			t.Errorf("%s: a layout %v, a kind of vivarium %v", k.Name, l != nil, vivariums[k.ID])
		}
		if l == nil {
			continue
		}
		if len(k.Name) > nameSize {
			t.Errorf("%s: the name does not fit into a record", k.Name)
		}
		for _, s := range l.slots {
			f := k.Fields[s.field]
			if s.at < 0 || s.at+s.size > PayloadSize {
				t.Errorf("%s.%s lies outside the payload", k.Name, f.Name)
			}
			if f.Type != event.Text && s.size != 1 && s.size != 2 && s.size != 4 && s.size != 8 {
				t.Errorf("%s.%s: a number of %d bytes", k.Name, f.Name, s.size)
			}
		}
		for _, f := range k.Fields {
			if f.Name == keyArrival || f.Name == keyNames {
				t.Errorf("%s.%s has the name of a key that captures need", k.Name, f.Name)
			}
		}
	}
	if layoutOf(nil) != nil {
		t.Error("an unknown kind has a layout")
	}
}

// with returns a live event of a kind.
func with(id event.ID, fields ...any) *event.Event {
	ev := &event.Event{Kind: &event.Kinds[id], Name: []byte(event.Kinds[id].Name)}
	for i := 0; i < len(fields); i += 2 {
		set := false
		for j, f := range ev.Kind.Fields {
			if f.Name != fields[i] {
				continue
			}
			v := &ev.Fields[j]
			v.Type, set = f.Type, true
			switch x := fields[i+1].(type) {
			case int:
				v.Num = uint64(x)
			case string:
				v.Text = []byte(x)
			case []string:
				for _, s := range x {
					v.List = append(v.List, []byte(s))
				}
			}
		}
		if !set {
			panic(fields[i])
		}
	}
	return ev
}

// A live event that goes through a capture keeps what a capture can hold.
func TestPayloadRoundTrip(t *testing.T) {
	for _, ev := range []*event.Event{
		with(event.PathOpen, "path", "/etc/hosts"),
		with(event.SockConnect, "family", 2, "addr", "10.1.2.3", "port", 80),
		with(event.SockConnect, "family", 10, "addr", "2001:db8::1", "port", 443),
		with(event.OddSocket, "family", 16, "socktype", 3, "protocol", 15),
		with(event.DNSReq, "qname", "www.example.com", "qtype", "AAAA"),
		with(event.DNSReq, "qname", "www.example.com", "qtype", "TYPE999"),
		with(event.ProcFork, "child_pid", 4, "child_tid", 5, "child_span_id", 77),
		with(event.ProcExec, "path", "/bin/sh", "argv", []string{"sh", "", "x"}),
		with(event.PtraceCheck, "mode", 3),
		with(event.SbMount, "flags", 1<<62, "dev", "/dev/sda", "fstype", "ext4"),
		with(event.KernelReadFile, "id", 2, "contents", 1, "id_name", "kernel-module"),
		with(event.TaskKill, "sig", -7),
		with(event.TaskKill, "sig", 9, "sig_name", "KILL"),
		with(event.SetidChange, "flags", 5),
		with(event.CapableCheck, "cap", 21, "opts", 3, "cap_name", "CAP_SYS_ADMIN"),
		with(event.BprmCreds, "has_file", 1, "path", "/bin/su"),
		with(event.FileSymlink, "target", "a", "path", "/b"),
		with(event.FileUnlink, "path", "dir/name"),
		with(event.FileChmod, "mode", 0o644, "path", "/x"),
		with(event.FileGetdents, "fd", 3, "count", 9),
		with(event.SSLWrite, "len", 3, "captured", 3, "data", "abc"),
		with(event.EnvCaccess, "op", "putenv", "key", "A"),
		with(event.SpanStart, "name", "A#b", "file", "/f.rb", "line", -1, "source", "usdt"),
		with(event.SpanRaise, "error", "E", "message", "m", "file", "/f.rb", "line", 1<<40, "source", "usdt"),
	} {
		payload := make([]byte, PayloadSize)
		layoutOf(ev.Kind).write(ev, payload)
		got := &event.Event{Kind: ev.Kind, Name: ev.Name}
		layoutOf(ev.Kind).read(got, payload)
		got.Derive(&event.Raw{})
		for i, f := range ev.Kind.Fields {
			a, b := ev.Fields[i], got.Fields[i]
			if a.Type == event.None && len(b.Text) == 0 && b.Num == 0 {
				continue
			}
			if a.Type != b.Type || a.Num != b.Num || !bytes.Equal(a.Text, b.Text) ||
				!bytes.Equal(bytes.Join(a.List, []byte{0}), bytes.Join(b.List, []byte{0})) {
				t.Errorf("%s.%s: %v became %v", ev.Name, f.Name, a, b)
			}
		}
	}
}
