package span

import (
	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// method is an open method span on the stack of its thread.
type method struct {
	open
	below *method
}

// openMethod opens the span of a span_start and returns the id of the span that
// the event belongs to.
func (b *Builder) openMethod(t *thread, ev *event.Event) (uint64, error) {
	name, file, source := ev.Fields[event.SpanName].Text, ev.Fields[event.SpanFile].Text, ev.Fields[event.SpanSource].Text
	text := len(name) + len(file) + len(source)
	full := t.methods+1 >= b.max.perThread || b.openText+text > b.max.text
	if !full && t.state == ended { // no other thread has to end for it
		full = b.openSpans >= b.max.open/2
	} else if !full {
		if err := b.evict(t); err != nil {
			return 0, err
		}
		full = b.openSpans >= b.max.open
	}
	up := t.innermost()
	if full || t.unopened > 0 {
		b.Stats.NotOpened++
		t.unopened++
		t.unopenedNames |= nameBit(name)
		return up.SpanID, nil
	}
	hi, lo := halves(ev.TraceID)
	id := ID(hi, lo, uint64(ev.TID), ev.KtimeNS)
	if t.lastMethod != 0 && ev.KtimeNS == t.lastStart {
		id = max(1, Mix64(t.lastMethod)) // no two spans have one id
	}
	t.lastStart, t.lastMethod = ev.KtimeNS, id

	m := b.freeMethods
	if m != nil {
		b.freeMethods = m.below
	} else {
		m = new(method)
	}
	*m = method{
		below: t.top,
		open: open{losses: b.losses, Span: stream.Span{
			SpanID:       id,
			ParentSpanID: up.SpanID,
			TraceID:      up.TraceID,
			Kind:         stream.SpanMethod,
			Source:       b.names.string(source),
			Name:         b.names.string(name),
			PID:          ev.PID,
			TID:          ev.TID,
			StartKtimeNS: ev.KtimeNS,
			File:         b.names.string(file),
			Line:         max(0, int64(ev.Fields[event.SpanLine].Num)),
			Dangling:     true, // until its stop comes
		}},
	}
	if b.perMethod && up == &t.open && t.TraceID == b.session.TraceID {
		m.TraceID = TraceID(hi, lo, uint64(ev.TID), id)
		m.ParentSpanID = 0
		m.LinkTraceID, m.LinkSpanID = up.TraceID, up.SpanID
	}
	if m.Name == "" {
		m.Name = "<anonymous>"
	}
	t.top = m
	t.methods++
	b.openSpans++
	b.openText += textOf(m)
	return id, b.w.SpanOpen(&m.Span)
}

// textOf is how much of the bound for text an open method takes, bytes.
func textOf(m *method) int { return len(m.Name) + len(m.File) + len(m.Source) }

// stoppedMethod finds the span that a span_stop closes, or nil.
func (b *Builder) stoppedMethod(t *thread, ev *event.Event) *method {
	name := ev.Fields[event.SpanName].Text
	if t.unopened > 0 && (len(name) == 0 || t.unopenedNames&nameBit(name) != 0) {
		if t.unopened--; t.unopened == 0 {
			t.unopenedNames = 0
		}
		return nil
	}
	m := t.top
	for m != nil && len(name) > 0 && string(name) != m.Name {
		m = m.below
	}
	if m == nil {
		b.Stats.UnknownStops++
		return nil
	}
	t.unopened, t.unopenedNames = 0, 0 // they were above it
	return m
}

// closeMethods closes the method spans of t from the innermost to last, or all
// of them when last is nil.
func (b *Builder) closeMethods(t *thread, last *method, end uint64) error {
	for m := t.top; m != nil; m = t.top {
		t.top = m.below
		t.methods--
		b.openText -= textOf(m)
		err := b.closeSpan(&m.open, end)
		m.below, b.freeMethods = b.freeMethods, m
		if err != nil || m == last {
			return err
		}
	}
	return nil
}

// nameBit is one of 64 bits, by the hash of a name: a set of names in a uint64 may
// hold others, too, but lacks none.
func nameBit(name []byte) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range name {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return 1 << (h >> 58)
}
