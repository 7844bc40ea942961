package stream

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/records.hex")

// records are session, lost, clock and end records with values of every width.
func records() (list []func(w *Writer) error) {
	session := func(s Session) { list = append(list, func(w *Writer) error { return w.Session(&s) }) }
	lost := func(l Lost) { list = append(list, func(w *Writer) error { return w.Lost(&l) }) }
	clock := func(c Clock) { list = append(list, func(w *Writer) error { return w.Clock(&c) }) }
	end := func(e End) { list = append(list, func(w *Writer) error { return w.End(&e) }) }

	session(Session{})
	session(Session{Version: Version, StartUnixNS: -5, StartKtimeNS: math.MaxUint64})
	session(Session{
		Version: Version, StartUnixNS: 1700000000123456789, StartKtimeNS: 1 << 40, TraceID: [16]byte{15: 1}, ParentSpanID: 3,
		Targets: []uint32{0, 127, 128, 255, 256, 65535, 65536, 1<<32 - 1}, MainTID: 1 << 20, ObserverPID: 7,
		Command:   []string{"sh", "-c", "", "\xff", "\u00e9\u202e", string(bytes.Repeat([]byte("x"), 32)), string(bytes.Repeat([]byte("\xfe"), 70000))},
		Processes: []Process{{1, "/bin/\xfe", []string{"a", "\xff"}}, {1 << 31, "", nil}, {2, "p", []string{}}},
		Host:      Host{"n\xff", "o", "k", "a", "b"}, Hooks: map[string]string{"z": "1", "path_open": "lsm:file_open", "a\xff": "\xfe", "b": ""},
		Missing: map[string]string{"dlopen": "no libc"}, Masked: true, ProbeVersion: "0.1.0", Origin: []byte(`{"a":1}`),
	})
	session(Session{Host: Host{Arch: "x86_64"}, Origin: []byte("{\xff}"), Hooks: map[string]string{}, Targets: []uint32{}})
	many := Session{Hooks: map[string]string{}}
	for i := range 70000 {
		many.Command = append(many.Command, "x")
		if i < 100 {
			many.Hooks[fmt.Sprint(i)] = "x"
			many.Processes = append(many.Processes, Process{PID: uint32(i)})
		}
	}
	session(many)
	for _, n := range []uint64{0, 1, 127, 128, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, math.MaxUint64} {
		lost(Lost{n, n, "ring buffer full"})
		clock(Clock{int64(n), n})
		clock(Clock{-int64(n), n})
		end(End{int64(n), n, n, n, "exited", int64(n), true, n, n&1 == 0, []byte{byte(n)}})
		end(End{StopUnixNS: -int64(n), Reason: "sign\xffal", ExitCode: -int64(n), HasExit: n > 0})
	}
	lost(Lost{})
	end(End{})
	end(End{ExitCode: 9})
	return list
}

// TestEncodings holds the encoding of records, byte for byte.
func TestEncodings(t *testing.T) {
	const name = "testdata/records.hex"
	var got []byte
	for _, write := range records() {
		var w Writer
		if err := write(&w); err != nil {
			t.Fatal(err)
		}
		b := w.Bytes()
		if len(b) > 1000 { // the beginning, and the length
			got = fmt.Appendf(hex.AppendEncode(got, b[:1000]), " and %d bytes, sum %d\n", len(b), sum(b))
			continue
		}
		got = append(hex.AppendEncode(got, b), '\n')
	}
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	if len(g) != len(w) {
		t.Fatalf("%d records, want %d", len(g)-1, len(w)-1)
	}
	for i := range g {
		if !bytes.Equal(g[i], w[i]) {
			t.Errorf("record %d:\n got %s\nwant %s", i, g[i], w[i])
		}
	}
}

func sum(b []byte) (s uint64) {
	for _, c := range b {
		s = s*1099511628211 ^ uint64(c)
	}
	return s
}
