package span

import (
	"slices"
	"strconv"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// threadOf finds the thread of an event and opens its span if it is new. For
// late events it returns a thread that has ended.
func (b *Builder) threadOf(ev *event.Event) (*thread, error) {
	t := b.lastThread
	if t == nil || t.state != live || t.TID != ev.TID {
		t = b.byTID[ev.TID]
		if t == nil {
			return b.openThread(nil, ev)
		}
	}
	b.lastThread = t
	switch t.state {
	case forked:
		return b.openThread(t, ev)
	case live:
		if t.eventSpanID == 0 && ev.SpanID != 0 {
			b.setEventSpanID(t, ev.SpanID) // earlier events had none
		}
		if ev.SpanID == 0 || ev.SpanID == t.eventSpanID {
			b.lists[live].touch(t)
			return t, nil
		}
		// Another thread has the tid now; the exit of the old one was lost.
		if err := b.endWithoutExit(t); err != nil {
			return nil, err
		}
	case ended:
		if (ev.SpanID == 0 || ev.SpanID == t.eventSpanID) && !t.evicted {
			return t, nil
		}
	}
	return b.openThread(t, ev)
}

// openThread makes the thread of an event live and opens its span. t is the entry of its
// tid: its fork, an ended thread, or nil.
func (b *Builder) openThread(t *thread, ev *event.Event) (*thread, error) {
	if err := b.evict(nil); err != nil {
		return nil, err
	}
	if t == nil || b.byTID[ev.TID] != t { // evict may have released it
		t = b.newThread(ev.TID)
	}
	was := *t
	if t.state != unseen {
		b.lists[t.state].remove(t)
	}
	if t.state == ended {
		if err := b.closeOutliving(t); err != nil {
			return nil, err
		}
		b.unindex(t, t.eventSpanID)
		b.unindex(t, t.SpanID)
		*t = thread{}
		t.TID = ev.TID
	}
	id := ev.SpanID
	if id == 0 && was.evicted {
		id = was.eventSpanID
	}
	// A span with this id already exists: no other span may have it.
	again := (was.evicted || was.state == forked) && was.eventSpanID == id

	t.state = live
	b.lists[live].push(t)
	b.opened++
	t.seq = b.opened
	t.Kind = stream.SpanThread
	t.PID, t.eventParentID = ev.PID, ev.ParentSpanID
	t.StartKtimeNS, t.last = ev.KtimeNS, ev.KtimeNS
	t.losses = b.losses
	if ev.TID == b.mainTID || slices.Contains(b.targets, ev.TID) {
		t.target = was.state == unseen || b.policy.MainThreadStays
	}
	switch p := b.bySpanID[ev.ParentSpanID]; {
	case t.target:
		b.setParent(t, nil, &b.session)
		t.StartKtimeNS = b.session.StartKtimeNS
	case was.state == forked:
	case again:
		t.ParentSpanID, t.TraceID, t.parent, t.parentSeq = was.ParentSpanID, was.TraceID, was.parent, was.parentSeq
	case p != nil && ev.ParentSpanID != 0 && p != t:
		b.setParent(t, p, &p.open)
	default:
		b.setParent(t, nil, &b.session)
	}

	t.SpanID = id
	if o := b.bySpanID[id]; id == 0 || again || o != nil && o != t {
		// The events have no span id, or one that another span has.
		hi, lo := halves(b.session.TraceID)
		t.SpanID = ID(hi^threadSalt, lo, uint64(ev.TID), ev.KtimeNS)
	}
	b.setEventSpanID(t, id)
	if c := comm(ev); len(c) > 0 {
		t.Name = b.names.string(c)
	} else {
		t.Name = "tid=" + strconv.FormatUint(uint64(ev.TID), 10)
	}
	b.lastThread = t
	b.openSpans++
	return t, b.w.SpanOpen(&t.Span)
}

// moveThread handles an exec by a thread that is not the first of its process: all other
// threads have ended, and it continues with the tid of the first one.
func (b *Builder) moveThread(old uint32, ev *event.Event) error {
	t := b.byTID[old]
	if t == nil || t.state == ended {
		return nil
	}
	if first := b.byTID[ev.TID]; first != nil {
		if first.state == live { // the exec ended it
			if err := b.endThread(first, ev.KtimeNS, ev.KtimeNS, false); err != nil {
				return err
			}
		}
		if t.state == forked {
			t.eventSpanID = first.eventSpanID
		}
		if err := b.closeOutliving(first); err != nil {
			return err
		}
		b.release(first)
	}
	if b.byTID[old] != t {
		return nil // it was released just now, because a list was full
	}
	delete(b.byTID, old)
	b.byTID[ev.TID] = t
	t.TID = ev.TID
	if t.state == live && ev.SpanID != 0 {
		b.setEventSpanID(t, ev.SpanID)
	}
	return nil
}

// endThread closes the methods of a thread at the time methods and its span at the time
// end (ktimes, ns). With outlive, the methods stay open until their stops or the end of
// the session, as long as the bounds allow it. The thread is kept for a while to
// recognise its late events.
func (b *Builder) endThread(t *thread, methods, end uint64, outlive bool) error {
	b.reparentLate(t)
	var err error
	if !outlive {
		err = b.closeMethods(t, nil, methods)
	} else if b.openSpans > b.max.open/2 {
		err = b.closeOutliving(t)
	}
	if werr := b.closeSpan(&t.open, max(end, t.last)); err == nil {
		err = werr
	}
	t.unopened, t.unopenedNames = 0, 0
	b.lists[live].remove(t)
	t.state = ended
	b.lists[ended].push(t)
	if l := &b.lists[ended]; l.n > b.max.ended {
		if werr := b.closeOutliving(l.first); err == nil {
			err = werr
		}
		b.release(l.first)
	}
	return err
}

// closeOutliving closes the methods of a thread that are open after its exit.
func (b *Builder) closeOutliving(t *thread) error {
	return b.closeMethods(t, nil, b.policy.MethodsEndKtimeNS)
}

// endWithoutExit ends a thread whose exit was lost.
func (b *Builder) endWithoutExit(t *thread) error {
	t.Dangling = true
	return b.endThread(t, t.last, t.last, false)
}

// evict ends the least recently active threads until one more span can be opened. It
// does not end keep, and it ends the first threads of the targets last.
func (b *Builder) evict(keep *thread) error {
	l := &b.lists[live]
	for spared := 0; b.openSpans >= b.max.open && l.n > 0; {
		t := l.first
		if t == keep || t.target && spared <= len(b.targets) {
			if t == keep && l.n == 1 {
				break
			}
			l.touch(t)
			spared++
			continue
		}
		b.Stats.Evicted += uint64(1 + t.methods)
		t.evicted = true
		if err := b.endWithoutExit(t); err != nil {
			return err
		}
	}
	return nil
}
