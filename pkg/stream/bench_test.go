package stream

import (
	"io"
	"testing"
)

// TestNoAllocations: what happens to every event allocates nothing.
func TestNoAllocations(t *testing.T) {
	r, w := NewReader(manyEvents(t)), NewWriter(io.Discard)
	ev := sampleEvent()
	for range 100 { // let buffers grow
		r.Next()
	}
	n := testing.AllocsPerRun(5000, func() {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type == TypeEvent {
			e, _ := rec.Event()
			w.Splice(rec, SetUint("span_id", e.SpanID), SetBool("hidden", true), SetText("x", e.Comm), Unset("error"))
		}
		if !r.Pending() {
			w.Flush()
		}
		w.Event(ev)
	})
	if n >= 0.1 { // sessions and ends may
		t.Errorf("%v allocations per event", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	w, ev := NewWriter(io.Discard), sampleEvent()
	b.ReportAllocs()
	for b.Loop() {
		w.Event(ev)
	}
}

func BenchmarkRead(b *testing.B) {
	r := NewReader(manyEvents(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	r := NewReader(manyEvents(b))
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
	r, w := NewReader(manyEvents(b)), NewWriter(io.Discard)
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
	r, w := NewReader(manyEvents(b)), NewWriter(io.Discard)
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
