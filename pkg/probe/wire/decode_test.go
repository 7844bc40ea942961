package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"

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

var write = flag.Bool("write", false, "write bpf/lib/kinds.h")

// TestKinds: the kinds of the BPF programs are those of the catalogue, as the
// programs are written and as they were compiled.
func TestKinds(t *testing.T) {
	const name = "../../../bpf/lib/kinds.h"
	want := []byte(`/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Made by make generate from the catalogue (pkg/event): the kinds of events. */
#ifndef VIV_KINDS_H
#define VIV_KINDS_H

enum kind {
`)
	for i := range event.Kinds {
		want = fmt.Appendf(want, "\tVIV_%s,\n", strings.ToUpper(event.Kinds[i].Name))
	}
	want = append(want, "\tVIV_KINDS,\n};\n\n#endif\n"...)
	if *write {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return // they are compiled now
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("bpf/lib/kinds.h is not what make generate writes:\n%s", have)
	}
	var kinds, controls *btf.Enum
	if err := errors.Join(types(t).TypeByName("kind", &kinds), types(t).TypeByName("control", &controls)); err != nil {
		t.Fatal(err)
	}
	for i, v := range kinds.Values {
		if i < int(event.NumKinds) && (v.Name != "VIV_"+strings.ToUpper(event.Kinds[i].Name) || v.Value != uint64(i)) {
			t.Errorf("kind %d is %s in Go and %s in C", i, event.Kinds[i].Name, v.Name)
		}
	}
	if len(kinds.Values) != int(event.NumKinds)+1 || bpf.VivKindVIV_KINDS != bpf.VivKind(event.NumKinds) {
		t.Errorf("%d kinds in Go, %d in C", event.NumKinds, len(kinds.Values)-1)
	}
	if controls.Values[0].Value != uint64(event.NumKinds) {
		t.Errorf("the other records' kinds begin at %d", controls.Values[0].Value)
	}
}

// TestLayout holds the records of the BPF programs, as they were compiled,
// against Go's, and both against what the catalogue says lies where.
func TestLayout(t *testing.T) {
	for name, goType := range map[string]reflect.Type{
		"head": reflect.TypeFor[bpf.VivHead](), "record": reflect.TypeFor[bpf.VivRecord](),
		"function_record": reflect.TypeFor[bpf.VivFunctionRecord](), "blind_record": reflect.TypeFor[bpf.VivBlindRecord](),
		"library_record": reflect.TypeFor[bpf.VivLibraryRecord](), "tls_record": reflect.TypeFor[bpf.VivTlsRecord](),
		"syscall": reflect.TypeFor[bpf.VivSyscall](),
	} {
		var rec *btf.Struct
		if err := types(t).TypeByName(name, &rec); err != nil {
			t.Fatal(err)
		}
		fields := map[string]reflect.StructField{}
		for f := range goType.Fields() {
			fields[strings.ToLower(f.Name)] = f
		}
		delete(fields, "_")
		for _, m := range rec.Members {
			goName := strings.ReplaceAll(m.Name, "_", "")
			f, ok := fields[goName]
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				t.Fatal(err)
			}
			if !ok || uintptr(m.Offset.Bytes()) != f.Offset || uintptr(size) != f.Type.Size() {
				t.Errorf("%s.%s: %d bytes at %d in C, %d at %d in Go", name, m.Name, size, m.Offset.Bytes(), f.Type.Size(), f.Offset)
			}
			delete(fields, goName)
		}
		if len(fields) > 0 || uintptr(rec.Size) != goType.Size() {
			t.Errorf("%s: in Go but not in C: %v; %d bytes in C, %d in Go", name, fields, rec.Size, goType.Size())
		}
	}
	if size := int(unsafe.Sizeof(bpf.VivRecord{})); headSize+(4+1)*8 != size {
		t.Errorf("the head is %d bytes of %d", headSize, size)
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
		if r.Head.Nums&(1<<i) != 0 {
			last = i + 1
		}
	}
	if r.Head.Nums&(1<<len(r.Num)) != 0 { // its root is there
		last = len(r.Num) + 1
	}
	return append(b[:headSize+8*last], strings.Join(texts, "")...)
}

// control is a record of its own type as the BPF programs send it.
func control(r any) []byte {
	b, err := binary.Append(nil, binary.NativeEndian, r)
	if err != nil {
		panic(err)
	}
	return b
}

var aHead = bpf.VivHead{
	Ktime: 5_000_000_000, Span: 7, Parent: 6, Pid: 10, Tid: 11, Uid: 1000, Gid: 100,
	Comm: [16]int8{'c', 'a', 't'}, Kind: uint16(bpf.VivKindVIV_PATH_OPEN), Nums: 1,
}

var anOpen = bpf.VivRecord{Head: aHead, Num: [4]uint64{0x80000}}

func headOf(kind bpf.VivControl) bpf.VivHead {
	h := aHead
	h.Kind, h.Nums = uint16(kind), 0
	return h
}

func TestDecode(t *testing.T) {
	with := func(change func(r *bpf.VivRecord)) bpf.VivRecord {
		r := anOpen
		change(&r)
		return r
	}
	kind := func(k bpf.VivKind, nums uint8, num ...uint64) bpf.VivRecord {
		return with(func(r *bpf.VivRecord) {
			r.Head.Kind, r.Head.Nums, r.Num = uint16(k), nums, [4]uint64{}
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
		{"no flags", raw(with(func(r *bpf.VivRecord) { r.Head.Nums = 0 }), "/etc/x"), "path_open path=/etc/x"},
		{"failed", raw(with(func(r *bpf.VivRecord) { r.Ret = -2 }), "/x"), "path_open path=/x flags=524288 error=ENOENT"},
		{"restarted", raw(with(func(r *bpf.VivRecord) { r.Ret = -512 }), "/x"), "path_open path=/x flags=524288 error=ERESTARTSYS"},
		{"unknown errno", raw(with(func(r *bpf.VivRecord) { r.Ret = -4000 }), "/x"), "path_open path=/x flags=524288 error=errno 4000"},
		{"no errno", raw(with(func(r *bpf.VivRecord) { r.Ret = math.MinInt32 }), "/x"), "path_open path=/x flags=524288 error=errno 2147483648"},
		{"cut", raw(with(func(r *bpf.VivRecord) { r.Head.Flags = uint8(bpf.VivFlagVIV_TRUNCATED) }), "x"), "path_open path=x flags=524288 truncated"},
		{"unreachable", raw(with(func(r *bpf.VivRecord) { r.Head.Flags = uint8(bpf.VivFlagVIV_UNREACHABLE) }), "/x"), "path_open path=(unreachable)/x flags=524288"},
		{
			"pipe",
			raw(with(func(r *bpf.VivRecord) { r.Head.Flags, r.Head.Nums, r.Num[3] = uint8(bpf.VivFlagVIV_PSEUDO), 9, 42 }), "pipefs"),
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
		{"deleted", raw(with(func(r *bpf.VivRecord) { r.Head.Flags = uint8(bpf.VivFlagVIV_DELETED) }), "/x"), "path_open path=/x flags=524288 deleted"},
		{"another root", raw(with(func(r *bpf.VivRecord) { r.Head.Nums |= 1 << 4; r.Root = 7 }), "/x"), "path_open path=/x flags=524288"},
		{"rename", raw(kind(bpf.VivKindVIV_FILE_RENAME, 1, 0), "/a", "/b"), "file_rename old_path=/a path=/b"},
		{"exchange", raw(kind(bpf.VivKindVIV_FILE_RENAME, 1, 2), "/a", "/b"), "file_rename old_path=/a path=/b flags=2"},
		{"kernel_read_file", raw(kind(bpf.VivKindVIV_KERNEL_READ_FILE, 1, math.MaxUint64), "/x"), "kernel_read_file id=18446744073709551615 path=/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(c.raw); err != nil || m.Lost != 0 || m.Type != Event {
				t.Fatalf("%d lost, type %d, error %v", m.Lost, m.Type, err)
			}
			if got := eventtest.Show(&m.Event); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for i := range c.raw {
				if err := m.Decode(c.raw[:i]); err == nil {
					t.Errorf("the first %d bytes of it are taken for a record", i)
				}
			}
		})
	}
	t.Run("head", func(t *testing.T) {
		m := Message{Event: event.Event{TraceID: [16]byte{1}, Hidden: true}}
		err := m.Decode(raw(with(func(r *bpf.VivRecord) { r.Head.Lost = 12 }), "/x"))
		if err != nil || m.Lost != 12 {
			t.Errorf("%d lost, error %v", m.Lost, err)
		}
		ev := &m.Event
		if ev.KtimeNS != aHead.Ktime || ev.SpanID != 7 || ev.ParentSpanID != 6 || ev.PID != 10 || ev.TID != 11 ||
			ev.UID != 1000 || ev.GID != 100 || string(ev.Comm) != "cat" || ev.TraceID != [16]byte{1} || ev.Hidden {
			t.Errorf("%+v", ev)
		}
	})
	t.Run("unknown kind", func(t *testing.T) {
		var m Message
		if err := m.Decode(raw(kind(bpf.VivKindVIV_KINDS+1000, 0))); err == nil {
			t.Error("no error")
		}
	})
}

// TestControls: the records that are no events.
func TestControls(t *testing.T) {
	library := func(exec uint32) []byte {
		return control(bpf.VivLibraryRecord{Head: headOf(bpf.VivControlVIV_LIBRARY), Pid: 12, Parent: 10, Exec: exec})
	}
	jump := headOf(bpf.VivControlVIV_METHOD_JUMP)
	jump.Sp = 0x7ffe0000
	marker := func(text string) []byte {
		r := bpf.VivRecord{Head: headOf(bpf.VivControlVIV_MARKER)}
		return raw(r, text)
	}
	function := headOf(bpf.VivControlVIV_FUNCTION)
	function.Sp = 0x1000
	for _, c := range []struct {
		name string
		raw  []byte
		want Message
		show string
	}{
		{"library", library(0), Message{Type: Library, Changed: LibraryChange{12, 10, false}}, ""},
		{"library, exec", library(1), Message{Type: Library, Changed: LibraryChange{12, 10, true}}, ""},
		{"TLS end", control(bpf.VivTlsRecord{Head: headOf(bpf.VivControlVIV_TLS), Conn: 0x7f0001, Call: uint32(bpf.VivCallVIV_CALL_TLS_END)}), Message{Type: TLSEnd, Conn: 0x7f0001}, ""},
		{"TLS cork", control(bpf.VivTlsRecord{Head: headOf(bpf.VivControlVIV_TLS), Conn: 0x7f0001, Call: uint32(bpf.VivCallVIV_CALL_TLS_CORK)}), Message{Type: TLSCork, Conn: 0x7f0001}, ""},
		{"TLS uncork", control(bpf.VivTlsRecord{Head: headOf(bpf.VivControlVIV_TLS), Conn: 0x7f0001, Call: uint32(bpf.VivCallVIV_CALL_TLS_UNCORK)}), Message{Type: TLSUncork, Conn: 0x7f0001}, ""},
		{"method jump", control(jump), Message{Type: MethodJump, StackPointer: 0x7ffe0000}, ""},
		{"32-bit calls", control(bpf.VivBlindRecord{Head: headOf(bpf.VivControlVIV_BLIND), What: uint32(bpf.VivBlindVIV_BLIND_COMPAT)}),
			Message{Type: Blind, Cause: "unseen 32-bit system calls of process 10"}, ""},
		{"io_uring", control(bpf.VivBlindRecord{Head: headOf(bpf.VivControlVIV_BLIND), What: uint32(bpf.VivBlindVIV_BLIND_IO_URING)}),
			Message{Type: Blind, Cause: "unseen io_uring operations of process 10"}, ""},
		{"bad marker", marker("begin/x"), Message{Type: BadMarker}, ""},
		{"found", marker("found"), Message{Type: FoundMarker}, ""},
		{"found an entry", marker("found/4096"), Message{Type: FoundMarker, Entry: 4096}, ""},
		{"found none", marker("found/"), Message{Type: BadMarker}, ""},
		{"found entry 0", marker("found/0"), Message{Type: BadMarker}, ""},
		{"found no number", marker("found/1x"), Message{Type: BadMarker}, ""},
		{"found too large a number", marker("found/2147483648"), Message{Type: BadMarker}, ""},
		{"found something", marker("foundation"), Message{Type: BadMarker}, ""},
		{"marker", marker("start/job?line=7"), Message{ID: event.SpanStart}, "span_start name=job line=7 source=marker"},
		{"function entered", control(bpf.VivFunctionRecord{Head: function, Site: 3, StackFrom: 5, StackTo: 6}),
			Message{ID: event.SpanStart, StackPointer: 0x1000, Function: Function{4, 5, 6}}, "span_start source=uprobe"},
		{"function left", control(bpf.VivFunctionRecord{Head: function, Site: 3, Left: 1}),
			Message{ID: event.SpanStop, StackPointer: 0x1000, Function: Function{4, 0, 0}}, "span_stop source=uprobe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			for i := range c.raw {
				if err := m.Decode(c.raw[:i]); err == nil {
					t.Errorf("the first %d bytes of it are taken for a record", i)
				}
			}
			m = Message{}
			if err := m.Decode(c.raw); err != nil {
				t.Fatal(err)
			}
			if m.Event.KtimeNS != aHead.Ktime || m.Event.PID != 10 || m.Event.TID != 11 || string(m.Event.Comm) != "cat" {
				t.Errorf("%+v", m.Event)
			}
			if c.show != "" {
				if got := eventtest.Show(&m.Event); got != c.show {
					t.Errorf("%q, want %q", got, c.show)
				}
			}
			m.Event, m.raw = event.Event{}, event.Raw{}
			if !reflect.DeepEqual(m, c.want) {
				t.Errorf("got  %+v\nwant %+v", m, c.want)
			}
		})
	}
}

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
		{"TCP, larger than is read", "\x04\x00" + q + strings.Repeat("x", 512-2-len(q)), true, true, read},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := bpf.VivRecord{Head: bpf.VivHead{Kind: uint16(bpf.VivKindVIV_DNS_REQ), Nums: 1}}
			r.Num[0] = unix.SOCK_DGRAM
			if c.stream {
				r.Num[0] = unix.SOCK_STREAM
			}
			if c.cut {
				r.Head.Flags = uint8(bpf.VivFlagVIV_TRUNCATED)
			}
			var m Message
			if err := m.Decode(raw(r, c.msg)); err != nil {
				t.Fatal(err)
			}
			if got := eventtest.Show(&m.Event); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestNextQuestions: all questions of what is sent to a server at once.
func TestNextQuestions(t *testing.T) {
	header := func(questions, records byte) string {
		return "\x12\x34\x01\x00\x00" + string(questions) + "\x00\x00\x00\x00\x00" + string(records)
	}
	const (
		a    = "\x01a\x03org\x00\x00\x01\x00\x01"
		b    = "\x01b\xc0\x0e\x00\x1c\x00\x01" // its org is a's
		loop = "\x01b\xc0\x17\x00\x1c\x00\x01"
		opt  = "\x00\x00\x29\x04\xb0\x00\x00\x00\x00\x00\x03abc"
	)
	framed := func(msg string) string { return string([]byte{byte(len(msg) >> 8), byte(len(msg))}) + msg }
	one, two := header(1, 0)+a, header(2, 0)+a+b
	other := header(1, 0) + "\x05other\x00\x00\x0f\x00\x01"
	const isA, isB, isOther = "dns_req qname=a.org qtype=A", "dns_req qname=b.org qtype=AAAA", "dns_req qname=other qtype=MX"
	many := make([]string, 65)
	for i := range many[:64] {
		many[i] = isA
	}
	many[64] = "dns_req truncated"
	for _, c := range []struct {
		name, msg string
		stream    bool
		sent      int // bytes beside those of msg
		want      []string
	}{
		{"UDP, one", one, false, 0, []string{isA}},
		{"UDP, two", two, false, 0, []string{isA, isB}},
		{"UDP, two and options", header(2, 1) + a + b + opt, false, 0, []string{isA, isB}},
		{"UDP, fewer than it says", header(9, 0) + a + b, false, 0, []string{isA, isB}},
		{"UDP, what follows", one + framed(other), false, 0, []string{isA}},
		{"UDP, a name that points to itself", header(2, 0) + a + loop, false, 0, []string{isA}},
		{"UDP, 100", header(100, 0) + strings.Repeat(a, 100), false, 0, many},
		{"UDP, second cut", header(2, 0) + a + "\x03", false, 9, []string{isA, "dns_req truncated"}},
		{"TCP, two messages", framed(one) + framed(other), true, 0, []string{isA, isOther}},
		{"TCP, two messages, two questions each", framed(two) + framed(two), true, 0, []string{isA, isB, isA, isB}},
		{"TCP, the first without its length", one + framed(other), true, 0, []string{isA, isOther}},
		{"TCP, the first without its length, with options", header(1, 1) + a + opt + framed(other), true, 0, []string{isA, isOther}},
		{"TCP, the second begun", framed(one) + framed(other)[:9], true, 0, []string{isA}},
		{"TCP, the second's length", framed(one) + "\x00\x20", true, 0, []string{isA}},
		{"TCP, the second is no question", framed(one) + framed("GET / HTTP/1.1"), true, 0, []string{isA}},
		{"TCP, an answer in front", framed("\x12\x34\x81"+one[3:]) + framed(other), true, 0, []string{"dns_req"}},
		{"TCP, 100 messages", strings.Repeat(framed(one), 100), true, 0, many},
		{"TCP, more was sent", framed(one), true, 1, []string{isA, "dns_req truncated"}},
		{"TCP, a message goes on", "\x04\x00" + one, true, 0x400 - len(one), []string{isA}},
		{"TCP, and another one follows", "\x04\x00" + one, true, 0x400 - len(one) + 1, []string{isA, "dns_req truncated"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := bpf.VivRecord{Head: bpf.VivHead{Kind: uint16(bpf.VivKindVIV_DNS_REQ), Nums: 3}}
			r.Num[0], r.Num[1] = unix.SOCK_DGRAM, uint64(len(c.msg)+c.sent)
			if c.stream {
				r.Num[0] = unix.SOCK_STREAM
			}
			if c.sent > 0 {
				r.Head.Flags = uint8(bpf.VivFlagVIV_TRUNCATED)
			}
			var m Message
			if err := m.Decode(raw(r, c.msg)); err != nil {
				t.Fatal(err)
			}
			got := []string{eventtest.Show(&m.Event)}
			for m.Next() && len(got) < 200 {
				got = append(got, eventtest.Show(&m.Event))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestErrnoNames: those with two names have the one that strace and perror
// give them.
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
	for k := range uint16(bpf.VivControlVIV_METHOD_JUMP) + 2 {
		r := anOpen
		r.Head.Kind, r.Head.Nums, r.Head.Flags = k, 15, 0xff
		f.Add(raw(r, "some\x00text\x00", "/other"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if err := m.Decode(bytes.Clone(b)); err != nil {
			return
		}
		if (m.Type == Event) != (m.Event.Kind != nil) && m.Type != BadMarker {
			t.Errorf("type %d has the event %v", m.Type, m.Event.Kind)
		}
		if m.Type != Event {
			return
		}
		for n := 0; m.Next(); n++ {
			if n > 64 {
				t.Fatal("the questions of a record have no end")
			}
		}
		if m.Event.Kind != &event.Kinds[m.ID] {
			t.Errorf("%d is no %s", m.ID, m.Event.Kind.Name)
		}
		for i, v := range m.Event.Fields {
			if v.Type != event.None && (i >= len(m.Event.Kind.Fields) || v.Type != m.Event.Kind.Fields[i].Type) {
				t.Errorf("field %d of %s has type %v", i, m.Event.Kind.Name, v.Type)
			}
		}
		event.AppendText(nil, &m.Event)
	})
}

// floods are records that programs cause in floods.
func floods() map[string][]byte {
	exec, connect, question := anOpen, anOpen, anOpen
	exec.Head.Kind = uint16(bpf.VivKindVIV_PROC_EXEC)
	connect.Head.Kind = uint16(bpf.VivKindVIV_SOCK_CONNECT)
	question.Head.Kind, question.Num[0] = uint16(bpf.VivKindVIV_DNS_REQ), unix.SOCK_DGRAM
	env := anOpen
	env.Head.Kind, env.Num[0] = uint16(bpf.VivKindVIV_ENV_CACCESS), uint64(bpf.VivCallVIV_CALL_GETENV)
	return map[string][]byte{
		"open":     raw(anOpen, "/usr/lib/x86_64-linux-gnu/libc.so.6"),
		"exec":     raw(exec, "/usr/bin/cat", "cat\x00/etc/hostname\x00"),
		"connect":  raw(connect, "\x7f\x00\x00\x01"),
		"dns":      raw(question, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x1c\x00\x01", "\x08\x08\x08\x08"),
		"getenv":   raw(env, "HOME"+strings.Repeat("\x00", 252)),
		"marker":   raw(bpf.VivRecord{Head: headOf(bpf.VivControlVIV_MARKER)}, "start/job%20one?file=/srv/run.x&line=7"),
		"function": control(bpf.VivFunctionRecord{Head: headOf(bpf.VivControlVIV_FUNCTION), Site: 3}),
		"library":  control(bpf.VivLibraryRecord{Head: headOf(bpf.VivControlVIV_LIBRARY), Pid: 3}),
	}
}

// TestDecodeAllocatesNothing: of what programs cause in floods.
func TestDecodeAllocatesNothing(t *testing.T) {
	for name, b := range floods() {
		var m Message
		if n := testing.AllocsPerRun(100, func() {
			if err := m.Decode(b); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, rec := range floods() {
		b.Run(name, func(b *testing.B) {
			var m Message
			b.SetBytes(int64(len(rec)))
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Decode(rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
