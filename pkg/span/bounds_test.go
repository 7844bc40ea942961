package span

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// source makes a stream while it is read, so that a test can have millions of
// events: next writes some records until it returns false.
type source struct {
	buf  bytes.Buffer
	w    *stream.Writer
	next func(w *stream.Writer) bool
	done bool
}

func newSource(next func(w *stream.Writer) bool) *source {
	s := &source{next: next}
	s.w = stream.NewWriter(&s.buf)
	s.w.Session(&stream.Session{Version: stream.Version, StartKtimeNS: 1, MainTID: 1, Targets: []uint32{1}, ObserverPID: 2})
	return s
}

func (s *source) Read(p []byte) (int, error) {
	for s.buf.Len() == 0 && !s.done {
		if s.done = !s.next(s.w); s.done {
			s.w.End(&stream.End{StopKtimeNS: 1 << 60})
		}
		s.w.Flush()
	}
	return s.buf.Read(p)
}

// maker makes events one after the other.
type maker struct {
	ev    event.Event
	ktime uint64
}

func (m *maker) kind(id event.ID, tid uint32, span uint64) *event.Event {
	m.ktime++
	m.ev.Reset()
	m.ev.Kind = &event.Kinds[id]
	m.ev.KtimeNS = m.ktime
	m.ev.PID, m.ev.TID, m.ev.SpanID = tid, tid, span
	m.ev.TraceID[0] = 1
	return &m.ev
}

func (m *maker) method(id event.ID, tid uint32, name string) *event.Event {
	ev := m.kind(id, tid, uint64(tid))
	ev.Fields[0] = event.Value{Type: event.Text, Text: []byte(name)}
	return ev
}

func (m *maker) fork(tid, child uint32) *event.Event {
	ev := m.kind(event.ProcFork, tid, uint64(tid))
	ev.Fields[0] = event.Value{Type: event.Uint, Num: uint64(child)}
	return ev
}

// counter counts the records that are written.
type counter struct {
	opened, ended int
	open, most    int
	dangling      int
}

func count(t *testing.T, in io.Reader) (c counter, stats Stats) {
	t.Helper()
	pr, pw := io.Pipe()
	b := New(stream.NewWriter(pw), false)
	go func() {
		err := b.Run(stream.NewReader(in))
		pw.CloseWithError(err)
	}()
	r := stream.NewReader(pr)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return c, b.Stats
		}
		if err != nil {
			t.Fatal(err)
		}
		switch rec.Type {
		case stream.TypeSpanOpen:
			c.opened++
			c.open++
			c.most = max(c.most, c.open)
		case stream.TypeSpan:
			c.ended++
			c.open--
			if s, _ := rec.Span(); s.Dangling {
				c.dangling++
			}
		}
	}
}

func TestFloodOfStarts(t *testing.T) {
	const starts = 10_000
	var m maker
	n := 0
	c, stats := count(t, newSource(func(w *stream.Writer) bool {
		switch n++; {
		case n == 1:
			w.Event(m.method(event.SpanStart, 1, "outer"))
		case n <= 1+starts:
			w.Event(m.method(event.SpanStart, 1, "flood"))
		case n <= 1+2*starts-10: // ten stops are lost
			w.Event(m.method(event.SpanStop, 1, "flood"))
		case n == 2+2*starts-10:
			w.Event(m.method(event.SpanStop, 1, "outer"))
		default:
			w.Event(m.kind(event.PathOpen, 1, 1))
			return false
		}
		return true
	}))
	// 256 are the session's thread, outer and 254 of the flood.
	want := Stats{NotOpened: starts - (MaxPerThread - 2)}
	if stats != want || c.opened != 1+MaxPerThread || c.ended != c.opened || c.most != 1+MaxPerThread || c.dangling != 10+1 {
		t.Errorf("%+v, %+v; want %+v, %d spans, 11 dangling", c, stats, want, 1+MaxPerThread)
	}
}

// The flood's stops are all lost: the outer method still ends when it says so.
func TestFloodWithoutStops(t *testing.T) {
	var m maker
	n := 0
	c, stats := count(t, newSource(func(w *stream.Writer) bool {
		switch n++; {
		case n == 1:
			w.Event(m.method(event.SpanStart, 1, "outer"))
		case n <= 1000:
			w.Event(m.method(event.SpanStart, 1, "flood"))
		case n == 1001:
			w.Event(m.method(event.SpanStop, 1, "outer"))
		default:
			w.Event(m.method(event.SpanStart, 1, "next"))
			w.Event(m.method(event.SpanStop, 1, "next"))
			return false
		}
		return true
	}))
	want := Stats{NotOpened: 999 - (MaxPerThread - 2)}
	if stats != want || c.opened != 1+MaxPerThread+1 || c.dangling != MaxPerThread-2+1 {
		t.Errorf("%+v, %+v; want %+v", c, stats, want)
	}
}

// More threads than spans may be open: the ones that were silent for longest
// are closed, and never the target's.
func TestTooManyThreads(t *testing.T) {
	const threads = MaxOpen + 1000
	var m maker
	n := uint32(0)
	c, stats := count(t, newSource(func(w *stream.Writer) bool {
		n++
		w.Event(m.kind(event.PathOpen, n, uint64(n)))
		return n < threads
	}))
	want := Stats{Evicted: threads + 1 - MaxOpen}
	if stats != want || c.opened != threads+1 || c.most != MaxOpen || c.ended != c.opened {
		t.Errorf("%+v, %+v; want %+v", c, stats, want)
	}
}

// A closed thread that is heard of again gets another span, under its parent.
func TestEvictedComesBack(t *testing.T) {
	var m maker
	var buf bytes.Buffer
	b := New(stream.NewWriter(&buf), false)
	b.max.open = 100
	n := uint32(0)
	err := b.Run(stream.NewReader(newSource(func(w *stream.Writer) bool {
		switch n++; {
		case n == 1:
			w.Event(m.method(event.SpanStart, 1, "a"))
			w.Event(m.fork(1, 2))
		case n <= 100:
			w.Event(m.kind(event.PathOpen, n, uint64(n)))
		default:
			w.Event(m.kind(event.PathOpen, 2, 2))
			return false
		}
		return true
	})))
	if err != io.EOF {
		t.Fatal(err)
	}
	if err := check(buf.Bytes(), defaultBounds, true); err != nil {
		t.Error(err)
	}
	var parents []uint64
	r := stream.NewReader(&buf)
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		if s, _ := rec.Span(); rec.Type == stream.TypeSpan && s.TID == 2 {
			parents = append(parents, s.ParentSpanID)
		}
	}
	if len(parents) != 2 || parents[0] != parents[1] {
		t.Errorf("the thread's spans have the parents %#x, want two equal ones", parents)
	}
}

// Long names fill the space for names before the number of spans is reached.
func TestTooMuchText(t *testing.T) {
	var m maker
	name := string(bytes.Repeat([]byte("x"), 1<<20))
	n := uint32(0)
	c, stats := count(t, newSource(func(w *stream.Writer) bool {
		n++
		w.Event(m.method(event.SpanStart, n, name))
		return n < 20
	}))
	if want := (Stats{NotOpened: 4}); stats != want || c.opened != 1+20+16 {
		t.Errorf("%+v, %+v; want %+v", c, stats, want)
	}
}

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

func TestShortLivedTasks(t *testing.T) {
	const n = 20_000
	b := New(stream.NewWriter(io.Discard), false)
	b.max.open = 10 // so that the tasks without an exit reach it
	err := b.Run(stream.NewReader(tasks(n, func(uint32) {
		if len(b.byTID) > b.max.open+b.max.forked+b.max.ended || len(b.bySpanID) > b.max.open+b.max.ended {
			t.Fatalf("%d tids and %d ids are kept", len(b.byTID), len(b.bySpanID))
		}
	})))
	// The session, the target's thread and the method of a task are open, too.
	if want := (Stats{Evicted: n/1000 - (10 - 3)}); err != io.EOF || b.Stats != want {
		t.Errorf("%v, %+v; want %+v", err, b.Stats, want)
	}
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

// Forks whose children never show themselves, and exits of tasks unknown.
func TestForksWithoutChildren(t *testing.T) {
	var m maker
	n := uint32(1)
	b := New(stream.NewWriter(io.Discard), false)
	err := b.Run(stream.NewReader(newSource(func(w *stream.Writer) bool {
		n++
		w.Event(m.fork(1, n))
		return n < 5*uint32(defaultBounds.forked)
	})))
	if err != io.EOF || b.lists[forked].n != 0 || len(b.byTID) != 0 {
		t.Errorf("%v, %d forks kept", err, len(b.byTID))
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

// Everything that can be said of a record is written before the next is there.
func TestFlush(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan error)
	go func() {
		done <- New(stream.NewWriter(outW), false).Run(stream.NewReader(inR))
		outW.Close()
	}()
	r := stream.NewReader(outR)
	expect := func(types ...stream.Type) {
		t.Helper()
		for _, want := range types {
			rec, err := r.Next()
			if err != nil || rec.Type != want {
				t.Fatalf("got a record %+v (%v), want one of type %d", rec, err, want)
			}
		}
	}
	var m maker
	w := stream.NewWriter(inW)
	w.Session(&stream.Session{Version: stream.Version})
	w.Flush()
	expect(stream.TypeSession)
	w.Event(m.method(event.SpanStart, 1, "a"))
	w.Flush()
	expect(stream.TypeSpanOpen, stream.TypeSpanOpen, stream.TypeSpanOpen, stream.TypeEvent)
	w.Event(m.method(event.SpanStop, 1, "a"))
	w.Flush()
	expect(stream.TypeEvent, stream.TypeSpan)
	w.End(&stream.End{})
	w.Flush()
	expect(stream.TypeSpan, stream.TypeSpan, stream.TypeEnd)
	inW.Close()
	if err := <-done; err != io.EOF {
		t.Error(err)
	}
}
