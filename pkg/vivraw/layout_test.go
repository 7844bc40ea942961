package vivraw

import (
	"bytes"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
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

// A live event that goes through a capture keeps what a capture can hold.
func TestPayloadRoundTrip(t *testing.T) {
	for _, ev := range []*event.Event{
		eventtest.New(event.PathOpen, "path", "/etc/hosts"),
		eventtest.New(event.SockConnect, "family", 2, "addr", "10.1.2.3", "port", 80),
		eventtest.New(event.SockConnect, "family", 10, "addr", "2001:db8::1", "port", 443),
		eventtest.New(event.OddSocket, "family", 16, "socktype", 3, "protocol", 15),
		eventtest.New(event.DNSReq, "qname", "www.example.com", "qtype", "AAAA"),
		eventtest.New(event.DNSReq, "qname", "www.example.com", "qtype", "TYPE999"),
		eventtest.New(event.ProcFork, "child_pid", 4, "child_tid", 5, "child_span_id", 77),
		eventtest.New(event.ProcExec, "path", "/bin/sh", "argv", []string{"sh", "", "x"}),
		eventtest.New(event.PtraceCheck, "mode", 3),
		eventtest.New(event.SbMount, "flags", 1<<62, "dev", "/dev/sda", "fstype", "ext4"),
		eventtest.New(event.KernelReadFile, "id", 2, "contents", 1, "id_name", "kernel-module"),
		eventtest.New(event.TaskKill, "sig", -7),
		eventtest.New(event.TaskKill, "sig", 9, "sig_name", "KILL"),
		eventtest.New(event.SetidChange, "flags", 5),
		eventtest.New(event.CapableCheck, "cap", 21, "opts", 3, "cap_name", "CAP_SYS_ADMIN"),
		eventtest.New(event.BprmCreds, "has_file", 1, "path", "/bin/su"),
		eventtest.New(event.FileSymlink, "target", "a", "path", "/b"),
		eventtest.New(event.FileUnlink, "path", "dir/name"),
		eventtest.New(event.FileChmod, "mode", 0o644, "path", "/x"),
		eventtest.New(event.FileGetdents, "fd", 3, "count", 9),
		eventtest.New(event.SSLWrite, "len", 3, "captured", 3, "data", "abc"),
		eventtest.New(event.EnvCaccess, "op", "putenv", "key", "A"),
		eventtest.New(event.SpanStart, "name", "A#b", "file", "/f.rb", "line", -1, "source", "usdt"),
		eventtest.New(event.SpanRaise, "error", "E", "message", "m", "file", "/f.rb", "line", 1<<40, "source", "usdt"),
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
