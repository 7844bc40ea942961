package stream

import (
	"bytes"
	"io"
	"testing"

	"vivarium/pkg/event"

	"github.com/vmihailenco/msgpack/v5"
)

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

func BenchmarkEncode(b *testing.B) {
	w, ev := NewWriter(io.Discard), sampleEvent()
	b.ReportAllocs()
	for b.Loop() {
		w.Event(ev)
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

func manyEvents() io.Reader {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	w.Session(&Session{Version: Version})
	for range 1000 {
		w.Event(sampleEvent())
	}
	w.End(&End{})
	w.Flush()
	return &endless{data: buf.Bytes()}
}

func BenchmarkIndex(b *testing.B) {
	r := NewReader(manyEvents())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	r := NewReader(manyEvents())
	b.ReportAllocs()
	for b.Loop() {
		rec, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if rec.Type == TypeEvent {
			rec.Event()
		}
	}
}

func BenchmarkSplice(b *testing.B) {
	r, w := NewReader(manyEvents()), NewWriter(io.Discard)
	r.Next()
	rec, err := r.Next()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Splice(rec, SetUint("span_id", 5), SetUint("parent_span_id", 6), SetUint("thread_span_id", 7))
	}
}

// BenchmarkPipe is what viv-spans does to an event, without its thinking.
func BenchmarkPipe(b *testing.B) {
	r, w := NewReader(manyEvents()), NewWriter(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		rec, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if rec.Type == TypeEvent {
			ev, _ := rec.Event()
			w.Splice(rec, SetUint("span_id", ev.SpanID+1), SetUint("parent_span_id", 6), SetUint("thread_span_id", ev.SpanID))
		}
		if !r.Pending() {
			w.Flush()
		}
	}
}

func TestSmoke(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	w.Session(&Session{Version: Version, Targets: []uint32{1}, Hooks: map[string]string{"a": "b"}, Host: Host{Name: "x"}})
	w.Event(sampleEvent())
	w.End(&End{Reason: "exited"})
	w.Flush()
	d := msgpack.NewDecoder(bytes.NewReader(buf.Bytes()))
	for {
		m, err := d.DecodeMap()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Log(m)
	}
	r := NewReader(&buf)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Log(rec.Type, len(rec.Raw))
		if rec.Type == TypeEvent {
			ev, err := rec.Event()
			t.Log(ev, err)
		}
	}
}
