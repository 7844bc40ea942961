package vivraw

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCaptureImport(t *testing.T) {
	rec := func(ktime uint64, tid uint32, name, payload string, lost uint64) []byte {
		b := make([]byte, recordSize)
		le.PutUint64(b, ktime)
		le.PutUint32(b[8:], 4100)
		le.PutUint32(b[12:], tid)
		le.PutUint32(b[16:], 1000)
		le.PutUint32(b[20:], 1001)
		le.PutUint64(b[24:], 0x0102030405060708)
		le.PutUint64(b[32:], 0x090a0b0c0d0e0f10)
		le.PutUint64(b[40:], 5)
		le.PutUint64(b[48:], 6)
		copy(b[56:], "ruby")
		copy(b[72:], name)
		copy(b[88:], payload)
		le.PutUint64(b[344:], lost)
		return b
	}
	b := []byte(headerLine(5))
	b = append(b, rec(7000, 4101, "span_start", "A#b", 0)...)
	b = append(b, rec(6000, 4102, "path_open", "/etc/passwd", 3)...)
	b = append(b, rec(6000, 4101, "kernel_read_file", "\x02\x00\x00\x00\x01", 0)...)
	b = append(b, rec(6000, 4101, "of_tomorrow", "x", 0)...)
	b = append(b, rec(8000, 4101, "ssl_write", "\x12\x00\x00\x00\x12\x00\x00\x00GET / HTTP/1.1\r\n\r\n", 0)...)
	r := newReader(iotest.HalfReader(bytes.NewReader(b)))
	var got []string
	for {
		rec, err := r.Next()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
		switch rec.Type {
		case stream.TypeSession:
			s, err := rec.Session()
			if err != nil {
				t.Fatal(err)
			}
			want := stream.Session{Version: stream.Version, StartUnixNS: 1782432000000000000, StartKtimeNS: 5000, Targets: []uint32{4100}, ObserverPID: 4100, MainTID: 4101,
				Origin: []byte(strings.TrimSuffix(headerLine(5), "\n"))}
			if d := cmp.Diff(want, s, cmpopts.IgnoreFields(stream.Session{}, "Policy")); d != "" {
				t.Error(d)
			}
		case stream.TypeEvent:
			ev, _ := rec.Event()
			if len(ev.Origin) != PayloadSize || string(ev.Comm) != "ruby" || ev.PID != 4100 || ev.UID != 1000 || ev.GID != 1001 || ev.SpanID != 5 || ev.ParentSpanID != 6 ||
				ev.TraceID != [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16} {
				t.Errorf("%+v", ev)
			}
			n, _ := rec.Uint(keyArrival)
			got = append(got, fmt.Sprintf("%d %d %s was %d", ev.KtimeNS, ev.TID, ev.Name, n))
			if string(ev.Name) == "path_open" && string(ev.Get("path").Text) != "/etc/passwd" {
				t.Errorf("no typed fields: %+v", ev)
			}
			if ev.Kind == &event.Kinds[event.SSLWrite] && string(ev.Get("summary").Text) != "http/1.x request: GET / HTTP/1.1" {
				t.Errorf("summary %q", ev.Get("summary").Text)
			}
		case stream.TypeLost:
			l, _ := rec.Lost()
			got = append(got, fmt.Sprintf("%d lost %d: %s", l.KtimeNS, l.Count, l.Cause))
		case stream.TypeEnd:
			e, _ := rec.End()
			want := stream.End{StopUnixNS: 1782432001250000000, StopKtimeNS: 1250005000, Events: 5, Lost: 3, Reason: "capture"}
			if d := cmp.Diff(want, e); d != "" {
				t.Error(d)
			}
		}
	}
	want := []string{"6000 4101 kernel_read_file was 2", "6000 4101 of_tomorrow was 3", "6000 lost 3: ring buffer full", "6000 4102 path_open was 1",
		"7000 4101 span_start was 0", "8000 4101 ssl_write was 4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Lost() != 3 {
		t.Errorf("lost %d", r.Lost())
	}
}

// TestCaptureWithoutTimes: what vivarium does without them.
func TestCaptureWithoutTimes(t *testing.T) {
	b := append([]byte(`{"format":"vivarium-raw","version":2,"session_start_iso":"1970-01-01T00:00:00.001Z"}`+"\n"), randCapture(rand.New(rand.NewPCG(3, 3)), 5, true)[len(headerLine(5)):]...)
	r := newReader(bytes.NewReader(b))
	var last uint64
	for {
		rec, err := r.Next()
		if err != nil {
			t.Fatalf("no end: %v", err)
		}
		if rec.Type == stream.TypeEvent {
			ev, _ := rec.Event()
			last = ev.KtimeNS
		}
		if rec.Type == stream.TypeEnd {
			if e, _ := rec.End(); e.StopKtimeNS != last || e.StopUnixNS != 1000000+int64(last) {
				t.Errorf("%+v, last event %d", e, last)
			}
			return
		}
	}
}

// TestConcatenatedSessions: streams and captures, one behind the other.
func TestConcatenatedSessions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	capture := randCapture(rnd, 3, true)
	native := build(sample)
	r := newReader(bytes.NewReader(slices.Concat(native, capture, native, capture, capture)))
	types := map[stream.Type]int{}
	for {
		rec, err := r.Next()
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			break
		}
		types[rec.Type]++
	}
	if types[stream.TypeSession] != 5 || types[stream.TypeEnd] != 5 || types[stream.TypeEvent] != 2*2+3*3 || types[stream.Unknown] != 2 {
		t.Errorf("%v", types)
	}
}

func BenchmarkImport(b *testing.B) {
	rnd := rand.New(rand.NewPCG(7, 7))
	in := &endless{data: randCapture(rnd, 10000, true)}
	r := newReader(in)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// endless repeats data for ever.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(b []byte) (n int, err error) {
	n = copy(b, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}
