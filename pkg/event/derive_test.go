package event

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// derived shows the fields that a record's parts become.
func derived(ev *Event) string {
	var b []byte
	for i, f := range ev.Kind.Fields {
		if v := ev.Fields[i]; v.Type != None {
			b = appendValue(append(append(b, ' '), f.Name+"="...), ev, v)
		}
	}
	if ev.Truncated {
		b = append(b, " truncated"...)
	}
	return strings.TrimPrefix(string(b), " ")
}

func unknown(ev *Event) *Event {
	ev.OutcomeUnknown = true
	return ev
}

func TestDerive(t *testing.T) {
	var ids []byte
	for i := range uint32(8) {
		ids = binary.NativeEndian.AppendUint32(ids, 1000+i)
	}
	key := make([]byte, 256)
	long := append([]byte(strings.Repeat("K", 255)), 0)
	copy(key, "HOME")
	for _, test := range []struct {
		ev   *Event
		raw  Raw
		want string
	}{
		{with(PathOpen, "path", "/x", "flags", 1), Raw{}, "path=/x flags=1"},
		{with(PathOpen, "path", "/x/./y"), Raw{}, "path=/x/./y"},
		{unknown(with(PathOpen, "path", "/x/././y//z/.../../f")), Raw{}, "path=/x/y/z/.../../f"},
		{unknown(with(PathOpen, "path", "/./x/.")), Raw{}, "path=/x"},
		{unknown(with(PathOpen, "path", "/.")), Raw{}, "path=/"},
		{unknown(with(PathOpen, "path", "/")), Raw{}, "path=/"},
		{unknown(with(PathOpen, "flags", 1)), Raw{}, "flags=1"},
		{with(TaskKill, "sig", 9), Raw{}, "sig=9 sig_name=KILL"},
		{with(TaskKill, "sig", 64), Raw{}, "sig=64"},
		{with(TaskKill, "target_pid", 3), Raw{}, "target_pid=3"},
		{with(CapableCheck, "cap", 21), Raw{}, "cap=21 cap_name=CAP_SYS_ADMIN"},
		{with(CapableCheck, "cap", 1<<40), Raw{}, "cap=1099511627776"},
		{with(KernelReadFile, "id", 2), Raw{}, "id=2 id_name=kernel-module"},
		{with(KernelReadFile, "id", 7), Raw{}, "id=7"},
		{with(SetidChange, "flags", 1), Raw{Text: [2][]byte{ids}}, "flags=1 old_ids=1000,1001,1002,1003 new_ids=1004,1005,1006,1007"},
		{with(SetidChange, "flags", 1), Raw{Text: [2][]byte{ids[:31]}}, "flags=1 old_ids=1000,1001,1002,1003"},
		{with(SetidChange, "flags", 1), Raw{}, "flags=1"},
		{with(SbMount, "flags", 0), Raw{Text: [2][]byte{[]byte("/dev/a\x00ext4\x00")}}, "flags=0 dev=/dev/a fstype=ext4"},
		{with(SbMount, "flags", 0), Raw{Text: [2][]byte{[]byte("\x00tmpfs")}}, "flags=0 fstype=tmpfs"},
		{with(SbMount, "flags", 0, "dev", "d"), Raw{}, "flags=0 dev=d"},
		{with(SockConnect, "family", 1, "path", "\x00name\x00x"), Raw{}, `family=1 path="@name\x00x"`},
		{with(SockConnect, "family", 1, "path", "/run/x\x00rest"), Raw{}, "family=1 path=/run/x"},
		{with(SockConnect, "family", 1, "path", "\x00name"+strings.Repeat("\x00", 103)), Raw{}, `family=1 path="@name"`},
		{with(SockConnect, "family", 1, "path", strings.Repeat("\x00", 108)), Raw{}, `family=1 path="@"`},
		{with(SockConnect, "family", 2), Raw{}, "family=2"},
		{with(SockConnect, "family", 2), Raw{Num: [4]uint64{2: 2<<32 | 1<<16 | 6}}, "family=2 proto=tcp"},
		{with(SockConnect, "family", 2), Raw{Num: [4]uint64{2: 10<<32 | 2<<16 | 17}}, "family=2 proto=udp"},
		{with(SockConnect, "family", 2), Raw{Num: [4]uint64{2: 2<<32 | 5<<16 | 132}}, "family=2 proto=sctp"},
		{with(SockConnect, "family", 1), Raw{Num: [4]uint64{2: 1<<32 | 2<<16}}, "family=1 proto=unix"},
		{with(SockConnect, "family", 40), Raw{Num: [4]uint64{2: 40<<32 | 1<<16}}, "family=40 proto=vsock"},
		{with(SockConnect, "family", 2), Raw{Num: [4]uint64{2: 200<<32 | 1<<16}}, "family=2"},
		{with(EnvCaccess, "key", string(key)), Raw{Call: "getenv"}, "op=getenv key=HOME"},
		{with(EnvCaccess, "key", string(long)), Raw{Call: "setenv"}, "op=setenv key=" + strings.Repeat("K", 255) + " truncated"},
		{with(EnvCaccess), Raw{Call: "clearenv"}, "op=clearenv"},
		{with(EnvCaccess, "op", "getenv", "key", "A"), Raw{}, "op=getenv key=A"},
		{with(SpanRaise, "error", "E\x00no"), Raw{Text: [2][]byte{[]byte("E\x00no")}}, "error=E message=no"},
		{with(SpanRaise, "error", "E", "message", "m"), Raw{}, "error=E message=m"},
	} {
		test.ev.Derive(&test.raw)
		if got := derived(test.ev); got != test.want {
			t.Errorf("%s: got %s, want %s", test.ev.Name, got, test.want)
		}
	}
	(&Event{}).Derive(&Raw{}) // must not panic
}

// dnsQuery is a question as a resolver sends it.
func dnsQuery(name string, qtype uint16) []byte {
	b := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	for label := range strings.SplitSeq(name, ".") {
		if label != "" {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	b = binary.BigEndian.AppendUint16(append(b, 0), qtype)
	return append(b, 0, 1)
}

func tcp(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func TestDeriveDNS(t *testing.T) {
	a := dnsQuery("a.example.org", 1)
	answer := append([]byte(nil), a...)
	answer[2] |= 0x80
	none := append([]byte(nil), a...)
	none[5] = 0
	pointer := append(append([]byte(nil), a[:dnsHeader]...), 0xc0, 12, 0, 1, 0, 1)
	const datagram, stream = 2, 1
	for _, test := range []struct {
		name string
		msg  []byte
		sock uint64
		cut  bool
		want string
	}{
		{"question", a, datagram, false, "qname=a.example.org qtype=A"},
		{"whole behind the cut", a, datagram, true, "qname=a.example.org qtype=A"},
		{"root", dnsQuery("", 2), datagram, false, "qname=. qtype=NS"},
		{"unnamed type", dnsQuery("a", 4711), datagram, false, "qname=a qtype=TYPE4711"},
		{"answer", answer, datagram, true, ""},
		{"no question", none, datagram, true, ""},
		{"compressed name", pointer, datagram, true, ""},
		{"cut in the name", a[:20], datagram, true, "truncated"},
		{"short message", a[:20], datagram, false, ""},
		{"cut in the type", a[:len(a)-3], datagram, true, "qname=a.example.org truncated"},
		{"short header", a[:11], datagram, true, ""},
		{"empty", nil, datagram, true, "truncated"},
		{"TCP", tcp(a), stream, false, "qname=a.example.org qtype=A"},
		{"TCP without length", a, stream, false, "qname=a.example.org qtype=A"},
		{"TCP, only the length", tcp(a)[:2], stream, false, ""},
		{"TCP, two", append(tcp(a), tcp(dnsQuery("b", 1))...), stream, false, "qname=a.example.org qtype=A"},
		{"TCP, the first part", tcp(a)[:20], stream, false, ""},
		{"TCP, one byte", []byte{1}, stream, false, ""},
	} {
		ev := with(DNSReq)
		ev.Truncated = test.cut
		ev.Derive(&Raw{Num: [4]uint64{test.sock}, Text: [2][]byte{test.msg}})
		if got := derived(ev); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestQTypes(t *testing.T) {
	for n, want := range map[uint16]string{
		1: "A", 35: "NAPTR", 41: "OPT", 43: "DS", 46: "RRSIG", 48: "DNSKEY", 52: "TLSA", 54: "TYPE54", 65: "HTTPS",
		255: "ANY", 257: "CAA", 32769: "DLV", 65535: "TYPE65535",
	} {
		if got := string(AppendQType(nil, n)); got != want {
			t.Errorf("type %d is %s, want %s", n, got, want)
		}
	}
	seen := map[string]uint16{}
	for n := range 1 << 16 {
		n := uint16(n)
		name := string(AppendQType(nil, n))
		if other, ok := seen[name]; ok {
			t.Errorf("types %d and %d are both %s", other, n, name)
		}
		seen[name] = n
		if got := ParseQType([]byte(name)); got != n {
			t.Errorf("%s is type %d, want %d", name, got, n)
		}
		if got, want := ParseQType(append([]byte("TYPE"), name...)), uint16(0); got != want {
			t.Errorf("TYPE%s is type %d", name, got)
		}
	}
	for _, s := range []string{"", "TYPE", "TYPE65536", "TYPE-1", "a"} {
		if got := ParseQType([]byte(s)); got != 0 {
			t.Errorf("%q is type %d", s, got)
		}
	}
}

func TestDNSName(t *testing.T) {
	for _, test := range []struct {
		question, name, rest string
		err                  error
	}{
		{"\x01a\x02bc\x00rest", "a.bc", "rest", nil},
		{"\x00", "", "", nil},
		{"", "", "", ErrNameCut},
		{"\x01a", "a", "", ErrNameCut},
		{"\x01a\x03bc", "a", "", ErrNameCut},
		{"\x01a\x40", "a", "", ErrNameInvalid},
		{"\xc0\x0c", "", "", ErrNameInvalid},
	} {
		name, rest, err := AppendDNSName([]byte("x"), []byte(test.question))
		if string(name) != "x"+test.name || string(rest) != test.rest || !errors.Is(err, test.err) {
			t.Errorf("%q: got %q, %q, %v", test.question, name, rest, err)
		}
	}
}

func TestDeriveAllocates(t *testing.T) {
	ids := make([]byte, 32)
	texts := map[ID][]byte{SetidChange: ids, DNSReq: dnsQuery("www.example.org", 28), SbMount: []byte("/dev/a\x00ext4")}
	raw := Raw{Call: "getenv", Buf: make([]byte, 0, 512)}
	for id := range Kinds {
		ev := Event{Kind: &Kinds[id]}
		if n := testing.AllocsPerRun(100, func() {
			ev.Fields[TaskKillSig] = Value{Type: Int, Num: 9}
			raw.Buf, raw.Text[0] = raw.Buf[:0], texts[ID(id)]
			ev.Derive(&raw)
		}); n > 0 {
			t.Errorf("%s: %v allocations", ev.Kind.Name, n)
		}
	}
}

func FuzzDerive(f *testing.F) {
	f.Add(uint16(DNSReq), uint64(1), dnsQuery("a.example.org", 1))
	f.Add(uint16(DNSReq), uint64(2), tcp(dnsQuery("a.example.org", 1)))
	f.Add(uint16(SetidChange), uint64(0), make([]byte, 40))
	f.Add(uint16(SpanRaise), uint64(0), []byte("E\x00m"))
	f.Fuzz(func(t *testing.T, id uint16, num uint64, text []byte) {
		ev := Event{Kind: &Kinds[id%uint16(NumKinds)]}
		for i, field := range ev.Kind.Fields {
			switch field.Wire {
			case Num0:
				ev.Fields[i] = Value{Type: field.Type, Num: num}
			case Text0, Text1:
				ev.Fields[i] = Value{Type: Text, Text: text}
			}
		}
		raw := Raw{Num: [4]uint64{num}, Text: [2][]byte{text}}
		ev.Derive(&raw)
		if len(raw.Buf) > 2*len(text)+256 {
			t.Errorf("%d bytes become %d", len(text), len(raw.Buf))
		}
		checkText(t, AppendText(nil, &ev))
	})
}
