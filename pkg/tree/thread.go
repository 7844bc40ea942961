package tree

import (
	"slices"

	"vivarium/pkg/stream"
)

// spanRef is the span of an id: of a thread, a method, or the session (neither).
type spanRef struct {
	thread *thread // the thread, or the thread of the method
	method *node   // nil for a thread's
}

// thread is a thread and its span.
type thread struct {
	stream.Span
	closed       bool
	proc         *proc
	items        []*node // gaps and outermost methods
	gap          *node   // current gap; nil: not created yet
	gapAt        uint64  // start of the gap, ktime
	gapEnd       uint64  // end of the gap, ktime; 0: it is open
	openMethods  int     // number of open outermost methods
	parent       *node   // node of the parent span; nil: unknown
	parentThread *thread // thread of the parent span
}

// open adds the span of a span-open record.
func (s *session) open(rec *stream.Record, sp *stream.Span) {
	s.spanned = true
	s.newest = max(s.newest, sp.StartKtimeNS)
	switch sp.Kind {
	case stream.SpanSession:
		s.spans[sp.SpanID] = spanRef{}
	case stream.SpanThread:
		s.newThread(*sp)
	case stream.SpanMethod:
		n := s.newNode(kindMethod)
		n.start, n.span, n.open, n.text = sp.StartKtimeNS, sp, true, s.renderRecord(rec)
		up, ok := s.spans[sp.ParentSpanID]
		if !ok && sp.ParentSpanID == 0 {
			up = s.spans[sp.LinkSpanID]
		}
		t := up.thread
		if t == nil {
			t = s.threadOf(sp.PID, sp.TID, 0, sp.StartKtimeNS)
		}
		n.proc = t.proc
		s.spans[sp.SpanID] = spanRef{t, n}
		if up.method != nil {
			up.method.nested = append(up.method.nested, n)
			return
		}
		n.top = true
		t.beginMethod(sp.StartKtimeNS)
		t.items = append(t.items, n)
	}
}

// close completes the span of a span record, or adds it if it was not opened.
func (s *session) close(rec *stream.Record, sp *stream.Span) {
	known, ok := s.spans[sp.SpanID]
	if !ok {
		s.open(rec, sp)
		known = s.spans[sp.SpanID]
	}
	s.newest = max(s.newest, sp.EndKtimeNS)
	switch t := known.thread; {
	case t == nil:
	case known.method != nil:
		n := known.method
		if n.open && n.top {
			t.endMethod(sp.EndKtimeNS)
		}
		n.span, n.start, n.open, n.text = sp, sp.StartKtimeNS, false, s.renderRecord(rec)
	default:
		if sp.ParentSpanID != t.ParentSpanID {
			t.setParent(s, sp.ParentSpanID) // its fork came late
		}
		t.Span, t.closed = *sp, true
	}
}

// beginMethod ends the gap: an outermost method begins.
func (t *thread) beginMethod(at uint64) {
	if t.openMethods++; t.openMethods > 1 {
		return
	}
	t.gapEnd = max(at, 1)
	if t.gap != nil {
		t.gap.span.EndKtimeNS, t.gap.open = at, false
	}
}

// endMethod begins a gap: an outermost method has ended.
func (t *thread) endMethod(at uint64) {
	if t.openMethods > 0 {
		t.openMethods--
	}
	if t.openMethods == 0 {
		t.gap, t.gapAt, t.gapEnd = nil, at, 0
	}
}

// currentGap returns the node of the thread's current gap; while a method is
// open, that of the last one.
func (t *thread) currentGap(s *session) *node {
	if t.gap == nil {
		g := s.newNode(kindGap)
		g.proc, g.start, g.open = t.proc, t.gapAt, t.gapEnd == 0
		g.span = &stream.Span{
			SpanID: t.SpanID, TraceID: t.TraceID, PID: t.PID, TID: t.TID, StartKtimeNS: t.gapAt, EndKtimeNS: t.gapEnd,
		}
		t.gap = g
		t.items = append(t.items, g)
	}
	return t.gap
}

// newThread adds a thread with its span.
func (s *session) newThread(sp stream.Span) *thread {
	t := &thread{Span: sp, gapAt: sp.StartKtimeNS}
	p := s.byPID[sp.PID]
	if p == nil || sp.TID == sp.PID && p.leader != nil && p.leader.closed {
		p = s.newProc(sp.PID) // also if another process has the pid now
	}
	t.proc = p
	p.threads = append(p.threads, t)
	if sp.TID == sp.PID {
		p.leader = t
	}
	s.threads = append(s.threads, t)
	s.byTID[sp.TID] = t
	if sp.SpanID != 0 {
		s.spans[sp.SpanID] = spanRef{thread: t}
	}
	t.setParent(s, sp.ParentSpanID)
	return t
}

// setParent sets the thread's parent to the span with that id.
func (t *thread) setParent(s *session, parent uint64) {
	up := s.spans[parent]
	t.parentThread, t.parent = nil, nil
	switch {
	case up.thread == nil || up.thread == t:
	case up.method != nil:
		t.parentThread, t.parent = up.thread, up.method
	default:
		t.parentThread, t.parent = up.thread, up.thread.currentGap(s)
	}
}

// threadOf returns the thread of an event whose span is unknown.
func (s *session) threadOf(pid, tid uint32, id, ktime uint64) *thread {
	s.unspanned = true
	t := s.byTID[tid]
	if t != nil && t.PID == pid && !t.closed && (id == 0 || t.SpanID == id) {
		return t
	}
	if slices.Contains(s.Targets, tid) || tid == s.MainTID {
		ktime = min(ktime, s.StartKtimeNS)
	}
	if t != nil {
		t.closed = true
	}
	return s.newThread(stream.Span{SpanID: id, Kind: stream.SpanThread, PID: pid, TID: tid, StartKtimeNS: ktime})
}
