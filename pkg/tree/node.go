package tree

import (
	"cmp"
	"slices"

	"vivarium/pkg/stream"
)

// kind is the kind of a node.
type kind uint8

const (
	kindEvent kind = iota
	kindLost
	kindMethod
	kindGap // interval of a thread outside its methods
	kindProc
)

// node is a line of the tree, with the lines below it.
type node struct {
	kind    kind
	seq     uint64       // place in the stream
	start   uint64       // ktime of the event, or of the span's start
	text    []byte       // the record, rendered
	entries []*node      // in order of seq: events, losses, processes whose fork is not shown
	nested  []*node      // in order of start: of a method, the methods in it; of a process, processes whose fork is not known
	child   *node        // of a fork: the child's process
	span    *stream.Span // of a method or a gap
	lost    stream.Lost
	proc    *proc // of a process: itself; of an event or span: its process
	open    bool  // of a span: its end was not read yet
	// atPrevious: a loss is shown with the time of the event before it
	// (stream.Policy).
	atPrevious bool
	marks      []mark // cache of previousTime: the events and losses of a span outside other spans
	top        bool   // of a method: it is an outermost one of its thread
}

// mark is the time of an event and its place in the stream.
type mark struct{ seq, ktime uint64 }

// newNode returns a node with the next seq.
func (s *session) newNode(k kind) *node {
	if len(s.freeNodes) == 0 {
		s.freeNodes = make([]node, 256)
	}
	n := &s.freeNodes[0]
	s.freeNodes = s.freeNodes[1:]
	s.seq++
	n.kind, n.seq = k, s.seq
	return n
}

// firstShown returns the seq of the first line below n that is not a method; 0: there is
// none.
func (n *node) firstShown() uint64 {
	for _, c := range n.entries {
		if c.kind != kindProc {
			return c.seq
		}
		if seq := c.proc.firstShown(); seq != 0 {
			return seq
		}
	}
	return 0
}

// children returns the lines below n in order. enclosing is the innermost span around
// them: n itself if it is a span.
func (n *node) children(enclosing *node) []*node {
	switch n.kind {
	case kindEvent, kindGap:
		return n.lines()
	case kindMethod:
		return merge(n.lines(), n.nested, enclosing)
	case kindProc:
		return n.proc.children(enclosing)
	}
	return nil
}

// lines returns the lines below n that are not spans.
func (n *node) lines() []*node {
	switch {
	case n.kind == kindProc:
		var entries []*node
		for _, t := range n.proc.threads {
			if n.proc.enclosed && t.TID == n.proc.pid {
				for _, g := range t.items {
					if g.kind == kindGap {
						entries = append(entries, visible(g.entries)...)
					}
				}
			}
		}
		return append(entries, n.entries...)
	case n.child != nil:
		return []*node{n.child}
	}
	return visible(n.entries)
}

// deeper returns the number of lines below n, which are not drawn because n is at the
// maximum depth. It is not recursive, because the stream determines the depth.
func (n *node) deeper(enclosing *node) (lines int) {
	type line struct{ node, enclosing *node }
	for todo := []line{{n, enclosing}}; len(todo) > 0; {
		l := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if l.node.isSpan() {
			l.enclosing = l.node
		}
		for _, c := range l.node.children(l.enclosing) {
			todo = append(todo, line{c, l.enclosing})
			lines++
		}
	}
	return lines
}

func (n *node) isSpan() bool { return n.kind == kindMethod || n.kind == kindGap }

// shownTime returns the ktime with which an event or loss in the span enclosing is shown.
func (n *node) shownTime(enclosing *node) uint64 {
	if n.atPrevious && enclosing != nil {
		return max(enclosing.previousTime(n.seq), enclosing.start)
	}
	return n.start
}

// previousTime returns the ktime of the last event before seq in the stream, or of a loss
// with a time of its own, that the span n shows outside other spans; 0: there is none. It
// includes losses so that the times of losses are in order.
func (n *node) previousTime(seq uint64) uint64 {
	if n.marks == nil {
		for todo := []*node{n}; len(todo) > 0; {
			lines := todo[len(todo)-1].lines()
			todo = todo[:len(todo)-1]
			for _, c := range lines {
				if c.kind == kindEvent || c.kind == kindLost && !c.atPrevious {
					n.marks = append(n.marks, mark{c.seq, c.start})
				}
				if c.kind == kindProc || c.child != nil {
					todo = append(todo, c)
				}
			}
		}
		slices.SortFunc(n.marks, func(a, b mark) int { return cmp.Compare(a.seq, b.seq) })
	}
	i, _ := slices.BinarySearchFunc(n.marks, seq, func(m mark, seq uint64) int { return cmp.Compare(m.seq, seq) })
	if i == 0 {
		return 0
	}
	return n.marks[i-1].ktime
}

// startTime returns the start of n, ktime.
func (n *node) startTime() uint64 {
	if n.kind == kindProc && len(n.proc.threads) > 0 {
		return n.proc.threads[0].StartKtimeNS
	}
	return n.start
}

// visible returns list without processes that have no lines.
func visible(list []*node) []*node {
	empty := func(n *node) bool { return n.kind == kindProc && n.proc.firstShown() == 0 }
	if !slices.ContainsFunc(list, empty) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), empty)
}

// merge inserts each of nested before the first of entries that is not older.
func merge(entries, nested []*node, enclosing *node) []*node {
	if len(nested) == 0 {
		return entries
	}
	all := make([]*node, 0, len(entries)+len(nested))
	for _, n := range entries {
		if n.kind != kindProc {
			for at := n.shownTime(enclosing); len(nested) > 0 && at >= nested[0].startTime(); {
				all = append(all, nested[0])
				nested = nested[1:]
			}
		}
		all = append(all, n)
	}
	return append(all, nested...)
}
