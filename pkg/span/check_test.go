package span

import (
	"bytes"
	"fmt"

	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

// check holds the promises of any output: every span is opened once and closed
// once, after its parent was opened and within its session; an event's span was
// opened before it; no circle of parents; the bounds.
func check(data []byte, max bounds, strict bool) error {
	type span struct {
		stream.Span
		open bool
	}
	var spans map[uint64]*span
	var open, events int
	var perThread map[uint64]int // by thread span
	threadOf := func(id uint64) uint64 {
		for s := spans[id]; s != nil; s = spans[s.ParentSpanID] {
			if s.Kind == stream.SpanThread {
				return s.SpanID
			}
			if s.LinkSpanID != 0 {
				return s.LinkSpanID
			}
		}
		return 0
	}
	finished := func() error {
		if open > 0 {
			return fmt.Errorf("%d spans were left open", open)
		}
		for id, s := range spans {
			hops := 0
			for ; s != nil && strict; s = spans[s.ParentSpanID] {
				if hops++; hops > len(spans) {
					return fmt.Errorf("span %#x: a circle of parents", id)
				}
			}
		}
		return nil
	}
	r := stream.NewReader(bytes.NewReader(data), vivraw.Format)
	for {
		rec, err := r.Next()
		if err != nil {
			return finished()
		}
		switch rec.Type {
		case stream.TypeSession:
			if err := finished(); err != nil {
				return err
			}
			spans, perThread = map[uint64]*span{}, map[uint64]int{}
		case stream.TypeEnd:
			if err := finished(); err != nil {
				return err
			}
			spans = nil
		case stream.TypeSpanOpen:
			s, _ := rec.Span()
			if o := spans[s.SpanID]; o != nil && (strict || o.open) {
				return fmt.Errorf("span %#x %q: opened twice", s.SpanID, s.Name)
			}
			if p := spans[s.ParentSpanID]; p == nil && s.Kind != stream.SpanSession && s.LinkSpanID == 0 {
				return fmt.Errorf("span %#x %q: no parent %#x", s.SpanID, s.Name, s.ParentSpanID)
			} else if p != nil && p.TraceID != s.TraceID {
				return fmt.Errorf("span %#x %q: not in its parent's trace", s.SpanID, s.Name)
			}
			spans[s.SpanID] = &span{s, true}
			if open++; open > max.open {
				return fmt.Errorf("span %#x %q: %d spans open", s.SpanID, s.Name, open)
			}
			if s.Kind != stream.SpanSession {
				if perThread[threadOf(s.SpanID)]++; perThread[threadOf(s.SpanID)] > max.perThread {
					return fmt.Errorf("span %#x %q: too many open in its thread", s.SpanID, s.Name)
				}
			}
		case stream.TypeSpan:
			s, _ := rec.Span()
			o := spans[s.SpanID]
			if o == nil || !o.open {
				return fmt.Errorf("span %#x %q: closed but not open", s.SpanID, s.Name)
			}
			if s.EndKtimeNS < s.StartKtimeNS {
				return fmt.Errorf("span %#x %q: ends before it starts", s.SpanID, s.Name)
			}
			if s.Kind != stream.SpanSession {
				perThread[threadOf(s.SpanID)]--
			}
			o.Span, o.open = s, false
			open--
		case stream.TypeEvent:
			ev, _ := rec.Event()
			if events++; spans != nil && spans[ev.SpanID] == nil {
				return fmt.Errorf("event %d (%s of %d): no span %#x", events, ev.Name, ev.TID, ev.SpanID)
			}
		}
	}
}
