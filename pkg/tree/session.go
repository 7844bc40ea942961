package tree

import (
	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// session collects the records of one session into the tree that is drawn when
// the session ends.
type session struct {
	stream.Session
	renderer  renderer
	headText  []byte // the session record, rendered
	endText   []byte // the end record, rendered
	end       stream.End
	ended     bool
	newest    uint64 // latest ktime that was read so far
	spanned   bool   // span records were read
	unspanned bool   // events of no known span were read

	seq           uint64 // of the newest node
	spans         map[uint64]spanRef
	threads       []*thread
	byTID         map[uint32]*thread // the newest of each tid
	procs         []*proc
	parentsLater  bool             // a process became the child of one that was seen after it
	byPID         map[uint32]*proc // the newest of each pid
	forks         map[uint32][]*fork
	pendingLosses []*node // losses that are placed in the span of the next event
	lastSpan      *node   // the span of the last event
	roots         []*node
	freeNodes     []node // allocated for newNode
	freeText      []byte // allocated for render
}

func newSession(head stream.Session, to renderer) *session {
	s := &session{
		Session: head, renderer: to, newest: head.StartKtimeNS,
		spans: map[uint64]spanRef{}, byTID: map[uint32]*thread{}, byPID: map[uint32]*proc{}, forks: map[uint32][]*fork{},
	}
	for _, pid := range head.Targets {
		if s.byPID[pid] == nil {
			p := s.newProc(pid)
			if head.Policy.Command != "" {
				p.comm, p.commFrom = head.Policy.Command, commDefault
			}
			s.roots = append(s.roots, p.node)
		}
	}
	return s
}

// add puts a record into the tree.
func (s *session) add(rec *stream.Record) {
	switch rec.Type {
	case stream.TypeEvent:
		if ev, err := rec.Event(); err == nil {
			s.event(rec, ev)
		}
	case stream.TypeLost:
		if l, err := rec.Lost(); err == nil {
			n := s.newNode(kindLost)
			n.lost, n.start, n.text = l, l.KtimeNS, s.renderRecord(rec)
			s.pendingLosses = append(s.pendingLosses, n)
			s.newest = max(s.newest, l.KtimeNS)
		}
	case stream.TypeClock:
		if c, err := rec.Clock(); err == nil {
			s.newest = max(s.newest, c.KtimeNS)
		}
	case stream.TypeSpanOpen:
		if sp, err := rec.Span(); err == nil {
			s.open(rec, &sp)
		}
	case stream.TypeSpan:
		if sp, err := rec.Span(); err == nil {
			s.close(rec, &sp)
		}
	case stream.TypeEnd:
		s.end, _ = rec.End()
		s.ended, s.endText = true, s.renderRecord(rec)
	}
}

// renderRecord returns a record that is no event, rendered.
func (s *session) renderRecord(rec *stream.Record) []byte {
	return s.render(func(b []byte) []byte { return s.renderer.record(b, rec) })
}

// render returns what add appends, kept until the session has been drawn.
func (s *session) render(add func([]byte) []byte) []byte {
	if cap(s.freeText)-len(s.freeText) < 256 {
		s.freeText = make([]byte, 0, 1<<16)
	}
	begin := len(s.freeText)
	s.freeText = add(s.freeText)
	return s.freeText[begin:len(s.freeText):len(s.freeText)]
}

func is(ev *event.Event, id event.ID) bool { return ev.Kind == &event.Kinds[id] }

// event puts an event under the innermost span that is known of it.
func (s *session) event(rec *stream.Record, ev *event.Event) {
	s.newest = max(s.newest, ev.KtimeNS)
	if s.StartKtimeNS == 0 {
		s.begin(ev.KtimeNS)
	}
	at := s.spans[ev.SpanID]
	if at.thread == nil {
		at = s.spans[ev.ThreadSpanID]
		if at.thread == nil {
			at = spanRef{thread: s.threadOf(ev.PID, ev.TID, ev.SpanID, ev.KtimeNS)}
		}
	}
	t := at.thread
	t.proc.updateComm(ev, s.commSource(t.proc, ev.TID))
	span := at.method
	start, stop := is(ev, event.SpanStart), is(ev, event.SpanStop)
	if span == nil {
		span = t.currentGap(s)
	}
	if start && at.method != nil && len(s.pendingLosses) > 0 {
		span = s.outerSpan(span, t)
	}
	if ev.Hidden && at.method == nil && s.spanned {
		// An outermost method that is not shown still splits the gap in two.
		if start {
			t.enter(ev.KtimeNS)
		} else if stop {
			t.leave(ev.KtimeNS)
		}
	}
	shown := !ev.Hidden && !start && !stop
	for _, n := range s.pendingLosses {
		n.proc = t.proc
		n.atPrevious = shown && s.Policy.LossAtPreviousEvent
		span.entries = append(span.entries, n)
	}
	s.pendingLosses = s.pendingLosses[:0]
	s.lastSpan = span
	var n *node
	if shown {
		n = s.newNode(kindEvent)
		n.proc, n.start = t.proc, ev.KtimeNS
		n.text = s.render(func(b []byte) []byte { return s.renderer.event(b, rec, ev, &s.Policy) })
		span.entries = append(span.entries, n)
	}
	if is(ev, event.ProcFork) {
		f := &fork{
			node: n, span: span, start: ev.KtimeNS, proc: t.proc,
			pid: uint32(ev.Fields[event.ProcForkChildPID].Num), tid: uint32(ev.Fields[event.ProcForkChildTID].Num),
			spanID: ev.Fields[event.ProcForkChildSpanID].Num,
		}
		if f.tid == 0 {
			f.tid = f.pid
		}
		s.forks[f.tid] = append(s.forks[f.tid], f)
	}
}

// begin sets the start of a capture that has none to that of its first event.
func (s *session) begin(ktime uint64) {
	s.StartKtimeNS = ktime
	for _, t := range s.threads {
		if t.gapAt == 0 {
			t.gapAt = ktime
			if t.gap != nil {
				t.gap.start, t.gap.span.StartKtimeNS = ktime, ktime
			}
		}
	}
}

// outerSpan returns the span around a method: events that were lost in front of
// the method's start were lost there.
func (s *session) outerSpan(method *node, t *thread) *node {
	if up, ok := s.spans[method.span.ParentSpanID]; ok && up.method != nil {
		return up.method
	}
	return t.currentGap(s)
}

// finish ends what is open, names the processes and puts each in its place.
func (s *session) finish() {
	stop := s.newest
	if s.ended && s.end.StopKtimeNS != 0 {
		stop = s.end.StopKtimeNS
	}
	for _, t := range s.threads {
		end := t.EndKtimeNS
		if !t.closed {
			end = stop
		}
		for _, n := range t.items {
			s.endOpenSpans(n, max(end, n.start, min(n.lastEvent(), stop)), stop)
		}
	}
	if s.lastSpan == nil && len(s.pendingLosses) > 0 {
		if len(s.roots) == 0 {
			s.roots = append(s.roots, s.newProc(s.ObserverPID).node)
		}
		s.lastSpan = s.roots[0]
	}
	if s.lastSpan != nil {
		s.lastSpan.entries = append(s.lastSpan.entries, s.pendingLosses...)
	}
	s.pendingLosses = nil
	for _, p := range s.procs {
		s.nameByThread(p)
	}
	s.placeProcesses()
}

// lastEvent is when the last event of a gap happened, 0 for others. It may be
// later than its thread's exit.
func (n *node) lastEvent() (at uint64) {
	if n.kind != kindGap {
		return 0
	}
	for _, e := range n.entries {
		if e.kind == kindEvent {
			at = max(at, e.start)
		}
	}
	return at
}

// endOpenSpans ends the spans whose end is not known.
func (s *session) endOpenSpans(n *node, end, stop uint64) {
	if n.open {
		n.span.EndKtimeNS = end
		n.span.Dangling = n.kind == kindMethod
	}
	for _, m := range n.nested {
		s.endOpenSpans(m, max(stop, m.start), stop)
	}
}
