package span

import "vivarium/pkg/stream"

// open is a span that has been opened and not closed.
type open struct {
	stream.Span
	losses uint64 // lost records of the session when it was opened
}

// state is what is known of a thread.
type state uint8

const (
	unseen state = iota // nothing is known; in no list
	forked              // its fork was seen, none of its events yet
	live                // its span is open
	ended               // its span was closed; late events may come
	states
)

// thread is a task of the kernel: a thread, or a process that has only one.
// Before it is live its Span has its parent and trace only.
type thread struct {
	open
	state         state
	eventSpanID   uint64  // span id in its events; 0: they have none. Of a forked one that of its tid's last thread
	eventParentID uint64  // latest parent span id in its events
	parent        *thread // whose span, or whose method's, is its parent; nil: the session's
	parentSeq     uint64  // parent is still that thread while it has this seq
	seq           uint64  // number of the thread in order of opening; no two have the same
	last          uint64  // latest ktime of its events, ns
	target        bool    // a target's own first thread
	evicted       bool    // ended because there were too many
	top           *method // innermost open method span
	methods       int     // open method spans
	unopened      uint64  // starts above top that were not opened because there were too many
	unopenedNames uint64  // set of the hashes of their names (nameBit)
	lastStart     uint64  // ktime of the last start
	lastMethod    uint64  // id of the span that it began

	prev, next *thread // neighbours in the list of its state
}

// innermost is the span that an event of the thread belongs to.
func (t *thread) innermost() *open {
	if t.top != nil {
		return &t.top.open
	}
	return &t.open
}
