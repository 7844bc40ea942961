// Package span builds spans from events: one for the session, below it one for each
// thread, and below those the methods.
//
// The span of a thread lasts from its first event to its exit. The span of a target's
// first thread begins with the session. The parent of a thread's span is the innermost
// span of the forking thread at the fork. A thread keeps its span at an exec, also if
// the exec gives it the tid of its process's first thread.
//
// The span of a method lasts from its start to the stop with the same name on the same
// thread. Spans inside it whose stops were lost end with it. A stop without a name ends
// the innermost span. Spans that are open at the exit of their thread or at the end of
// the session end there and are marked dangling.
//
// A span_open record comes before the first event of its span, and a span record after
// the last one. The Policy of a session can change the rules for the exit of a thread.
package span

import (
	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// mode tells what a Builder does with records.
type mode uint8

const (
	noSession   mode = iota // outside a session
	sessionRead             // the last record was the session record
	building                // the session span is open
	unchanged               // the session already has spans
)

// Builder writes the records that it is given, each event with its span, and adds the
// spans. Records outside a session, unknown records and sessions that already have
// spans are written unchanged.
//
// The tid of an event identifies its thread. The parent of a thread's span is the
// innermost span of the forking thread at the fork. If the fork was not read, it is the
// session for a thread of a target, else the thread that the event's parent_span_id
// names, else the session.
type Builder struct {
	// Stats has the counts so far.
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

// New returns a Builder that writes to w. With perMethod each outermost method span
// begins a trace of its own.
func New(w *stream.Writer, perMethod bool) *Builder {
	return &Builder{
		w: w, perMethod: perMethod, max: defaultBounds,
		byTID: map[uint32]*thread{}, bySpanID: map[uint64]*thread{}, names: names{},
	}
}

// Run adds all records of r and closes the open spans at the end. It flushes the Writer
// whenever r would block. Its error is one of the Writer, or else the last one of
// r.Next, which is io.EOF at a complete end.
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

// Add adds the next record of the stream. Its error is one of the Writer.
func (b *Builder) Add(rec *stream.Record) error {
	if rec.Type == stream.TypeSession {
		if err := b.Close(); err != nil {
			return err
		}
		b.begin(rec)
		return b.w.Raw(rec.Raw)
	}
	if b.mode == sessionRead {
		// This record shows whether the session already has spans.
		if hasSpans(rec) {
			b.mode = unchanged
			b.Stats.HadSpans++
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
		b.Stats.OutsideSession++
	}
	if rec.Type == stream.TypeEnd {
		e, _ := rec.End()
		if err := b.finish(e.StopKtimeNS, e.Cut); err != nil {
			return err
		}
	}
	return b.w.Raw(rec.Raw)
}

// Close closes the spans of a session without an end record. After it, the Builder can
// be used for another session.
func (b *Builder) Close() error {
	if b.mode == sessionRead {
		if err := b.openSession(); err != nil {
			return err
		}
	}
	return b.finish(0, true)
}

// hasSpans reports whether a record is from a stream with spans.
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

// event writes an event, and the spans that it opens and closes.
func (b *Builder) event(rec *stream.Record) error {
	ev, err := rec.Event()
	if err != nil {
		return b.w.Raw(rec.Raw)
	}
	b.newest = max(b.newest, ev.KtimeNS)
	if ev.Is(event.ProcExec) && len(ev.Error) == 0 {
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
	case ev.Is(event.SpanStart):
		if span, err = b.openMethod(t, ev); err != nil {
			return err
		}
	case ev.Is(event.SpanStop):
		if m := b.stoppedMethod(t, ev); m != nil {
			return b.stopMethod(rec, ev, t, m)
		}
	case ev.Is(event.SpanRaise):
		if t.top != nil && t.unopened == 0 {
			t.top.Raised = true
		}
	case ev.Is(event.ProcFork):
		if err := b.fork(t, ev); err != nil {
			return err
		}
	case ev.Is(event.ProcExit):
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

// lateEvent writes an event of a thread that has ended. In a capture, like in vivarium,
// methods can be open after the exit of their thread: they contain later events until
// their stop, and they can also start after the exit.
func (b *Builder) lateEvent(rec *stream.Record, ev *event.Event, t *thread) error {
	span := t.SpanID
	switch {
	case ev.Is(event.SpanStop) && t.top != nil:
		if m := b.stoppedMethod(t, ev); m != nil {
			return b.stopMethod(rec, ev, t, m)
		}
	case ev.Is(event.SpanStart) && b.policy.MethodsEndKtimeNS != 0:
		var err error
		if span, err = b.openMethod(t, ev); err != nil {
			return err
		}
	case t.top != nil:
		span = t.top.SpanID
		if ev.Is(event.SpanRaise) && t.unopened == 0 {
			t.top.Raised = true
		}
	default:
		b.Stats.Late++
	}
	return b.splice(rec, ev, span)
}

// stopMethod writes the stop of a method and closes its span.
func (b *Builder) stopMethod(rec *stream.Record, ev *event.Event, t *thread, m *method) error {
	if err := b.splice(rec, ev, m.SpanID); err != nil {
		return err
	}
	m.Dangling = false
	return b.closeMethods(t, m, ev.KtimeNS)
}

// update updates a thread from one of its events.
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

// comm returns the name of the event's thread, at most the kernel's 16 bytes, so that it
// does not count for the bound on text.
func comm(ev *event.Event) []byte { return ev.Comm[:min(len(ev.Comm), 16)] }

// splice writes an event with a new span_id. Its old one, also if it is 0, becomes its
// thread_span_id.
func (b *Builder) splice(rec *stream.Record, ev *event.Event, span uint64) error {
	return b.w.Splice(rec, stream.SetUint("span_id", span), stream.SetUint("thread_span_id", ev.SpanID))
}

// closeSpan sets the end of a span and writes its span record.
func (b *Builder) closeSpan(s *open, end uint64) error {
	s.EndKtimeNS = max(end, s.StartKtimeNS)
	s.Lossy = s.losses != b.losses
	b.openSpans--
	return b.w.Span(&s.Span)
}
