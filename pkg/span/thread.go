package span

import "vivarium/pkg/stream"

// open is a span that has been opened and not closed.
type open struct {
	stream.Span
	losses uint64 // lost records of the session when it was opened
}

// method is an open method span on the stack of its thread.
type method struct {
	open
	below *method
}

// state is what is known of a thread.
type state uint8

const (
	fresh  state = iota // nothing; in no list
	forked              // its fork was seen, none of its events yet
	live                // its span is open
	gone                // its span was closed; kept for a while to recognise late events
	states
)

// thread is a task of the kernel: a thread, or a process that has only one.
// Before it is live its Span has its parent and trace only.
type thread struct {
	open
	state      state
	own        uint64  // span id in its events; 0: they have none; of a forked one that of its tid's last thread
	said       uint64  // newest parent span id in its events
	parent     *thread // whose span, or whose method's, is its parent; nil: the session's
	parentSeq  uint64  // parent is still that thread while it has this seq
	seq        uint64  // number of the thread in order of opening; no two have the same
	last       uint64  // newest ktime of its events, ns
	target     bool    // a target's own first thread
	evicted    bool    // gone because there were too many
	top        *method // innermost open method span
	methods    int     // open method spans
	over       uint64  // starts since that were not opened because there were too many
	overNames  uint64  // bit set of the hashes of their names
	lastStart  uint64  // ktime of the last start
	lastMethod uint64  // and the id that it got

	prev, next *thread // neighbours in the list of its state
}

// innermost is the span that an event of the thread belongs to.
func (t *thread) innermost() *open {
	if t.top != nil {
		return &t.top.open
	}
	return &t.open
}

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

// names makes one string of equal texts, so that a method costs memory once
// and not with every call. It forgets all when there are too many.
type names map[string]string

const (
	maxNames   = 4096
	maxNameLen = 256 // bytes; longer ones are not kept
)

func (n names) string(text []byte) string {
	if s, ok := n[string(text)]; ok {
		return s
	}
	s := string(text)
	if len(s) <= maxNameLen {
		if len(n) >= maxNames {
			clear(n)
		}
		n[s] = s
	}
	return s
}

// nameBit is a bit of a set of 64 for a name.
func nameBit(name []byte) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range name {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return 1 << (h >> 58)
}
