package tree

import (
	"cmp"
	"slices"
)

// fork is a proc_fork event that is shown.
type fork struct {
	node     *node
	proc     *proc // the parent
	pid, tid uint32
	spanID   uint64 // the child's; 0: not known
	matched  bool   // with the child
}

// placeProcesses puts each process under its fork, under its parent span, under
// the only target, or at top level.
func (s *session) placeProcesses() {
	for _, t := range s.threads {
		if t != t.proc.leader && t.TID != t.PID {
			s.findFork(t.TID, t) // this fork made no process
		}
	}
	root := map[*proc]bool{}
	for _, n := range s.roots {
		root[n.proc] = true
	}
	var hidden []*proc
	for _, p := range s.procs {
		if root[p] || len(p.threads) == 0 {
			continue
		}
		t := p.mainThread()
		if f := s.findFork(p.pid, t); f != nil && s.adopt(f.proc, p) {
			f.node.child = p.node
			p.enclosed = true
		} else if t.parentThread != nil && s.adopt(t.parentThread.proc, p) {
			hidden = append(hidden, p)
		} else if len(root) == 1 {
			// Its fork is not known, but only descendants of the one target are
			// watched.
			r := s.roots[0].proc
			r.node.nested = append(r.node.nested, p.node)
		} else {
			s.roots = append(s.roots, p.node)
		}
	}
	for _, p := range hidden {
		t := p.mainThread()
		p.enclosed = true
		t.parent.entries = append(t.parent.entries, p.node)
	}
	for _, list := range s.forks {
		for _, f := range list {
			if !f.matched && (f.pid == f.tid || f.pid == 0) { // a process that did nothing
				p := s.newProc(f.pid)
				p.parent, p.enclosed = f.proc, true
				f.node.child = p.node
			}
		}
	}
	for _, p := range hidden {
		p.node.seq = p.firstShown()
	}
	for _, p := range hidden {
		t := p.mainThread()
		slices.SortStableFunc(t.parent.entries, func(a, b *node) int { return cmp.Compare(a.seq, b.seq) })
	}
}

// findFork finds the fork that made the thread t with that tid, and marks it as
// matched.
func (s *session) findFork(tid uint32, t *thread) *fork {
	var best *fork
	for _, f := range s.forks[tid] {
		switch {
		case f.matched:
		case f.spanID != 0 && f.spanID == t.SpanID:
			best = f
		case best != nil && best.spanID != 0 && best.spanID == t.SpanID:
		case best == nil || f.node.start <= t.StartKtimeNS:
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
