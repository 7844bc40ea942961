package filter

import "vivarium/pkg/stream"

// spanState is the state of a span of the stream.
type spanState struct {
	anchor    uint64 // the span itself, or the nearest ancestor that is kept; 0: none
	pid       uint32
	depth     int32 // of a method within its thread, 1 is outermost; 0: no method
	shown     bool  // its events may be shown
	procShown bool  // events of its process outside every method may be shown
}

// spanShown reports whether events in a span of that name may be shown.
func (f *Filter) spanShown(name []byte) bool {
	for _, r := range f.sel.Rules {
		if !r.allowsSpan(name) {
			return false
		}
	}
	return true
}

// lookup returns the state of a span. An unknown span is its own anchor.
func (f *Filter) lookup(id uint64) spanState {
	if s, ok := f.spans[id]; ok {
		return s
	}
	open := f.Stats.Untraced > 0 // it may be one of those spans
	return spanState{anchor: id, shown: f.noSpan || open, procShown: f.noSpan || open}
}

// span decides whether a span_open or span record is kept.
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
	default: // keep it, because its events will not be recognised
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
		parent = f.root // its parent may have been removed
	}
	if parent == s.ParentSpanID {
		return true, nil
	}
	return true, append(f.set[:0], stream.SetUint("parent_span_id", parent))
}

// opened returns the state of a new span, from its parent, its kind and its name.
func (f *Filter) opened(s *stream.Span) spanState {
	sp := spanState{anchor: s.SpanID, pid: s.PID, shown: f.noSpan, procShown: f.noSpan}
	up := s.ParentSpanID
	if up == 0 {
		up = s.LinkSpanID // a method with a trace of its own
	}
	parent, ok := f.spans[up]
	switch {
	case s.Kind == stream.SpanSession:
		f.root = s.SpanID
	case s.Kind == stream.SpanMethod:
		if ok {
			sp.procShown = parent.procShown
		}
		sp.depth = parent.depth + 1
		if f.sel.Depth > 0 && int(sp.depth) > f.sel.Depth {
			sp.anchor, sp.shown = parent.anchor, parent.shown
			break
		}
		name := s.Name
		if name == "" {
			name = stream.Anonymous
		}
		if sp.shown = f.spanShown([]byte(name)); !sp.shown {
			sp.anchor = f.lookup(s.ParentSpanID).anchor
		}
	case !ok || up == f.root:
		// The thread of a target: outside its methods it is in no span.
	case parent.pid == s.PID:
		// The same for its other threads, unless the process is inside a span.
		sp.shown, sp.procShown = parent.procShown, parent.procShown
	default:
		// A child process is below its fork: outside its own methods its
		// events belong to the span around the fork.
		sp.shown, sp.procShown = parent.shown, parent.shown
	}
	return sp
}

// close marks a span as closed, and removes the one that was closed first if there
// are too many.
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
