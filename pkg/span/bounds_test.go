package span

import (
	"bytes"
	"io"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

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
