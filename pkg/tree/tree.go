// Package tree draws the streams of viv-spans for people: as a tree of
// processes, spans and events, as a table of events, or as JSON.
package tree

import (
	"cmp"
	"io"
	"slices"
	"strconv"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Result is what there is to say about a stream that was drawn.
type Result struct {
	// Unspanned is the number of sessions with events that have no spans: they
	// did not go through viv-spans.
	Unspanned int
}

// Draw reads r to its end and writes the tree of each of its sessions to w. The
// error is w's or the Reader's last one, which is io.EOF after a complete
// stream: what came before has been drawn.
func Draw(w io.Writer, r *stream.Reader, color bool) (Result, error) {
	return draw(w, r, &text{color: color})
}

// DrawJSON is Draw for one JSON document per session, each on a line.
func DrawJSON(w io.Writer, r *stream.Reader) (Result, error) {
	return draw(w, r, document{})
}

// renderer writes trees in one format.
type renderer interface {
	// event appends what is kept of an event until its session is drawn.
	event(b []byte, rec *stream.Record, ev *event.Event, p *stream.Policy) []byte
	// record does so for another record.
	record(b []byte, rec *stream.Record) []byte
	session(w *output, s *session)
}

// output collects what is written. Its first error is kept.
type output struct {
	w   io.Writer
	b   []byte
	err error
}

// spill writes what was collected when it is much.
func (o *output) spill() {
	if len(o.b) > 1<<16 {
		o.flush()
	}
}

func (o *output) flush() {
	if o.err == nil && len(o.b) > 0 {
		_, o.err = o.w.Write(o.b)
	}
	o.b = o.b[:0]
}

func draw(w io.Writer, r *stream.Reader, to renderer) (res Result, err error) {
	var s *session
	out := output{w: w}
	finish := func() error {
		if s == nil {
			return nil
		}
		s.finish()
		if s.unspanned && !s.spanned {
			res.Unspanned++
		}
		to.session(&out, s)
		out.flush()
		s = nil
		return out.err
	}
	for {
		rec, err := r.Next()
		if err != nil {
			if werr := finish(); werr != nil {
				err = werr
			}
			return res, err
		}
		if rec.Type == stream.TypeSession {
			if err := finish(); err != nil {
				return res, err
			}
			head, err := rec.Session()
			if err != nil {
				continue
			}
			s = newSession(head, to)
			s.head = s.keep(rec)
		}
		if s == nil {
			continue
		}
		if s.add(rec); rec.Type == stream.TypeEnd {
			if err := finish(); err != nil {
				return res, err
			}
		}
	}
}

// session is what is known of a session while it is read, and what is drawn
// in the end.
type session struct {
	stream.Session
	to      renderer
	head    []byte // what the renderer made of the session record
	tail    []byte // and of the end record
	end     stream.End
	ended   bool
	newest  uint64 // ktime of what was read so far
	spanned bool   // there are span records
	// unspanned says that there are events in no known span.
	unspanned bool

	seq     uint64
	spans   map[uint64]spanRef
	threads []*thread
	byTID   map[uint32]*thread // the newest of each tid
	procs   []*proc
	reverse bool             // a process became the child of one that was seen after it
	byPID   map[uint32]*proc // the newest of each pid
	forks   map[uint32][]*fork
	waiting []*node // losses whose place the next event tells
	last    *node   // that got the last event
	roots   []*node
	nodes   []node // to be handed out
	text    []byte // of events, to be handed out
}

// spanRef is what a span id stands for: a thread, a method, or the session (neither).
type spanRef struct {
	thread *thread // its own, or the method's
	method *node   // nil for a thread's
}

// kind is what a node is.
type kind uint8

const (
	kindEvent kind = iota
	kindLost
	kindMethod
	kindGap // of a thread, outside its methods
	kindProc
)

// node is a line of the tree and what hangs under it.
type node struct {
	kind  kind
	seq   uint64       // place in the stream
	start uint64       // ktime of the event, or of the span's start
	text  []byte       // what the renderer made of the record
	own   []*node      // in order of seq: events, losses, processes whose fork is not shown
	subs  []*node      // of a method: the methods under it, in order of start
	under *node        // of a fork: the child's process
	span  *stream.Span // of a method or a gap
	lost  stream.Lost
	proc  *proc // of a process; of an event or span: whose it is
	open  bool  // of a span: its end is not known
	// behind says of a loss that it is shown behind the event before it, and at
	// the same time (stream.Policy).
	behind bool
	shown  []mark // of a span with losses: the events that it shows outside other spans
	top    bool   // of a method: it is an outermost one of its thread
}

// mark is when an event was, and its place in the stream.
type mark struct{ seq, ktime uint64 }

// thread is a thread as its span says.
type thread struct {
	stream.Span
	closed bool
	proc   *proc
	items  []*node // its gaps and outermost methods
	gap    *node   // the one that gets its events
	gapAt  uint64  // when it began
	gapEnd uint64  // and ended; 0: not yet
	inside int     // outermost methods that are open
	host   *node   // what its parent span is drawn as
	up     *thread // whose host is
}

// proc is a process.
type proc struct {
	pid     uint32
	comm    string
	said    string // comm of its newest record
	exact   bool   // comm is the first thread's or an exec's
	threads []*thread
	leader  *thread // its first thread; nil: not seen
	parent  *proc
	node    *node
	// enclosed says that it is drawn inside a span, which its first thread's
	// events then need not have.
	enclosed bool
	first    uint64 // seq of the first thing that it shows; 0: nothing, or not known
}

// fork is a fork that is shown.
type fork struct {
	node     *node
	host     *node
	proc     *proc // that forked
	pid, tid uint32
	spanID   uint64 // the child's; 0: not known
	taken    bool   // the child was found
}

func newSession(head stream.Session, to renderer) *session {
	s := &session{
		Session: head, to: to, newest: head.StartKtimeNS,
		spans: map[uint64]spanRef{}, byTID: map[uint32]*thread{}, byPID: map[uint32]*proc{}, forks: map[uint32][]*fork{},
	}
	for _, pid := range head.Targets {
		if s.byPID[pid] == nil {
			p := s.newProc(pid)
			p.comm = head.Policy.Command
			s.roots = append(s.roots, p.node)
		}
	}
	return s
}

func (s *session) newNode(k kind) *node {
	if len(s.nodes) == 0 {
		s.nodes = make([]node, 256)
	}
	n := &s.nodes[0]
	s.nodes = s.nodes[1:]
	s.seq++
	n.kind, n.seq = k, s.seq
	return n
}

func (s *session) newProc(pid uint32) *proc {
	p := &proc{pid: pid, node: s.newNode(kindProc)}
	p.node.proc = p
	s.procs = append(s.procs, p)
	s.byPID[pid] = p
	return p
}

// add takes a record.
func (s *session) add(rec *stream.Record) {
	switch rec.Type {
	case stream.TypeEvent:
		if ev, err := rec.Event(); err == nil {
			s.event(rec, ev)
		}
	case stream.TypeLost:
		if l, err := rec.Lost(); err == nil {
			n := s.newNode(kindLost)
			n.lost, n.start, n.text = l, l.KtimeNS, s.keep(rec)
			s.waiting = append(s.waiting, n)
			s.newest = max(s.newest, l.KtimeNS)
		}
	case stream.TypeClock:
		if c, err := rec.Clock(); err == nil {
			s.newest = max(s.newest, c.KtimeNS)
		}
	case stream.TypeSpanOpen:
		if sp, err := rec.Span(); err == nil {
			s.open(rec, &sp)
		}
	case stream.TypeSpan:
		if sp, err := rec.Span(); err == nil {
			s.close(rec, &sp)
		}
	case stream.TypeEnd:
		s.end, _ = rec.End()
		s.ended, s.tail = true, s.keep(rec)
	}
}

// keep returns what the renderer makes of a record that is no event.
func (s *session) keep(rec *stream.Record) []byte {
	return s.kept(func(b []byte) []byte { return s.to.record(b, rec) })
}

func (s *session) kept(add func([]byte) []byte) []byte {
	if cap(s.text)-len(s.text) < 256 {
		s.text = make([]byte, 0, 1<<16)
	}
	begin := len(s.text)
	s.text = add(s.text)
	return s.text[begin:len(s.text):len(s.text)]
}

func (s *session) open(rec *stream.Record, sp *stream.Span) {
	s.spanned = true
	s.newest = max(s.newest, sp.StartKtimeNS)
	switch sp.Kind {
	case stream.SpanSession:
		s.spans[sp.SpanID] = spanRef{}
	case stream.SpanThread:
		s.newThread(*sp)
	case stream.SpanMethod:
		n := s.newNode(kindMethod)
		n.start, n.span, n.open, n.text = sp.StartKtimeNS, sp, true, s.keep(rec)
		up, ok := s.spans[sp.ParentSpanID]
		if !ok && sp.ParentSpanID == 0 {
			up = s.spans[sp.LinkSpanID]
		}
		t := up.thread
		if t == nil {
			t = s.threadOf(sp.PID, sp.TID, 0, sp.StartKtimeNS)
		}
		n.proc = t.proc
		s.spans[sp.SpanID] = spanRef{t, n}
		if up.method != nil {
			up.method.subs = append(up.method.subs, n)
			return
		}
		n.top = true
		t.enter(sp.StartKtimeNS)
		t.items = append(t.items, n)
	}
}

func (s *session) close(rec *stream.Record, sp *stream.Span) {
	known, ok := s.spans[sp.SpanID]
	if !ok {
		s.open(rec, sp)
		known = s.spans[sp.SpanID]
	}
	s.newest = max(s.newest, sp.EndKtimeNS)
	switch t := known.thread; {
	case t == nil:
	case known.method != nil:
		n := known.method
		if n.open && n.top {
			t.leave(sp.EndKtimeNS)
		}
		n.span, n.start, n.open, n.text = sp, sp.StartKtimeNS, false, s.keep(rec)
	default:
		if sp.ParentSpanID != t.ParentSpanID {
			t.hang(s, sp.ParentSpanID) // its fork came late
		}
		t.Span, t.closed = *sp, true
	}
}

// enter ends the thread's gap because an outermost method begins.
func (t *thread) enter(at uint64) {
	if t.inside++; t.inside > 1 {
		return
	}
	t.gapEnd = max(at, 1)
	if t.gap != nil {
		t.gap.span.EndKtimeNS, t.gap.open = at, false
	}
}

// leave begins a gap because an outermost method has ended.
func (t *thread) leave(at uint64) {
	if t.inside > 0 {
		t.inside--
	}
	if t.inside == 0 {
		t.gap, t.gapAt, t.gapEnd = nil, at, 0
	}
}

// between returns the node of the thread's current gap, the last one while a
// method is open.
func (t *thread) between(s *session) *node {
	if t.gap == nil {
		g := s.newNode(kindGap)
		g.proc, g.start, g.open = t.proc, t.gapAt, t.gapEnd == 0
		g.span = &stream.Span{
			SpanID: t.SpanID, TraceID: t.TraceID, PID: t.PID, TID: t.TID, StartKtimeNS: t.gapAt, EndKtimeNS: t.gapEnd,
		}
		t.gap = g
		t.items = append(t.items, g)
	}
	return t.gap
}

// newThread takes the span of a thread that was seen for the first time.
func (s *session) newThread(sp stream.Span) *thread {
	t := &thread{Span: sp, gapAt: sp.StartKtimeNS}
	p := s.byPID[sp.PID]
	if p == nil || sp.TID == sp.PID && p.leader != nil && p.leader.closed {
		p = s.newProc(sp.PID) // also when the pid is another process's by now
	}
	t.proc = p
	p.threads = append(p.threads, t)
	if sp.TID == sp.PID {
		p.leader = t
	}
	s.threads = append(s.threads, t)
	s.byTID[sp.TID] = t
	if sp.SpanID != 0 {
		s.spans[sp.SpanID] = spanRef{thread: t}
	}
	t.hang(s, sp.ParentSpanID)
	return t
}

// hang remembers under what the thread's span hangs.
func (t *thread) hang(s *session, parent uint64) {
	up := s.spans[parent]
	t.up, t.host = nil, nil
	switch {
	case up.thread == nil || up.thread == t:
	case up.method != nil:
		t.up, t.host = up.thread, up.method
	default:
		t.up, t.host = up.thread, up.thread.between(s)
	}
}

// threadOf returns the thread of an event whose span is not known.
func (s *session) threadOf(pid, tid uint32, id, ktime uint64) *thread {
	s.unspanned = true
	t := s.byTID[tid]
	if t != nil && t.PID == pid && !t.closed && (id == 0 || t.SpanID == id) {
		return t
	}
	if slices.Contains(s.Targets, tid) || tid == s.MainTID {
		ktime = min(ktime, s.StartKtimeNS)
	}
	if t != nil {
		t.closed = true
	}
	return s.newThread(stream.Span{SpanID: id, Kind: stream.SpanThread, PID: pid, TID: tid, StartKtimeNS: ktime})
}

func is(ev *event.Event, id event.ID) bool { return ev.Kind == &event.Kinds[id] }

func (s *session) event(rec *stream.Record, ev *event.Event) {
	s.newest = max(s.newest, ev.KtimeNS)
	if s.StartKtimeNS == 0 {
		s.begin(ev.KtimeNS)
	}
	at := s.spans[ev.SpanID]
	if at.thread == nil {
		at = s.spans[ev.ThreadSpanID]
		if at.thread == nil {
			at = spanRef{thread: s.threadOf(ev.PID, ev.TID, ev.SpanID, ev.KtimeNS)}
		}
	}
	t := at.thread
	t.proc.named(ev)
	host := at.method
	start, stop := is(ev, event.SpanStart), is(ev, event.SpanStop)
	if host == nil {
		host = t.between(s)
	}
	if start && at.method != nil && len(s.waiting) > 0 {
		host = s.around(host, t)
	}
	if ev.Hidden && at.method == nil && s.spanned {
		// The outermost method that this was is not shown, but it parts the gap.
		if start {
			t.enter(ev.KtimeNS)
		} else if stop {
			t.leave(ev.KtimeNS)
		}
	}
	shown := !ev.Hidden && !start && !stop
	for _, n := range s.waiting {
		n.proc = t.proc
		n.behind = shown && s.Policy.LossAfterEvent
		host.own = append(host.own, n)
	}
	s.waiting = s.waiting[:0]
	s.last = host
	if !shown {
		return
	}
	n := s.newNode(kindEvent)
	n.proc, n.start = t.proc, ev.KtimeNS
	n.text = s.kept(func(b []byte) []byte { return s.to.event(b, rec, ev, &s.Policy) })
	host.own = append(host.own, n)
	if is(ev, event.ProcFork) {
		f := &fork{
			node: n, host: host, proc: t.proc,
			pid: uint32(ev.Get("child_pid").Num), tid: uint32(ev.Get("child_tid").Num),
			spanID: ev.Get("child_span_id").Num,
		}
		if f.tid == 0 {
			f.tid = f.pid
		}
		s.forks[f.tid] = append(s.forks[f.tid], f)
	}
}

// begin is for a session that does not say when it began: with its first event.
func (s *session) begin(ktime uint64) {
	s.StartKtimeNS = ktime
	for _, t := range s.threads {
		if t.gapAt == 0 {
			t.gapAt = ktime
			if t.gap != nil {
				t.gap.start, t.gap.span.StartKtimeNS = ktime, ktime
			}
		}
	}
}

// around is what a method stands in: what was lost in front of its start was
// lost there.
func (s *session) around(method *node, t *thread) *node {
	if up, ok := s.spans[method.span.ParentSpanID]; ok && up.method != nil {
		return up.method
	}
	return t.between(s)
}

// named takes the program's name from an event.
func (p *proc) named(ev *event.Event) {
	if first := ev.TID == ev.PID; len(ev.Comm) > 0 && (first || !p.exact) && string(ev.Comm) != p.said {
		p.said, p.exact = string(ev.Comm), p.exact || first
		// The kernel cuts names at 15 bytes; an exec told the whole one.
		if len(p.said) != 15 || len(p.comm) < 15 || p.comm[:15] != p.said {
			p.comm = p.said
		}
	}
	if is(ev, event.ProcExec) && len(ev.Error) == 0 {
		if path := ev.Fields[0].Text; len(path) > 0 {
			p.comm, p.exact = string(event.Basename(path)), true
		}
	}
}

// finish puts every process in its place.
func (s *session) finish() {
	stop := s.newest
	if s.ended && s.end.StopKtimeNS != 0 {
		stop = s.end.StopKtimeNS
	}
	for _, t := range s.threads {
		end := t.EndKtimeNS
		if !t.closed {
			end = stop
		}
		for _, n := range t.items {
			s.settle(n, max(end, n.start), stop)
		}
	}
	if s.last == nil && len(s.waiting) > 0 {
		if len(s.roots) == 0 {
			s.roots = append(s.roots, s.newProc(s.ObserverPID).node)
		}
		s.last = s.roots[0]
	}
	if s.last != nil {
		s.last.own = append(s.last.own, s.waiting...)
	}
	s.waiting = nil
	for _, p := range s.procs {
		// Its events may have been taken out of the stream.
		if len(p.threads) > 0 && p.comm == "" {
			if t := p.main(); t.Name != "tid="+strconv.FormatUint(uint64(t.TID), 10) {
				p.comm = t.Name
			}
		}
	}
	s.place()
}

// settle ends the spans whose end is not known.
func (s *session) settle(n *node, end, stop uint64) {
	if n.open {
		n.span.EndKtimeNS = end
		n.span.Dangling = n.kind == kindMethod
	}
	for _, m := range n.subs {
		s.settle(m, max(stop, m.start), stop)
	}
}

// place hangs the processes under their forks, or where their spans say.
func (s *session) place() {
	for _, t := range s.threads {
		if t != t.proc.leader && t.TID != t.PID {
			s.findFork(t.TID, t) // it made no process
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
		t := p.main()
		if f := s.findFork(p.pid, t); f != nil && s.adopt(f.proc, p) {
			f.node.under = p.node
			p.enclosed = true
		} else if t.up != nil && s.adopt(t.up.proc, p) {
			hidden = append(hidden, p)
		} else if len(root) == 1 {
			// Nothing is known of its beginning, but only descendants of the one
			// target are watched.
			r := s.roots[0].proc
			r.node.subs = append(r.node.subs, p.node)
		} else {
			s.roots = append(s.roots, p.node)
		}
	}
	for _, p := range hidden {
		t := p.main()
		p.enclosed = true
		t.host.own = append(t.host.own, p.node)
	}
	for _, list := range s.forks {
		for _, f := range list {
			if !f.taken && (f.pid == f.tid || f.pid == 0) { // a process that did nothing
				p := s.newProc(f.pid)
				p.parent, p.enclosed = f.proc, true
				f.node.under = p.node
			}
		}
	}
	for _, p := range hidden {
		p.node.seq = p.shows()
	}
	for _, p := range hidden {
		t := p.main()
		slices.SortStableFunc(t.host.own, func(a, b *node) int { return cmp.Compare(a.seq, b.seq) })
	}
}

// findFork finds and takes the fork that made the thread t with that tid.
func (s *session) findFork(tid uint32, t *thread) *fork {
	var best *fork
	for _, f := range s.forks[tid] {
		switch {
		case f.taken:
		case f.spanID != 0 && f.spanID == t.SpanID:
			best = f
		case best != nil && best.spanID != 0 && best.spanID == t.SpanID:
		case best == nil || f.node.start <= t.StartKtimeNS:
			best = f // the last one before it
		}
	}
	if best != nil {
		best.taken = true
	}
	return best
}

// main is the first thread, or what comes nearest to it.
func (p *proc) main() *thread {
	if p.leader != nil {
		return p.leader
	}
	return p.threads[0]
}

// adopt makes p a child of parent, unless parent descends from it.
func (s *session) adopt(parent, p *proc) bool {
	if parent.node.seq >= p.node.seq {
		s.reverse = true
	}
	if s.reverse { // otherwise parents are always older, and there can be no circle
		for a := parent; a != nil; a = a.parent {
			if a == p {
				return false
			}
		}
	}
	p.parent = parent
	return true
}

// shows is the seq of the first thing that p shows, or 0.
func (p *proc) shows() uint64 {
	if p.first != 0 {
		return p.first
	}
	first := uint64(0)
	see := func(seq uint64) {
		if seq != 0 && (first == 0 || seq < first) {
			first = seq
		}
	}
	for _, t := range p.threads {
		for _, n := range t.items {
			if n.kind == kindMethod {
				see(n.seq)
			}
			see(n.shows())
		}
	}
	p.first = first
	return first
}

// shows is the seq of the first thing under n that is shown, or 0.
func (n *node) shows() uint64 {
	for _, c := range n.own {
		if c.kind != kindProc {
			return c.seq
		}
		if seq := c.proc.shows(); seq != 0 {
			return seq
		}
	}
	return 0
}

// children are the lines under n, in their order. host is the innermost span
// around them, n if it is one.
func (n *node) children(host *node) []*node {
	switch n.kind {
	case kindEvent, kindGap:
		return n.lines()
	case kindMethod:
		return merge(n.lines(), n.subs, host)
	case kindProc:
		return n.proc.children(host)
	}
	return nil
}

// lines are the lines under n that are no spans.
func (n *node) lines() []*node {
	switch {
	case n.kind == kindProc:
		var own []*node
		for _, t := range n.proc.threads {
			if n.proc.enclosed && t.TID == n.proc.pid {
				for _, g := range t.items {
					if g.kind == kindGap {
						own = append(own, visible(g.own)...)
					}
				}
			}
		}
		return append(own, n.own...)
	case n.under != nil:
		return []*node{n.under}
	}
	return visible(n.own)
}

// when is the time that an event or loss in the span host is shown at.
func (n *node) when(host *node) uint64 {
	if n.behind && host != nil {
		return max(host.before(n.seq), host.start)
	}
	return n.start
}

// before is when the newest event was that n, a span, shows outside other
// spans, and that stands in the stream before seq; 0: none.
func (n *node) before(seq uint64) uint64 {
	if n.shown == nil {
		for todo := []*node{n}; len(todo) > 0; {
			lines := todo[len(todo)-1].lines()
			todo = todo[:len(todo)-1]
			for _, c := range lines {
				if c.kind == kindEvent {
					n.shown = append(n.shown, mark{c.seq, c.start})
				}
				if c.kind == kindProc || c.under != nil {
					todo = append(todo, c)
				}
			}
		}
		slices.SortFunc(n.shown, func(a, b mark) int { return cmp.Compare(a.seq, b.seq) })
	}
	i, _ := slices.BinarySearchFunc(n.shown, seq, func(m mark, seq uint64) int { return cmp.Compare(m.seq, seq) })
	if i == 0 {
		return 0
	}
	return n.shown[i-1].ktime
}

func (p *proc) children(host *node) []*node {
	var subs []*node
	for _, t := range p.threads {
		for _, n := range t.items {
			switch {
			case n.kind == kindMethod:
				subs = append(subs, n)
			case n.shows() > 0 && !(p.enclosed && t.TID == p.pid):
				subs = append(subs, n)
			}
		}
	}
	subs = append(subs, visible(p.node.subs)...)
	slices.SortStableFunc(subs, func(a, b *node) int { return cmp.Compare(a.begins(), b.begins()) })
	return merge(p.node.lines(), subs, host)
}

// begins is when n begins, ns.
func (n *node) begins() uint64 {
	if n.kind == kindProc && len(n.proc.threads) > 0 {
		return n.proc.threads[0].StartKtimeNS
	}
	return n.start
}

// visible is list without the processes that show nothing.
func visible(list []*node) []*node {
	empty := func(n *node) bool { return n.kind == kindProc && n.proc.shows() == 0 }
	if !slices.ContainsFunc(list, empty) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), empty)
}

// merge puts each of subs in front of the first event of own that is not older.
func merge(own, subs []*node, host *node) []*node {
	if len(subs) == 0 {
		return own
	}
	all := make([]*node, 0, len(own)+len(subs))
	for _, n := range own {
		if n.kind != kindProc {
			for at := n.when(host); len(subs) > 0 && at >= subs[0].begins(); {
				all = append(all, subs[0])
				subs = subs[1:]
			}
		}
		all = append(all, n)
	}
	return append(all, subs...)
}
