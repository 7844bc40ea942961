package span

import (
	"cmp"
	"slices"

	"vivarium/pkg/stream"
)

// begin prepares the session's span, which openSession opens.
func (b *Builder) begin(rec *stream.Record) {
	s, _ := rec.Session() // the Reader has checked it
	b.mode = sessionRead
	b.mainTID, b.targets = s.MainTID, s.Targets
	b.newest, b.losses, b.opened = s.StartKtimeNS, 0, 0
	b.policy = s.Policy
	trace := s.TraceID
	if trace == ([16]byte{}) {
		trace = TraceID(uint64(s.ObserverPID), uint64(s.MainTID), sessionSalt, s.StartKtimeNS)
	}
	b.session = open{Span: stream.Span{
		SpanID:       SessionID(trace, uint64(s.ObserverPID), s.StartKtimeNS),
		ParentSpanID: s.ParentSpanID,
		TraceID:      trace,
		Kind:         stream.SpanSession,
		Name:         "vivarium session",
		PID:          s.ObserverPID,
		TID:          s.MainTID,
		StartKtimeNS: s.StartKtimeNS,
	}}
}

// openSession opens the session's span.
func (b *Builder) openSession() error {
	b.mode = building
	b.openSpans++
	return b.w.SpanOpen(&b.session.Span)
}

// finish closes all open spans: the methods thread by thread, then the threads, then
// the session. stop is the end of the session, ktime in ns; 0: unknown.
func (b *Builder) finish(stop uint64, cut bool) error {
	if b.mode == building {
		if stop == 0 {
			stop = b.newest
		}
		threads := make([]*thread, 0, b.lists[live].n)
		for t := b.lists[live].first; t != nil; t = t.next {
			threads = append(threads, t)
		}
		bySeq := func(x, y *thread) int { return cmp.Compare(x.seq, y.seq) }
		slices.SortFunc(threads, bySeq)
		for _, t := range threads {
			b.reparentLate(t) // before any of them ends
		}
		methods := slices.Clone(threads)
		for t := b.lists[ended].first; t != nil; t = t.next {
			if t.top != nil {
				methods = append(methods, t)
			}
		}
		slices.SortFunc(methods, bySeq)
		for _, t := range methods {
			if err := b.closeMethods(t, nil, stop); err != nil {
				return err
			}
		}
		for _, t := range threads {
			t.Dangling = true
			end := max(t.last, stop)
			if t.TID == b.mainTID {
				end = stop
				t.Dangling = !b.policy.MainThreadStays // it ends with the session
			}
			if err := b.closeSpan(&t.open, end); err != nil {
				return err
			}
		}
		b.session.Dangling = cut
		if err := b.closeSpan(&b.session, stop); err != nil {
			return err
		}
	}
	for i := range b.lists {
		for b.lists[i].first != nil {
			b.release(b.lists[i].first)
		}
	}
	b.mode, b.openSpans = noSession, 0
	return nil
}
