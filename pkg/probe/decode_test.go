package probe

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"vivarium/bpf"
	"vivarium/pkg/event"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

func types(t *testing.T) *btf.Spec {
	t.Helper()
	spec, err := bpf.LoadViv()
	if err != nil {
		t.Fatal(err)
	}
	return spec.Types
}

// TestKinds holds the catalogue against the numbers of kinds in the BPF
// programs: as they were compiled, and as Go has them.
func TestKinds(t *testing.T) {
	var kinds *btf.Enum
	if err := types(t).TypeByName("kind", &kinds); err != nil {
		t.Fatal(err)
	}
	names := map[uint64]string{}
	for _, v := range kinds.Values {
		if name := strings.ToLower(strings.TrimPrefix(v.Name, "VIV_")); !slices.Contains([]string{"blind", "library", "tls_end", "method_jump"}, name) {
			names[v.Value] = name
		}
	}
	for id := range event.NumKinds {
		if names[uint64(id)] != event.Kinds[id].Name {
			t.Errorf("kind %d is %s in Go and %s in C", id, event.Kinds[id].Name, names[uint64(id)])
		}
	}
	if names[uint64(event.NumKinds)] != "kinds" || len(names) != int(event.NumKinds)+1 {
		t.Errorf("%d kinds in Go, %d in C: %v", event.NumKinds, len(names)-1, names)
	}
	for c, id := range map[bpf.VivKind]event.ID{
		bpf.VivKindVIV_PATH_OPEN: event.PathOpen, bpf.VivKindVIV_PROC_EXIT: event.ProcExit,
		bpf.VivKindVIV_SPAN_RAISE: event.SpanRaise, bpf.VivKindVIV_KINDS: event.NumKinds,
	} {
		if event.ID(c) != id {
			t.Errorf("kind %d of the generated file is %d in the catalogue", c, id)
		}
	}
}

// TestLayout holds the record of the BPF programs, as it was compiled, against
// Go's, and both against what the catalogue says lies where.
func TestLayout(t *testing.T) {
	var rec *btf.Struct
	if err := types(t).TypeByName("record", &rec); err != nil {
		t.Fatal(err)
	}
	goType := reflect.TypeFor[bpf.VivRecord]()
	fields := map[string]reflect.StructField{}
	for f := range goType.Fields() {
		fields[strings.ToLower(f.Name)] = f
	}
	delete(fields, "_")
	for _, m := range rec.Members {
		f, ok := fields[m.Name]
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		if !ok || uintptr(m.Offset.Bytes()) != f.Offset || uintptr(size) != f.Type.Size() {
			t.Errorf("%s: %d bytes at %d in C, %d at %d in Go", m.Name, size, m.Offset.Bytes(), f.Type.Size(), f.Offset)
		}
		delete(fields, m.Name)
	}
	if len(fields) > 0 || uintptr(rec.Size) != goType.Size() {
		t.Errorf("in Go but not in C: %v; %d bytes in C, %d in Go", fields, rec.Size, goType.Size())
	}
	if headSize != int(unsafe.Offsetof(bpf.VivRecord{}.Num)) || headSize+4*8 != int(rec.Size) {
		t.Errorf("the head is %d bytes of %d", headSize, rec.Size)
	}
	if n := len(bpf.VivRecord{}.Num); n != int(event.Num3-event.Num0)+1 {
		t.Errorf("the catalogue has places for another number of numbers than %d", n)
	}
	if n := len(bpf.VivRecord{}.Len); n != int(event.Text1-event.Text0)+1 {
		t.Errorf("the catalogue has places for another number of texts than %d", n)
	}
	for i := range event.Kinds {
		k := &event.Kinds[i]
		used := map[event.Wire]string{}
		for _, f := range k.Fields {
			isNum := f.Wire >= event.Num0 && f.Wire <= event.Num3
			if numeric := f.Type == event.Uint || f.Type == event.Int || f.Type == event.Bool; f.Wire != event.Derived && isNum != numeric {
				t.Errorf("%s.%s: a value of its type cannot lie in its place", k.Name, f.Name)
			}
			if f.Wire != event.Derived && used[f.Wire] != "" {
				t.Errorf("%s: %s and %s lie in one place", k.Name, f.Name, used[f.Wire])
			}
			used[f.Wire] = f.Name
		}
	}
}

// raw is a record as the BPF programs send it: with the numbers up to the last
// one that is present, and the texts behind.
func raw(r bpf.VivRecord, texts ...string) []byte {
	for i, text := range texts {
		r.Len[i] = uint16(len(text))
	}
	b, err := binary.Append(nil, binary.NativeEndian, r)
	if err != nil {
		panic(err)
	}
	last := 0
	for i := range r.Num {
		if r.Nums&(1<<i) != 0 {
			last = i + 1
		}
	}
	return append(b[:headSize+8*last], strings.Join(texts, "")...)
}

var anOpen = bpf.VivRecord{
	Ktime: 5_000_000_000, Span: 7, Parent: 6, Pid: 10, Tid: 11, Uid: 1000, Gid: 100,
	Comm: [16]int8{'c', 'a', 't'}, Kind: uint16(bpf.VivKindVIV_PATH_OPEN), Nums: 1, Num: [4]uint64{0x80000},
}

func TestDecode(t *testing.T) {
	with := func(change func(r *bpf.VivRecord)) bpf.VivRecord {
		r := anOpen
		change(&r)
		return r
	}
	kind := func(k bpf.VivKind, nums uint8, num ...uint64) bpf.VivRecord {
		return with(func(r *bpf.VivRecord) {
			r.Kind, r.Nums, r.Num = uint16(k), nums, [4]uint64{}
			copy(r.Num[:], num)
		})
	}
	query := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x1c\x00\x01"
	for _, c := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"open", raw(anOpen, "/etc/x"), "path_open path=/etc/x flags=524288"},
		{"no flags", raw(with(func(r *bpf.VivRecord) { r.Nums = 0 }), "/etc/x"), "path_open path=/etc/x"},
		{"failed", raw(with(func(r *bpf.VivRecord) { r.Ret = -2 }), "/x"), "path_open path=/x flags=524288 error=ENOENT"},
		{"restarted", raw(with(func(r *bpf.VivRecord) { r.Ret = -512 }), "/x"), "path_open path=/x flags=524288 error=ERESTARTSYS"},
		{"unknown errno", raw(with(func(r *bpf.VivRecord) { r.Ret = -4000 }), "/x"), "path_open path=/x flags=524288 error=errno 4000"},
		{"no errno", raw(with(func(r *bpf.VivRecord) { r.Ret = math.MinInt32 }), "/x"), "path_open path=/x flags=524288 error=errno 2147483648"},
		{"cut", raw(with(func(r *bpf.VivRecord) { r.Flags = uint8(bpf.VivFlagVIV_TRUNCATED) }), "x"), "path_open path=x flags=524288 truncated"},
		{"unreachable", raw(with(func(r *bpf.VivRecord) { r.Flags = uint8(bpf.VivFlagVIV_UNREACHABLE) }), "/x"), "path_open path=(unreachable)/x flags=524288"},
		{
			"pipe",
			raw(with(func(r *bpf.VivRecord) { r.Flags, r.Nums, r.Num[3] = uint8(bpf.VivFlagVIV_PSEUDO), 9, 42 }), "pipefs"),
			`path_open path="pipe:[42]" flags=524288`,
		},
		{"not UTF-8", raw(anOpen, "/\xff\x00"), `path_open path="/\xff\x00" flags=524288`},
		{"argv", raw(kind(bpf.VivKindVIV_PROC_EXEC, 1, 3), "/a", "a\x00\x00b"), `proc_exec path=/a argv=[a "" b] argc=3`},
		{"no argv", raw(kind(bpf.VivKindVIV_PROC_EXEC, 1, 0), "/a"), `proc_exec path=/a argv=[] argc=0`},
		{"exec of a thread", raw(kind(bpf.VivKindVIV_PROC_EXEC, 3, 1, 99), "/a", "a\x00"), `proc_exec path=/a argv=[a] argc=1 old_tid=99`},
		{"fork", raw(kind(bpf.VivKindVIV_PROC_FORK, 7, 20, 21, 5)), "proc_fork child_pid=20 child_tid=21"},
		{"exit", raw(kind(bpf.VivKindVIV_PROC_EXIT, 3, 0, 9)), "proc_exit exit_code=0 signal=9"},
		{"connect", raw(kind(bpf.VivKindVIV_SOCK_CONNECT, 3, 2, 80), "\x7f\x00\x00\x01"), "sock_connect family=2 addr=127.0.0.1 port=80"},
		{"no address", raw(kind(bpf.VivKindVIV_SOCK_CONNECT, 1, 2), "\x7f\x00"), "sock_connect family=2"},
		{"abstract", raw(kind(bpf.VivKindVIV_SOCK_CONNECT, 1, 1), "", "\x00a\x00"), `sock_connect family=1 path="@a\x00"`},
		{"path of a socket", raw(kind(bpf.VivKindVIV_SOCK_CONNECT, 1, 1), "", "/a\x00junk"), `sock_connect family=1 path=/a`},
		{"question", raw(kind(bpf.VivKindVIV_DNS_REQ, 1, unix.SOCK_DGRAM), query, "\x08\x08\x08\x08"), "dns_req qname=www.example qtype=AAAA addr=8.8.8.8"},
		{"question over TCP", raw(kind(bpf.VivKindVIV_DNS_REQ, 1, unix.SOCK_STREAM), "\x00\x1d"+query), "dns_req qname=www.example qtype=AAAA"},
		{"cut question", raw(kind(bpf.VivKindVIV_DNS_REQ, 1, unix.SOCK_DGRAM), query[:20]), "dns_req"},
		{"cut behind the name", raw(kind(bpf.VivKindVIV_DNS_REQ, 1, unix.SOCK_DGRAM), query[:26]), "dns_req qname=www.example"},
		{"a pointer in a question", raw(kind(bpf.VivKindVIV_DNS_REQ, 1, unix.SOCK_DGRAM), query[:12]+"\xc0\x0c\x00\x01"), "dns_req"},
		{"kernel_read_file", raw(kind(bpf.VivKindVIV_KERNEL_READ_FILE, 1, math.MaxUint64), "/x"), "kernel_read_file id=18446744073709551615 path=/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			var ev event.Event
			lost, err := d.decode(c.raw, &ev)
			if err != nil || lost != 0 {
				t.Fatalf("%d lost, error %v", lost, err)
			}
			if got := show(&ev); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for i := range c.raw {
				if _, err := d.decode(c.raw[:i], &ev); err == nil {
					t.Errorf("the first %d bytes of it are taken for a record", i)
				}
			}
		})
	}
	t.Run("head", func(t *testing.T) {
		var d decoder
		ev := event.Event{TraceID: [16]byte{1}, Hidden: true}
		lost, err := d.decode(raw(with(func(r *bpf.VivRecord) { r.Lost = 12 }), "/x"), &ev)
		if err != nil || lost != 12 {
			t.Errorf("%d lost, error %v", lost, err)
		}
		if ev.KtimeNS != anOpen.Ktime || ev.SpanID != 7 || ev.ParentSpanID != 6 || ev.PID != 10 || ev.TID != 11 ||
			ev.UID != 1000 || ev.GID != 100 || string(ev.Comm) != "cat" || ev.TraceID != [16]byte{1} || ev.Hidden {
			t.Errorf("%+v", ev)
		}
	})
	t.Run("unknown kind", func(t *testing.T) {
		var d decoder
		var ev event.Event
		if _, err := d.decode(raw(kind(bpf.VivKindVIV_KINDS+7, 0)), &ev); err == nil {
			t.Error("no error")
		}
	})
}

// TestErrnoNames: those with two names have the one that strace and perror
// give them.
// TestQuestions: a question that the message has all of is read, and nothing
// else is taken for one.
func TestQuestions(t *testing.T) {
	const q = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06pieces\x07example\x03org\x00\x00\x1c\x00\x01"
	size := string([]byte{0, byte(len(q))})
	small := "\x00\x05" + q[2:] // its id could be the length in front of another
	long := q[:12] + strings.Repeat("\x3f"+strings.Repeat("l", 63), 8)
	const read, none, cut = "dns_req qname=pieces.example.org qtype=AAAA", "dns_req", "dns_req truncated"
	for _, c := range []struct {
		name, msg string
		stream    bool
		cut       bool
		want      string
	}{
		{"UDP", q, false, false, read},
		{"UDP, more than was asked for", q + strings.Repeat("x", 500), false, true, read},
		{"UDP, name cut", long, false, true, cut},
		{"UDP, name and message end", q[:20], false, false, none},
		{"TCP", size + q, true, false, read},
		{"TCP, two questions", size + q + size + q, true, false, read},
		{"TCP, without its length", q, true, false, read},
		{"TCP, without its length, a small id", small, true, false, read},
		{"TCP, begun", size + q[:20], true, false, none},
		{"TCP, the rest", q[20:], true, false, none},
		{"TCP, the rest of a name", q[13:], true, false, none},
		{"TCP, the length alone", size, true, false, none},
		{"TCP, one byte", size[:1], true, false, none},
		{"TCP, no DNS", "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", true, false, none},
		{"TCP, larger than is read", "\x04\x00" + q + strings.Repeat("x", dnsMax-2-len(q)), true, true, read},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := bpf.VivRecord{Kind: uint16(bpf.VivKindVIV_DNS_REQ), Nums: 1}
			r.Num[0] = unix.SOCK_DGRAM
			if c.stream {
				r.Num[0] = unix.SOCK_STREAM
			}
			if c.cut {
				r.Flags = uint8(bpf.VivFlagVIV_TRUNCATED)
			}
			var d decoder
			var ev event.Event
			if _, err := d.decode(raw(r, c.msg), &ev); err != nil {
				t.Fatal(err)
			}
			if got := show(&ev); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestErrnoNames(t *testing.T) {
	for e, want := range map[syscall.Errno]string{
		unix.EAGAIN: "EAGAIN", unix.EDEADLK: "EDEADLK", unix.EOPNOTSUPP: "EOPNOTSUPP", unix.ENOENT: "ENOENT",
		unix.EHWPOISON: "EHWPOISON", 512: "ERESTARTSYS", 516: "ERESTART_RESTARTBLOCK", 999: "errno 999",
	} {
		if got := string(errnoName(e)); got != want {
			t.Errorf("errno %d is %s, want %s", int(e), got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(raw(anOpen, "/etc/x"))
	for k := range bpf.VivKindVIV_KINDS + 1 {
		r := anOpen
		r.Kind, r.Nums, r.Flags = uint16(k), 15, 0xff
		f.Add(raw(r, "some\x00text\x00", "/other"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		var ev event.Event
		own := bytes.Clone(b)
		if _, err := d.decode(own, &ev); err == nil && d.blind == "" {
			event.AppendText(nil, &ev)
		}
	})
}

// TestDecodeAllocatesNothing: of the events that programs make in floods.
func TestDecodeAllocatesNothing(t *testing.T) {
	exec := anOpen
	exec.Kind = uint16(bpf.VivKindVIV_PROC_EXEC)
	connect := anOpen
	connect.Kind = uint16(bpf.VivKindVIV_SOCK_CONNECT)
	for _, b := range [][]byte{raw(anOpen, "/etc/passwd"), raw(exec, "/bin/cat", "cat\x00x\x00"), raw(connect, "\x7f\x00\x00\x01")} {
		var d decoder
		var ev event.Event
		if n := testing.AllocsPerRun(100, func() {
			if _, err := d.decode(b, &ev); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", show(&ev), n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	open := raw(anOpen, "/usr/lib/x86_64-linux-gnu/libc.so.6")
	exec := anOpen
	exec.Kind = uint16(bpf.VivKindVIV_PROC_EXEC)
	for name, rec := range map[string][]byte{"open": open, "exec": raw(exec, "/usr/bin/cat", "cat\x00/etc/hostname\x00")} {
		b.Run(name, func(b *testing.B) {
			var d decoder
			var ev event.Event
			b.SetBytes(int64(len(rec)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.decode(rec, &ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
