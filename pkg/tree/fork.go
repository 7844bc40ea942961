package tree

import (
	"cmp"
	"slices"
)

// fork is a proc_fork event.
type fork struct {
	node     *node // nil: it is not shown
	span     *node // span around it
	start    uint64
	proc     *proc // the parent
	pid, tid uint32
	spanID   uint64 // of the child; 0: unknown
	matched  bool   // the child was found
}

// placed is a process whose fork is not shown, and the span that it is drawn in.
type placed struct {
	proc *proc
	span *node
}

// placeProcesses puts each process below its fork, its parent span or the only target, or
// at the top level.
func (s *session) placeProcesses() {
	for _, t := range s.threads {
		if t != t.proc.leader && t.TID != t.PID {
			s.findFork(t.TID, t) // this fork created a thread, not a process
		}
	}
	root := map[*proc]bool{}
	for _, n := range s.roots {
		root[n.proc] = true
	}
	var hidden []placed
	for _, p := range s.procs {
		if root[p] || len(p.threads) == 0 {
			continue
		}
		t := p.mainThread()
		f := s.findFork(p.pid, t)
		if f != nil && s.adopt(f.proc, p) {
			p.enclosed = true
			if f.node != nil {
				f.node.child = p.node
			} else {
				hidden = append(hidden, placed{p, f.span})
			}
		} else if t.parentThread != nil && s.adopt(t.parentThread.proc, p) {
			p.enclosed = true
			hidden = append(hidden, placed{p, t.parent})
		} else if len(root) == 1 {
			// Its fork is unknown, but all processes are descendants of the only target.
			r := s.roots[0].proc
			r.node.nested = append(r.node.nested, p.node)
		} else {
			s.roots = append(s.roots, p.node)
		}
	}
	for _, h := range hidden {
		h.span.entries = append(h.span.entries, h.proc.node)
	}
	for _, list := range s.forks {
		for _, f := range list {
			if f.node != nil && !f.matched && (f.pid == f.tid || f.pid == 0) { // a process that did nothing
				p := s.newProc(f.pid)
				p.parent, p.enclosed = f.proc, true
				f.node.child = p.node
			}
		}
	}
	for _, h := range hidden {
		h.proc.node.seq = h.proc.firstShown()
	}
	for _, h := range hidden {
		slices.SortStableFunc(h.span.entries, func(a, b *node) int { return cmp.Compare(a.seq, b.seq) })
	}
}

// findFork finds the fork that created the thread t with that tid, and marks it as
// matched; nil: none.
func (s *session) findFork(tid uint32, t *thread) *fork {
	var best *fork
	for _, f := range s.forks[tid] {
		switch {
		case f.matched:
		case f.spanID != 0 && f.spanID == t.SpanID:
			best = f
		case best != nil && best.spanID != 0 && best.spanID == t.SpanID:
		case best == nil || f.start <= t.StartKtimeNS:
			best = f // the last one before it
		}
	}
	if best != nil {
		best.matched = true
	}
	return best
}

// adopt makes p a child of parent and returns true, unless parent descends from p.
func (s *session) adopt(parent, p *proc) bool {
	if parent.node.seq >= p.node.seq {
		s.parentsLater = true
	}
	if s.parentsLater { // otherwise parents are always older, and there is no cycle
		for a := parent; a != nil; a = a.parent {
			if a == p {
				return false
			}
		}
	}
	p.parent = parent
	return true
}
