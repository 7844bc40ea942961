package span

// list is a list of threads from the least to the most recently active.
type list struct {
	first, last *thread
	n           int
}

func (l *list) push(t *thread) {
	t.prev, t.next = l.last, nil
	if l.last != nil {
		l.last.next = t
	} else {
		l.first = t
	}
	l.last = t
	l.n++
}

func (l *list) remove(t *thread) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	t.prev, t.next = nil, nil
	l.n--
}

// touch makes t the most recently active.
func (l *list) touch(t *thread) {
	if l.last != t {
		l.remove(t)
		l.push(t)
	}
}
