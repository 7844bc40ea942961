package vivraw

import (
	"bytes"
	"encoding/binary"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
)

// captured returns an event of a capture with this payload.
func captured(id event.ID, payload string) *event.Event {
	ev := &event.Event{Kind: &event.Kinds[id], Origin: append([]byte(payload), make([]byte, PayloadSize-len(payload))...)}
	layoutOf(ev.Kind).read(ev, ev.Origin)
	ev.Derive(&event.Raw{})
	return ev
}

func TestText(t *testing.T) {
	failed := captured(event.PathOpen, "/etc/shadow")
	failed.Error, failed.Truncated = []byte("EACCES"), true // no event of a capture has them
	zeros := string(bytes.Repeat([]byte(`\x00`), PayloadSize))
	for _, test := range []struct {
		ev   *event.Event
		want string
	}{
		{captured(event.PathOpen, "/etc/hosts\x00left/over"), `"/etc/hosts"`},
		{failed, `"/etc/shadow"`},
		{captured(event.SockConnect, "\x02\x00\x01\xbb\x0a\x00\x00\x01"), `10.0.0.1:443 (AF_INET)`},
		{captured(event.SockConnect, "\x0a\x00\x01\xbb\x20\x01\x0d\xb8"), `[2001:db8:0:0:0:0:0:0]:443 (AF_INET6)`},
		{captured(event.SockConnect, "\x0a\x00\x00\x35\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01"), `[0:0:0:0:0:ffff:7f00:1]:53 (AF_INET6)`},
		{captured(event.SockConnect, "\x01\x00/r"), `family=1(AF_UNIX) port=12146`},
		{captured(event.DNSReq, "\x01a\x07example\x00\x00\x1c\x00\x01"), `a.example`},
		{captured(event.DNSReq, ""), `"` + zeros + `"`},
		{captured(event.ProcFork, "\x07\x00\x00\x00\x09"), `child_pid=7 child_tid=9`},
		{captured(event.ProcExec, "/bin/sh"), `filename="/bin/sh" argv=[]`},
		{captured(event.ProcExec, ""), `"` + zeros + `"`},
		{captured(event.ProcExec, string(make([]byte, 64))+"arg0"), `filename="" argv=["arg0"]`},
		{captured(event.ProcExec, "/bin/sh"+string(make([]byte, 64+64+57))+"arg2"), `filename="/bin/sh" argv=["", "", "arg2"]`},
		{captured(event.ProcExec, string(make([]byte, 192))+"arg2"), `filename="" argv=["", "", "arg2"]`},
		{captured(event.ProcExit, "x"), `""`},
		{captured(event.FileUnlink, "name"+string(make([]byte, 124))+"dir"), `filename="name" parent_dir="dir"`},
		{captured(event.FileUnlink, "dir/name"), `filename="dir/name"`},
		{captured(event.EnvCaccess, "getenv\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00HOME"), `op=getenv key="HOME"`},
		{captured(event.EnvCaccess, ""), `"` + zeros + `"`},
		{captured(event.TaskKill, "\xff\xff\xff\xff"), `sig=-1`},
		{&event.Event{Name: []byte("new"), Origin: append([]byte("a\xff\x00b"), make([]byte, PayloadSize-4)...)}, `"a\xFF"`},
		{eventtest.New(event.PathOpen, "path", "/live", "flags", 0), `"/live" flags=O_RDONLY`},
	} {
		if got := string(AppendText([]byte("x"), test.ev)); got != "x"+test.want {
			t.Errorf("%s:\n got %s\nwant x%s", test.ev.Name, got, test.want)
		}
	}
}

func TestTextAllocates(t *testing.T) {
	buf := make([]byte, 0, 4096)
	payload := make([]byte, PayloadSize)
	binary.LittleEndian.PutUint16(payload, event.FamilyInet6)
	for _, id := range vivariumKinds {
		ev := captured(id, string(payload))
		if n := testing.AllocsPerRun(100, func() { buf = AppendText(buf[:0], ev) }); n > 0 {
			t.Errorf("%s: %v allocations", ev.Kind.Name, n)
		}
	}
}

func BenchmarkText(b *testing.B) {
	ev := captured(event.PathOpen, "/usr/lib/x86_64-linux-gnu/libcrypto.so.3")
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendText(buf[:0], ev)
	}
}

func FuzzPayload(f *testing.F) {
	for id := range event.Kinds {
		f.Add(uint16(id), []byte("getenv\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00KEY=\x1b"), true)
	}
	f.Add(uint16(event.SockConnect), []byte{10, 0, 0, 80, 0x20, 1}, true)
	f.Add(uint16(event.DNSReq), []byte("\x03www\x07exa\x1bple\x00\x00\x01\x00\x01"), false)
	f.Fuzz(func(t *testing.T, id uint16, data []byte, keep bool) {
		ev := event.Event{Kind: &event.Kinds[id%uint16(event.NumKinds)]}
		payload := make([]byte, PayloadSize)
		copy(payload, data)
		l := layoutOf(ev.Kind)
		if l == nil {
			return
		}
		l.read(&ev, payload)
		for i, v := range ev.Fields {
			if v.Type != event.None && v.Type != ev.Kind.Fields[i].Type {
				t.Errorf("%s.%s has type %d", ev.Kind.Name, ev.Kind.Fields[i].Name, v.Type)
			}
		}
		if keep {
			ev.Origin = payload
		}
		eventtest.CheckText(t, AppendText(nil, &ev))
		out := make([]byte, PayloadSize)
		l.write(&ev, out)
		again := event.Event{Kind: ev.Kind}
		l.read(&again, out)
		// A name with a dot in a label, and a slash in a file's name, are not told from two.
		exact := !keep && ev.Kind != &event.Kinds[event.DNSReq] && ev.Kind != &event.Kinds[event.FileUnlink]
		if a, b := AppendText(nil, &ev), AppendText(nil, &again); exact && !bytes.Equal(a, b) {
			t.Errorf("%s: through a payload %s became %s", ev.Kind.Name, a, b)
		}
	})
}
