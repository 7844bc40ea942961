package span

import "vivarium/pkg/event"

// setParent makes span the parent of t's span. It belongs to the thread p, or is the
// session's if p is nil.
func (b *Builder) setParent(t, p *thread, span *open) {
	t.ParentSpanID, t.TraceID = span.SpanID, span.TraceID
	t.parent, t.parentSeq = p, 0
	if p != nil {
		t.parentSeq = p.seq
	}
}

// reparent makes a span of p the parent of the span of t, a live thread whose parent was
// unknown, unless that would change its trace or could create a cycle.
func (b *Builder) reparent(t, p *thread, span *open) {
	if span.TraceID != t.TraceID {
		return
	}
	a := p
	for range b.max.walk {
		if a == t {
			return
		}
		if a.parent == nil {
			b.setParent(t, p, span)
			return
		}
		if a.parent.seq != a.parentSeq {
			return // released since
		}
		a = a.parent
	}
}

// reparentLate handles a thread whose events name a parent that was opened after it.
func (b *Builder) reparentLate(t *thread) {
	if t.eventParentID == 0 || t.target || t.ParentSpanID != b.session.SpanID {
		return
	}
	if p := b.bySpanID[t.eventParentID]; p != nil {
		b.reparent(t, p, &p.open)
	}
}

// fork keeps the parent of a new thread or process until its first event.
func (b *Builder) fork(t *thread, ev *event.Event) error {
	tid := uint32(ev.Fields[event.ProcForkChildTID].Num)
	if tid == 0 {
		tid = uint32(ev.Fields[event.ProcForkChildPID].Num)
	}
	if tid == 0 || tid == t.TID {
		return nil
	}
	id := ev.Fields[event.ProcForkChildSpanID].Num
	c := b.byTID[tid]
	if c != nil && c.state != forked {
		if c.StartKtimeNS >= ev.KtimeNS || c.state == live && id != 0 && id == c.eventSpanID {
			// Events of the child came before its fork.
			if c.state == live && !c.target {
				b.reparent(c, t, t.innermost())
			}
			return nil
		}
		if c.state == live { // the exit of the old thread with the tid was lost
			if err := b.endWithoutExit(c); err != nil {
				return err
			}
		}
	}
	var usedID uint64
	if c != nil {
		usedID = c.eventSpanID
		if err := b.closeOutliving(c); err != nil {
			return err
		}
		b.release(c)
	}
	c = b.newThread(tid)
	c.state, c.eventSpanID = forked, usedID
	b.setParent(c, t, t.innermost())
	b.lists[forked].push(c)
	if l := &b.lists[forked]; l.n > b.max.forked {
		b.release(l.first)
	}
	return nil
}
