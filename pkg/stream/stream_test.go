package stream

import (
	"bytes"
	"io"
	"testing"

	"vivarium/pkg/event"
)

// build returns what write wrote.
func build(t testing.TB, write func(w *Writer)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// readAll returns copies of all records and the error that ended them.
func readAll(r *Reader) (recs [][]byte, err error) {
	for {
		rec, err := r.Next()
		if err != nil {
			return recs, err
		}
		recs = append(recs, bytes.Clone(rec.Raw))
	}
}

// parsed is the only record in b.
func parsed(t testing.TB, b []byte) *Record {
	t.Helper()
	rec := new(Record)
	if err := rec.parse(b); err != nil {
		t.Fatalf("parse %x: %v", b, err)
	}
	if len(rec.Raw) != len(b) {
		t.Fatalf("parse took %d of %d bytes", len(rec.Raw), len(b))
	}
	return rec
}

func sampleEvent() *event.Event {
	ev := &event.Event{
		Kind: &event.Kinds[event.PathOpen], Name: []byte("path_open"),
		KtimeNS: 5000000123456, PID: 4100, TID: 4101, UID: 1000, GID: 1000, Comm: []byte("ruby"),
		TraceID: [16]byte{1, 2, 3, 15: 9}, SpanID: 0x1122334455667788, ParentSpanID: 7,
	}
	ev.Fields[0] = event.Value{Type: event.Text, Text: []byte("/usr/lib/ruby/3.1.0/json/common.rb")}
	ev.Fields[1] = event.Value{Type: event.Uint, Num: 0o100000}
	return ev
}

// sample is a stream of one session with every kind of record.
func sample(t testing.TB) (b []byte, ends []int) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	long := sampleEvent()
	long.Fields[0].Text = bytes.Repeat([]byte("long/"), 100)
	for _, write := range []func() error{
		func() error {
			return w.Session(&Session{Version: Version, Targets: []uint32{1}, Hooks: map[string]string{"a": "b"}})
		},
		func() error { return w.Event(sampleEvent()) },
		func() error { return w.Raw([]byte("\x82\xa4type\xa3new\xa1x\x92\x01\x81\xa1y\xc0")) },
		func() error { return w.Event(long) },
		func() error { return w.Lost(&Lost{1, 2, "x"}) },
		func() error { return w.Clock(&Clock{1, 2}) },
		func() error { return w.End(&End{Reason: "exited"}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		ends = append(ends, buf.Len())
	}
	return buf.Bytes(), ends
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

func manyEvents(t testing.TB) io.Reader {
	exec := sampleEvent()
	exec.Kind, exec.Name = &event.Kinds[event.ProcExec], []byte("proc_exec")
	exec.Fields[1] = event.Value{Type: event.List, List: [][]byte{[]byte("ruby"), []byte("-e"), []byte("puts 1")}}
	exec.Fields[2] = event.Value{Type: event.Uint, Num: 3}
	return &endless{data: build(t, func(w *Writer) {
		w.Session(&Session{Version: Version})
		for i := range 1000 {
			if i%20 == 0 {
				w.Event(exec)
			} else {
				w.Event(sampleEvent())
			}
		}
		w.End(&End{})
	})}
}
