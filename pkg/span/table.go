package span

// newThread returns an empty thread for tid, in no list.
func (b *Builder) newThread(tid uint32) *thread {
	t := b.freeThreads
	if t != nil {
		b.freeThreads = t.next
	} else {
		t = new(thread)
	}
	*t = thread{}
	t.TID = tid
	b.byTID[tid] = t
	return t
}

// setEventSpanID sets the span id in the thread's events; 0: none.
func (b *Builder) setEventSpanID(t *thread, id uint64) {
	if t.eventSpanID != t.SpanID { // the index always has the id of its span
		b.unindex(t, t.eventSpanID)
	}
	t.eventSpanID = id
	if o := b.bySpanID[id]; id != 0 && (o == nil || o.state != live) {
		b.bySpanID[id] = t
	}
}

// unindex removes t from bySpanID.
func (b *Builder) unindex(t *thread, id uint64) {
	if b.bySpanID[id] == t {
		delete(b.bySpanID, id)
	}
}

// release removes a thread. Its memory is reused.
func (b *Builder) release(t *thread) {
	b.unindex(t, t.eventSpanID)
	b.unindex(t, t.SpanID)
	if b.byTID[t.TID] == t {
		delete(b.byTID, t.TID)
	}
	b.lists[t.state].remove(t)
	if b.lastThread == t {
		b.lastThread = nil
	}
	t.next, b.freeThreads = b.freeThreads, t
}
