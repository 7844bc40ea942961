package span

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// tasks is a stream of tasks that come and go, five events each, some without
// their exit. each is called after every task.
func tasks(tasks uint32, each func(n uint32)) *source {
	var m maker
	n := uint32(0)
	return newSource(func(w *stream.Writer) bool {
		n++
		tid := 2 + n%4_000_000 // as Linux reuses them
		w.Event(m.fork(1, tid))
		w.Event(m.method(event.SpanStart, tid, "run"))
		w.Event(m.kind(event.PathOpen, tid, uint64(tid)))
		w.Event(m.method(event.SpanStop, tid, "run"))
		if n%1000 != 0 {
			w.Event(m.kind(event.ProcExit, tid, uint64(tid)))
		}
		each(n)
		return n < tasks
	})
}

// BenchmarkMemory is ten million events of two million tasks: the heap after
// all of them beside what it was after a tenth of them.
func BenchmarkMemory(b *testing.B) {
	const n = 2_000_000
	heap := func() float64 {
		var ms runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&ms)
		return float64(ms.HeapAlloc) / (1 << 20)
	}
	for b.Loop() {
		var early float64
		builder := New(stream.NewWriter(io.Discard), false)
		err := builder.Run(stream.NewReader(tasks(n, func(i uint32) {
			switch i {
			case n / 10:
				early = heap()
			case n:
				b.ReportMetric(early, "MB-after-1M")
				b.ReportMetric(heap(), "MB-after-10M")
			}
		})))
		if err != io.EOF {
			b.Fatal(err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var buf bytes.Buffer
	w := stream.NewWriter(&buf)
	w.Session(&stream.Session{Version: stream.Version, MainTID: 1})
	w.Flush()
	head := bytes.Clone(buf.Bytes())
	buf.Reset()
	mixed(w, 100)
	w.Flush()

	b := New(stream.NewWriter(io.Discard), false)
	r := stream.NewReader(&endless{head: head, data: buf.Bytes()})
	add := func() {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(rec); err != nil {
			t.Fatal(err)
		}
	}
	for range 20_000 { // until everything has been big once
		add()
	}
	if n := testing.AllocsPerRun(20_000, add); n >= 0.01 {
		t.Errorf("%v allocations per record", n)
	}
}

// mixed writes what a busy service does: opens in methods of some threads, and
// a child now and then. It ends as it began, so that it can be repeated.
func mixed(w *stream.Writer, rounds int) (events int) {
	var m maker
	send := func(ev *event.Event) {
		ev.Comm = []byte("ruby")
		ev.ParentSpanID = 7
		if ev.Kind == &event.Kinds[event.PathOpen] {
			ev.Fields[0] = event.Value{Type: event.Text, Text: []byte("/usr/lib/ruby/3.1.0/json/common.rb")}
			ev.Fields[1] = event.Value{Type: event.Uint, Num: 0o100000}
		}
		w.Event(ev)
		events++
	}
	for round := range rounds {
		for tid := uint32(100); tid < 104; tid++ {
			for range 3 {
				send(m.method(event.SpanStart, tid, "File#open"))
				send(m.kind(event.PathOpen, tid, uint64(tid)))
				send(m.kind(event.PathOpen, tid, uint64(tid)))
				send(m.method(event.SpanStop, tid, "File#open"))
				for range 6 {
					send(m.kind(event.PathOpen, tid, uint64(tid)))
				}
			}
		}
		child := uint32(1000 + round)
		send(m.method(event.SpanStart, 100, "Kernel#system"))
		send(m.fork(100, child))
		for range 5 {
			send(m.kind(event.PathOpen, child, uint64(child)))
		}
		send(m.kind(event.ProcExit, child, uint64(child)))
		send(m.method(event.SpanStop, 100, "Kernel#system"))
	}
	return events
}

// endless is a stream that repeats data for ever.
type endless struct {
	head, data []byte
	at         int
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.head) > 0 {
		n := copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	n := copy(p, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}

// BenchmarkSpans is the whole way of an event: read, looked at, written.
func BenchmarkSpans(b *testing.B) {
	var buf bytes.Buffer
	w := stream.NewWriter(&buf)
	w.Session(&stream.Session{Version: stream.Version, MainTID: 1})
	w.Flush()
	head := bytes.Clone(buf.Bytes())
	buf.Reset()
	events := mixed(w, 1000)
	w.Flush()

	builder := New(stream.NewWriter(io.Discard), false)
	r := stream.NewReader(&endless{head: head, data: buf.Bytes()})
	b.SetBytes(int64(buf.Len() / events))
	b.ReportAllocs()
	for b.Loop() {
		rec, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if err := builder.Add(rec); err != nil {
			b.Fatal(err)
		}
		if !r.Pending() {
			builder.w.Flush()
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
