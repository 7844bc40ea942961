package tree

import (
	"cmp"
	"slices"
	"strconv"

	"vivarium/pkg/event"
)

// proc is a process.
type proc struct {
	pid      uint32
	comm     string
	lastComm string // comm of its newest record
	commFrom commSource
	executed bool // an exec was read: the first thread is then the main one
	threads  []*thread
	leader   *thread // thread group leader; nil: not seen
	parent   *proc
	node     *node
	// enclosed: it is drawn inside a span, so the events of its first thread are drawn
	// without a span of their own.
	enclosed bool
	firstSeq uint64 // cache of firstShown
	hasFirst bool   // firstSeq is known
}

// commSource is the source of the name of a process. A name is replaced by one from the
// same or a later source.
type commSource uint8

const (
	commUnknown commSource = iota
	commThread             // any of its threads
	commDefault            // stream.Policy
	commLeader             // its first thread
	commMain               // the session's main thread (main_tid), or an exec
)

func (s *session) newProc(pid uint32) *proc {
	p := &proc{pid: pid, node: s.newNode(kindProc)}
	p.node.proc = p
	s.procs = append(s.procs, p)
	s.byPID[pid] = p
	return p
}

// commSource returns the source for the name of a thread of p.
func (s *session) commSource(p *proc, tid uint32) commSource {
	switch {
	case tid == s.MainTID || p.executed && tid == p.pid:
		return commMain
	case tid == p.pid:
		return commLeader
	}
	return commThread
}

// updateComm updates the name of the process from an event of a thread.
func (p *proc) updateComm(ev *event.Event, from commSource) {
	if len(ev.Comm) > 0 && from >= p.commFrom && string(ev.Comm) != p.lastComm {
		p.lastComm, p.commFrom = string(ev.Comm), from
		// The kernel cuts names at 15 bytes; an exec has the complete name.
		if len(p.lastComm) != 15 || len(p.comm) < 15 || p.comm[:15] != p.lastComm {
			p.comm = p.lastComm
		}
	}
	if ev.Is(event.ProcExec) && len(ev.Error) == 0 {
		if path := ev.Fields[event.ProcExecPath].Text; len(path) > 0 {
			p.comm, p.commFrom, p.executed = string(event.Basename(path)), commMain, true
		}
	}
}

// mainThread returns the thread group leader; if it was not seen, the first thread.
func (p *proc) mainThread() *thread {
	if p.leader != nil {
		return p.leader
	}
	return p.threads[0]
}

// nameByThread gives p the name of its main thread, unless p already has such a name.
// Events of the main thread may be missing in the stream.
func (s *session) nameByThread(p *proc) {
	var best *thread
	from := p.commFrom
	if p.comm == "" {
		from = commUnknown
	}
	for _, t := range p.threads {
		if f := s.commSource(p, t.TID); f > from && t.Name != "" && t.Name != "tid="+strconv.FormatUint(uint64(t.TID), 10) {
			best, from = t, f
		}
	}
	if best != nil {
		p.comm = best.Name
	}
}

// firstShown returns the seq of the first line of p; 0: there is none.
func (p *proc) firstShown() uint64 {
	if p.hasFirst {
		return p.firstSeq
	}
	first := uint64(0)
	add := func(seq uint64) {
		if seq != 0 && (first == 0 || seq < first) {
			first = seq
		}
	}
	for _, t := range p.threads {
		for _, n := range t.items {
			if n.kind == kindMethod {
				add(n.seq)
			}
			add(n.firstShown())
		}
	}
	p.firstSeq, p.hasFirst = first, true
	return first
}

// children returns the lines below p; see node.children.
func (p *proc) children(enclosing *node) []*node {
	var nested []*node
	for _, t := range p.threads {
		for _, n := range t.items {
			switch {
			case n.kind == kindMethod:
				nested = append(nested, n)
			case n.firstShown() > 0 && !(p.enclosed && t.TID == p.pid):
				nested = append(nested, n)
			}
		}
	}
	nested = append(nested, visible(p.node.nested)...)
	slices.SortStableFunc(nested, func(a, b *node) int { return cmp.Compare(a.startTime(), b.startTime()) })
	return merge(p.node.lines(), nested, enclosing)
}
