// Package span rebuilds spans from events: one for the session, under it one
// for each thread or process, under those the methods.
//
// A thread's span lasts from its first event to its exit; that of a target's
// first thread begins with the session. Its parent is the span that was the
// innermost of the forking thread at the fork. An exec keeps it, also when the
// exec gives it the tid of its process's first thread. A method's span lasts
// from its start to the stop of the same name on the same thread; spans above
// it whose stops were lost end with it. A stop without a name ends the
// innermost. What is still open at the exit of its thread or at the end of its
// session is closed there and marked dangling.
//
// A span_open record comes before the first event of its span, a span record
// after the last. Where a session's Policy says so, other rules hold for the
// exit of a thread.
package span

import (
	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// mode is what a Builder does with records.
type mode uint8

const (
	noSession   mode = iota // there is no session
	sessionRead             // the session record was the last
	building                // the session span is open
	passing                 // the session has spans already
)

// Builder writes the records that Add gets, each event with its span, and the
// spans. Records before a session and unknown ones pass as they are, and so
// does a session that has spans already.
//
// The thread of an event is known by its tid. The parent of its span is the span
// that was the innermost of the forking thread when it was forked; without a
// fork the session for a target's own thread, else the thread that the event's
// parent_span_id names, else the session.
type Builder struct {
	// Stats is what was counted so far.
	Stats Stats

	w         *stream.Writer
	perMethod bool
	max       bounds

	mode    mode
	session open
	mainTID uint32
	targets []uint32
	policy  stream.Policy
	newest  uint64 // latest ktime of the session, ns
	losses  uint64 // lost records of the session
	opened  uint64 // threads of the session

	openSpans int
	openText  int // bytes of names, files and sources of open method spans

	byTID      map[uint32]*thread
	bySpanID   map[uint64]*thread // live and ended ones, by their span's id and by that in their events
	lists      [states]list
	lastThread *thread // of the last event; may have been reused since

	freeThreads *thread // linked by next
	freeMethods *method // linked by below
	names       names
}

// New returns a Builder that writes to w. With perMethod each method span that
// is under no other method begins a trace of its own.
func New(w *stream.Writer, perMethod bool) *Builder {
	return &Builder{
		w: w, perMethod: perMethod, max: defaultBounds,
		byTID: map[uint32]*thread{}, bySpanID: map[uint64]*thread{}, names: names{},
	}
}

// Run adds all records of r and closes what is open at its end. It flushes the
// Writer whenever r would have to wait. Its error is the Writer's, or else the
// one that r.Next returned last, which is io.EOF at a complete end.
func (b *Builder) Run(r *stream.Reader) error {
	for {
		rec, err := r.Next()
		if err != nil {
			if werr := b.Close(); werr != nil {
				return werr
			}
			if werr := b.w.Flush(); werr != nil {
				return werr
			}
			return err
		}
		if err := b.Add(rec); err != nil {
			return err
		}
		if !r.Pending() {
			if err := b.w.Flush(); err != nil {
				return err
			}
		}
	}
}

// Add takes the next record of the stream. Its error is the Writer's.
func (b *Builder) Add(rec *stream.Record) error {
	if rec.Type == stream.TypeSession {
		if err := b.Close(); err != nil {
			return err
		}
		b.begin(rec)
		return b.w.Raw(rec.Raw)
	}
	if b.mode == sessionRead {
		// Only this record shows whether the session has spans already.
		if hasSpans(rec) {
			b.mode = passing
			b.Stats.Through++
		} else {
			if err := b.openSession(); err != nil {
				return err
			}
		}
	}
	if b.mode == building {
		switch rec.Type {
		case stream.TypeEvent:
			return b.event(rec)
		case stream.TypeLost:
			b.losses++
			if l, err := rec.Lost(); err == nil {
				b.newest = max(b.newest, l.KtimeNS)
			}
		case stream.TypeClock:
			if c, err := rec.Clock(); err == nil {
				b.newest = max(b.newest, c.KtimeNS)
			}
		}
	} else if rec.Type == stream.TypeEvent && b.mode == noSession {
		b.Stats.Outside++
	}
	if rec.Type == stream.TypeEnd {
		e, _ := rec.End()
		if err := b.finish(e.StopKtimeNS, e.Cut); err != nil {
			return err
		}
	}
	return b.w.Raw(rec.Raw)
}

// Close closes the spans of a session that had no end record. The Builder can
// go on with another session.
func (b *Builder) Close() error {
	if b.mode == sessionRead {
		if err := b.openSession(); err != nil {
			return err
		}
	}
	return b.finish(0, true)
}

// hasSpans says whether a record is from a stream that has spans.
func hasSpans(rec *stream.Record) bool {
	switch rec.Type {
	case stream.TypeSpanOpen, stream.TypeSpan:
		return true
	case stream.TypeEvent:
		ev, err := rec.Event()
		return err == nil && ev.ThreadSpanID != 0
	}
	return false
}

// event writes an event and the spans that it opens and closes.
func (b *Builder) event(rec *stream.Record) error {
	ev, err := rec.Event()
	if err != nil {
		return b.w.Raw(rec.Raw)
	}
	b.newest = max(b.newest, ev.KtimeNS)
	if is(ev, event.ProcExec) && len(ev.Error) == 0 {
		if old := uint32(ev.Fields[event.ProcExecOldTID].Num); old != 0 && old != ev.TID {
			if err := b.moveThread(old, ev); err != nil {
				return err
			}
		}
	}
	t, err := b.threadOf(ev)
	if err != nil {
		return err
	}
	if t.state == ended {
		return b.lateEvent(rec, ev, t)
	}
	b.update(t, ev)
	span := t.innermost().SpanID
	switch {
	case is(ev, event.SpanStart):
		if span, err = b.openMethod(t, ev); err != nil {
			return err
		}
	case is(ev, event.SpanStop):
		if m := b.stoppedMethod(t, ev); m != nil {
			return b.stopMethod(rec, ev, t, m)
		}
	case is(ev, event.SpanRaise):
		if t.top != nil && t.unopened == 0 {
			t.top.Raised = true
		}
	case is(ev, event.ProcFork):
		if err := b.fork(t, ev); err != nil {
			return err
		}
	case is(ev, event.ProcExit):
		if b.policy.MainThreadStays && t.TID == b.mainTID {
			break
		}
		if err := b.splice(rec, ev, span); err != nil {
			return err
		}
		return b.endThread(t, ev.KtimeNS, ev.KtimeNS, b.policy.MethodsEndKtimeNS != 0)
	}
	return b.splice(rec, ev, span)
}

// lateEvent writes an event of a thread that has ended. In a capture methods
// outlive their thread, as vivarium has it: they are stopped later, hold what
// happens until then, and even start later.
func (b *Builder) lateEvent(rec *stream.Record, ev *event.Event, t *thread) error {
	span := t.SpanID
	switch {
	case is(ev, event.SpanStop) && t.top != nil:
		if m := b.stoppedMethod(t, ev); m != nil {
			return b.stopMethod(rec, ev, t, m)
		}
	case is(ev, event.SpanStart) && b.policy.MethodsEndKtimeNS != 0:
		var err error
		if span, err = b.openMethod(t, ev); err != nil {
			return err
		}
	case t.top != nil:
		span = t.top.SpanID
		if is(ev, event.SpanRaise) && t.unopened == 0 {
			t.top.Raised = true
		}
	default:
		b.Stats.Late++
	}
	return b.splice(rec, ev, span)
}

// stopMethod writes the stop of a method, and ends it.
func (b *Builder) stopMethod(rec *stream.Record, ev *event.Event, t *thread, m *method) error {
	if err := b.splice(rec, ev, m.SpanID); err != nil {
		return err
	}
	m.Dangling = false
	return b.closeMethods(t, m, ev.KtimeNS)
}

// update takes over into t what an event says of its thread.
func (b *Builder) update(t *thread, ev *event.Event) {
	if ev.KtimeNS < t.last {
		b.Stats.OutOfOrder++
		t.StartKtimeNS = min(t.StartKtimeNS, ev.KtimeNS)
	} else {
		t.last = ev.KtimeNS
	}
	if c := comm(ev); len(c) > 0 && string(c) != t.Name {
		t.Name = b.names.string(c)
	}
	t.PID = ev.PID
	if ev.ParentSpanID != 0 {
		t.eventParentID = ev.ParentSpanID
	}
}

// comm is the name of the event's thread. It has no more than the kernel's 16
// bytes, so that it does not count as text.
func comm(ev *event.Event) []byte { return ev.Comm[:min(len(ev.Comm), 16)] }

func is(ev *event.Event, id event.ID) bool { return ev.Kind == &event.Kinds[id] }

// splice writes an event as it came, but with its effective span. The span id
// that it had, also 0, stays as its thread's.
func (b *Builder) splice(rec *stream.Record, ev *event.Event, span uint64) error {
	return b.w.Splice(rec, stream.SetUint("span_id", span), stream.SetUint("thread_span_id", ev.SpanID))
}

// closeSpan writes the record of a span that ends.
func (b *Builder) closeSpan(s *open, end uint64) error {
	s.EndKtimeNS = max(end, s.StartKtimeNS)
	s.Lossy = s.losses != b.losses
	b.openSpans--
	return b.w.Span(&s.Span)
}
