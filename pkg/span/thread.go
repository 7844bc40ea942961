package span

import "vivarium/pkg/stream"

// open is a span that has been opened and not closed.
type open struct {
	stream.Span
	losses uint64 // lost records of the session when it was opened
}

// state is the state of a thread.
type state uint8

const (
	unseen state = iota // not read yet; in no list
	forked              // its fork was read, but none of its events
	live                // its span is open
	ended               // its span was closed; late events may come
	states
)

// thread is a thread of a watched process. Before it is live, its Span has only its
// parent and trace.
type thread struct {
	open
	state         state
	eventSpanID   uint64  // span id in its events; 0: they have none. If forked: that of the last thread with its tid
	eventParentID uint64  // latest parent span id in its events
	parent        *thread // thread whose span or method is its parent; nil: the session
	parentSeq     uint64  // seq of parent; if it differs, that entry was reused
	seq           uint64  // number of the thread in order of opening; no two have the same
	last          uint64  // latest ktime of its events, ns
	target        bool    // first thread of a target
	evicted       bool    // ended because a bound was reached
	top           *method // innermost open method span
	methods       int     // open method spans
	unopened      uint64  // starts inside top that were not opened because a bound was reached
	unopenedNames uint64  // set of the hashes of their names (nameBit)
	lastStart     uint64  // ktime of the last start
	lastMethod    uint64  // id of the span that it began

	prev, next *thread // neighbours in the list of its state
}

// innermost returns the span that the thread's events belong to.
func (t *thread) innermost() *open {
	if t.top != nil {
		return &t.top.open
	}
	return &t.open
}
