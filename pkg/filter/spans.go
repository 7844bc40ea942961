package filter

import "vivarium/pkg/stream"

// spanState is what is kept of a span of the stream.
type spanState struct {
	anchor uint64 // the span that stands for it: itself or the nearest ancestor that stays; 0: none
	pid    uint32
	depth  int32 // of a method within its thread, 1 is outermost; 0: no method
	shown  bool  // its events may be shown
	proc   bool  // events of its process outside every method may be shown
}

// spanShown says whether events in a span of that name may be shown.
func (f *Filter) spanShown(name []byte) bool {
	for _, r := range f.sel.Rules {
		if !r.span(name) {
			return false
		}
	}
	return true
}

// lookup returns what is known of a span; for an unknown one that it stands for
// itself.
func (f *Filter) lookup(id uint64) spanState {
	if s, ok := f.spans[id]; ok {
		return s
	}
	open := f.Stats.Untraced > 0 // then it may be one of those
	return spanState{anchor: id, shown: f.noSpan || open, proc: f.noSpan || open}
}

// span decides about a span_open or a span record.
func (f *Filter) span(rec *stream.Record) (keep bool, set []stream.Set) {
	s, err := rec.Span()
	if err != nil {
		return true, nil
	}
	sp, ok := f.spans[s.SpanID]
	switch {
	case ok && rec.Type == stream.TypeSpan:
	case len(f.spans)-len(f.closed) < MaxSpans && (rec.Type == stream.TypeSpanOpen || f.Stats.Untraced == 0):
		sp = f.opened(&s)
		f.spans[s.SpanID] = sp
	default: // shown, because its events cannot be recognised
		sp.anchor = s.SpanID
		if rec.Type == stream.TypeSpanOpen {
			f.Stats.Untraced++
		}
	}
	if rec.Type == stream.TypeSpan {
		f.close(s.SpanID)
	}
	if sp.anchor != s.SpanID {
		return false, nil
	}
	parent := s.ParentSpanID
	if p, ok := f.spans[parent]; ok {
		parent = p.anchor
	} else if f.forgotten && parent != 0 && s.Kind != stream.SpanSession && f.root != 0 {
		parent = f.root // it may have been a span that went
	}
	if parent == s.ParentSpanID {
		return true, nil
	}
	return true, append(f.set[:0], stream.SetUint("parent_span_id", parent))
}

// opened decides about a span by its parent, its kind and its name.
func (f *Filter) opened(s *stream.Span) spanState {
	sp := spanState{anchor: s.SpanID, pid: s.PID, shown: f.noSpan, proc: f.noSpan}
	up := s.ParentSpanID
	if up == 0 {
		up = s.LinkSpanID // of a method that begins a trace of its own
	}
	parent, ok := f.spans[up]
	switch {
	case s.Kind == stream.SpanSession:
		f.root = s.SpanID
	case s.Kind == stream.SpanMethod:
		if ok {
			sp.proc = parent.proc
		}
		sp.depth = parent.depth + 1
		if f.sel.Depth > 0 && int(sp.depth) > f.sel.Depth {
			sp.anchor, sp.shown = parent.anchor, parent.shown
			break
		}
		name := s.Name
		if name == "" {
			name = Anonymous
		}
		if sp.shown = f.spanShown([]byte(name)); !sp.shown {
			sp.anchor = f.lookup(s.ParentSpanID).anchor
		}
	case !ok || up == f.root:
		// A target's own thread: outside its methods it is in no span.
	case parent.pid == s.PID:
		// So is a thread, unless its whole process is inside a span.
		sp.shown, sp.proc = parent.proc, parent.proc
	default:
		// A child process hangs under its fork: the span around that hosts
		// what it does outside methods of its own.
		sp.shown, sp.proc = parent.shown, parent.shown
	}
	return sp
}

// close remembers that a span is closed, and forgets one that was closed long ago.
func (f *Filter) close(id uint64) {
	if _, ok := f.spans[id]; !ok {
		return
	}
	if len(f.closed) < maxClosed {
		f.closed = append(f.closed, id)
		return
	}
	delete(f.spans, f.closed[f.oldest])
	f.closed[f.oldest] = id
	f.oldest = (f.oldest + 1) % maxClosed
	f.forgotten = true
}
