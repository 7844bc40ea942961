// Package span rebuilds spans from events: one for the session, under it one
// for each thread or process, under those the methods.
//
// A thread's span lasts from its first event to its exit; that of a target's
// first thread begins with the session. It hangs under the span that was the
// innermost of the forking thread at the fork. An exec keeps it, also when the
// exec gives it the tid of its process's first thread. A method's span lasts
// from its start to the stop of the same name on the same thread; spans above
// it whose stops were lost end with it. A stop without a name ends the
// innermost. What is still open at the exit of its thread or at the end of its
// session is closed there and marked dangling.
//
// A span_open record comes before the first event of its span, a span record
// behind the last. For a vivarium-raw capture the times are vivarium's: methods
// that are open at their thread's exit last to the session's stop, and so does
// the main thread.
package span

import (
	"fmt"
	"slices"
	"strconv"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// The bounds of the spans that a Builder keeps open.
const (
	MaxOpen      = 65536 // in all
	MaxPerThread = 256   // of a thread, its own among them
)

// bounds are those and the others, which tests make smaller.
type bounds struct {
	open, perThread int
	text            int // bytes of names, files and sources of open method spans
	forked          int // forks whose child has not shown itself
	gone            int // ended threads whose late events are recognised
	walk            int // threads to look at before a late parent is refused
}

var defaultBounds = bounds{open: MaxOpen, perThread: MaxPerThread, text: 16 << 20, forked: 16384, gone: 4096, walk: 1024}

// Stats counts what was not as it should be.
type Stats struct {
	UnknownStops uint64 // stops that fit no open span
	Late         uint64 // events of a thread after its exit
	OutOfOrder   uint64 // events older than one of the same thread before them
	Outside      uint64 // events outside any session: before it, or behind its end
	NotOpened    uint64 // method spans that were not opened because of a bound
	Evicted      uint64 // spans that were closed because of a bound
	Through      uint64 // sessions that had spans already
}

// Lost is the number of spans that are missing or shorter than they were.
func (s *Stats) Lost() uint64 { return s.NotOpened + s.Evicted }

// Report says with warn, in one line each, what was not as it should be.
func (s *Stats) Report(warn func(format string, args ...any)) {
	for _, line := range []struct {
		n      uint64
		format string
	}{
		{s.Through, "sessions that have spans already: %d, passed on as they are"},
		{s.Outside, "events outside any session: %d, passed on without a span"},
		{s.OutOfOrder, "events out of order within their thread: %d, spans may be wrong"},
		{s.Late, "events after the exit of their thread: %d, its span ends before them"},
		{s.UnknownStops, "span stops that fit no open span: %d, ignored"},
		{s.NotOpened, fmt.Sprintf("method spans lost: %%d, because more than %d of a thread, %d in all or %d bytes of names were open",
			MaxPerThread, MaxOpen, defaultBounds.text)},
		{s.Evicted, fmt.Sprintf("spans closed early: %%d, because more than %d were open", MaxOpen)},
	} {
		if line.n > 0 {
			warn(line.format, line.n)
		}
	}
}

// mode is what a Builder does with records.
type mode uint8

const (
	outside  mode = iota // there is no session
	begun                // the session record was the last
	building             // the session span is open
	through              // the session has spans already
)

// Builder writes the records that Add gets, each event with its span, and the
// spans. Records before a session and unknown ones pass as they are, and so
// does a session that has spans already.
//
// The thread that an event hangs under is known by its tid. Its parent is the
// span that was the innermost of the forking thread when it was forked; without
// a fork the session for a target's own thread, else the thread that the
// event's parent_span_id names, else the session.
type Builder struct {
	// Stats is what was counted so far.
	Stats Stats

	w         *stream.Writer
	perMethod bool
	max       bounds

	mode    mode
	session open
	mainTID uint32
	targets []uint32
	policy  stream.Policy
	newest  uint64 // ktime of the session
	losses  uint64 // lost records of the session
	opened  uint64 // threads of the session
	n       int    // open spans
	text    int    // bytes of names, files and sources of open method spans

	tids   map[uint32]*thread
	owns   map[uint64]*thread // by the span id in their events, and by their own; live and gone ones
	lists  [states]list
	recent *thread // that the last event was of; may have been reused since

	freeThreads *thread // linked by next
	freeMethods *method // linked by below
	names       names
}

// New returns a Builder that writes to w. With perMethod each method span that
// is under no other method begins a trace of its own.
func New(w *stream.Writer, perMethod bool) *Builder {
	return &Builder{
		w: w, perMethod: perMethod, max: defaultBounds,
		tids: map[uint32]*thread{}, owns: map[uint64]*thread{}, names: names{},
	}
}

// Run adds all records of r and closes what is open at its end. It flushes the
// Writer whenever r would have to wait. Its error is the Writer's, or else the
// one that r.Next returned last, which is io.EOF at a complete end.
func (b *Builder) Run(r *stream.Reader) error {
	for {
		rec, err := r.Next()
		if err != nil {
			if werr := b.Close(); werr != nil {
				return werr
			}
			if werr := b.w.Flush(); werr != nil {
				return werr
			}
			return err
		}
		if err := b.Add(rec); err != nil {
			return err
		}
		if !r.Pending() {
			if err := b.w.Flush(); err != nil {
				return err
			}
		}
	}
}

// Add takes the next record of the stream. Its error is the Writer's.
func (b *Builder) Add(rec *stream.Record) error {
	if rec.Type == stream.TypeSession {
		if err := b.Close(); err != nil {
			return err
		}
		b.begin(rec)
		return b.w.Raw(rec.Raw)
	}
	if b.mode == begun {
		// Only now can be seen whether the spans are there already.
		if hasSpans(rec) {
			b.mode = through
			b.Stats.Through++
		} else {
			b.mode = building
			b.n++
			if err := b.w.SpanOpen(&b.session.Span); err != nil {
				return err
			}
		}
	}
	if b.mode == building {
		switch rec.Type {
		case stream.TypeEvent:
			return b.event(rec)
		case stream.TypeLost:
			b.losses++
			if l, err := rec.Lost(); err == nil {
				b.newest = max(b.newest, l.KtimeNS)
			}
		case stream.TypeClock:
			if c, err := rec.Clock(); err == nil {
				b.newest = max(b.newest, c.KtimeNS)
			}
		}
	} else if rec.Type == stream.TypeEvent && b.mode == outside {
		b.Stats.Outside++
	}
	if rec.Type == stream.TypeEnd {
		e, _ := rec.End()
		if err := b.finish(e.StopKtimeNS, e.Cut); err != nil {
			return err
		}
	}
	return b.w.Raw(rec.Raw)
}

// Close closes the spans of a session that had no end record. The Builder can
// go on with another session.
func (b *Builder) Close() error {
	if b.mode == begun {
		b.mode = building
		b.n++
		if err := b.w.SpanOpen(&b.session.Span); err != nil {
			return err
		}
	}
	return b.finish(0, true)
}

func hasSpans(rec *stream.Record) bool {
	switch rec.Type {
	case stream.TypeSpanOpen, stream.TypeSpan:
		return true
	case stream.TypeEvent:
		ev, err := rec.Event()
		return err == nil && ev.ThreadSpanID != 0
	}
	return false
}

// begin makes the session's span.
func (b *Builder) begin(rec *stream.Record) {
	s, _ := rec.Session() // the Reader has looked at it
	b.mode = begun
	b.mainTID, b.targets = s.MainTID, s.Targets
	b.newest, b.losses, b.opened = s.StartKtimeNS, 0, 0
	b.policy = s.Policy
	trace := s.TraceID
	if trace == ([16]byte{}) {
		trace = TraceID(uint64(s.ObserverPID), uint64(s.MainTID), sessionSalt, s.StartKtimeNS)
	}
	b.session = open{Span: stream.Span{
		SpanID:       SessionID(trace, uint64(s.ObserverPID), s.StartKtimeNS),
		ParentSpanID: s.ParentSpanID,
		TraceID:      trace,
		Kind:         stream.SpanSession,
		Name:         "vivarium session",
		PID:          s.ObserverPID,
		TID:          s.MainTID,
		StartKtimeNS: s.StartKtimeNS,
	}}
}

// finish closes everything that is open: the methods thread by thread, then the
// threads, then the session. stop is the session's end, 0 when it is not known.
func (b *Builder) finish(stop uint64, cut bool) error {
	if b.mode == building {
		if stop == 0 {
			stop = b.newest
		}
		threads := make([]*thread, 0, b.lists[live].n)
		for t := b.lists[live].first; t != nil; t = t.next {
			threads = append(threads, t)
		}
		slices.SortFunc(threads, func(x, y *thread) int {
			if x.seq < y.seq {
				return -1
			}
			return 1
		})
		for _, t := range threads {
			b.adoptLate(t) // before any of them is gone
		}
		for _, t := range threads {
			if err := b.closeMethods(t, nil, stop); err != nil {
				return err
			}
		}
		for _, t := range threads {
			t.Dangling = true
			end := max(t.last, stop)
			if t.TID == b.mainTID {
				end = stop
				t.Dangling = !b.policy.MainThreadStays // it ends with the session
			}
			if err := b.write(&t.open, end); err != nil {
				return err
			}
		}
		b.session.Dangling = cut
		if err := b.write(&b.session, stop); err != nil {
			return err
		}
	}
	for i := range b.lists {
		for b.lists[i].first != nil {
			b.forget(b.lists[i].first)
		}
	}
	b.mode, b.n = outside, 0
	return nil
}

// event writes an event and the spans that it opens and closes.
func (b *Builder) event(rec *stream.Record) error {
	ev, err := rec.Event()
	if err != nil {
		return b.w.Raw(rec.Raw)
	}
	b.newest = max(b.newest, ev.KtimeNS)
	if is(ev, event.ProcExec) && len(ev.Error) == 0 {
		if old := uint32(ev.Get("old_tid").Num); old != 0 && old != ev.TID {
			if err := b.moveThread(old, ev); err != nil {
				return err
			}
		}
	}
	t, err := b.thread(ev)
	if err != nil {
		return err
	}
	if t.state == gone {
		b.Stats.Late++
		return b.splice(rec, ev, t.SpanID)
	}
	if ev.KtimeNS < t.last {
		b.Stats.OutOfOrder++
		t.StartKtimeNS = min(t.StartKtimeNS, ev.KtimeNS)
	} else {
		t.last = ev.KtimeNS
	}
	if c := comm(ev); len(c) > 0 && string(c) != t.Name {
		t.Name = b.names.string(c)
	}
	t.PID = ev.PID
	if ev.ParentSpanID != 0 {
		t.said = ev.ParentSpanID
	}

	span := t.innermost().SpanID
	switch {
	case is(ev, event.SpanStart):
		if span, err = b.openMethod(t, ev); err != nil {
			return err
		}
	case is(ev, event.SpanStop):
		if m := b.stopped(t, ev); m != nil {
			if err := b.splice(rec, ev, m.SpanID); err != nil {
				return err
			}
			m.Dangling = false
			return b.closeMethods(t, m, ev.KtimeNS)
		}
	case is(ev, event.SpanRaise):
		if t.top != nil && t.over == 0 {
			t.top.Raised = true
		}
	case is(ev, event.ProcFork):
		if err := b.forked(t, ev); err != nil {
			return err
		}
	case is(ev, event.ProcExit):
		if b.policy.MainThreadStays && t.TID == b.mainTID {
			break
		}
		if err := b.splice(rec, ev, span); err != nil {
			return err
		}
		stop := ev.KtimeNS
		if b.policy.MethodsEndKtimeNS != 0 {
			stop = b.policy.MethodsEndKtimeNS
		}
		return b.end(t, stop, ev.KtimeNS)
	}
	return b.splice(rec, ev, span)
}

// comm is the name of the event's thread. It has no more than the kernel's 16
// bytes, so that it needs no account.
func comm(ev *event.Event) []byte { return ev.Comm[:min(len(ev.Comm), 16)] }

func is(ev *event.Event, id event.ID) bool { return ev.Kind == &event.Kinds[id] }

// splice writes an event as it came, but with its effective span. What was its
// span, also none (0), stays beside it.
func (b *Builder) splice(rec *stream.Record, ev *event.Event, span uint64) error {
	return b.w.Splice(rec, stream.SetUint("span_id", span), stream.SetUint("thread_span_id", ev.SpanID))
}

// write writes the record of a span that is closed.
func (b *Builder) write(s *open, end uint64) error {
	s.EndKtimeNS = max(end, s.StartKtimeNS)
	s.Lossy = s.losses != b.losses
	b.n--
	return b.w.Span(&s.Span)
}

// thread finds the thread of an event and opens its span if it is new. A thread
// that is gone is returned for its late events.
func (b *Builder) thread(ev *event.Event) (*thread, error) {
	t := b.recent
	if t == nil || t.state != live || t.TID != ev.TID {
		t = b.tids[ev.TID]
		if t == nil {
			return b.openThread(nil, ev)
		}
	}
	b.recent = t
	switch t.state {
	case forked:
		return b.openThread(t, ev)
	case live:
		if t.own == 0 && ev.SpanID != 0 {
			b.setOwn(t, ev.SpanID) // known only now
		}
		if ev.SpanID == 0 || ev.SpanID == t.own {
			b.lists[live].touch(t)
			return t, nil
		}
		// The tid is another thread's now; the exit of the old one was missed.
		if err := b.dangle(t); err != nil {
			return nil, err
		}
	case gone:
		if (ev.SpanID == 0 || ev.SpanID == t.own) && !t.evicted {
			return t, nil
		}
	}
	return b.openThread(t, ev)
}

// openThread makes the thread of an event live and opens its span. t is what is
// known of its tid: its fork, a former thread, or nil.
func (b *Builder) openThread(t *thread, ev *event.Event) (*thread, error) {
	if err := b.makeRoom(nil); err != nil {
		return nil, err
	}
	if t == nil || b.tids[ev.TID] != t { // making room may have forgotten it
		t = b.newThread(ev.TID)
	}
	was := *t
	if t.state != fresh {
		b.lists[t.state].remove(t)
	}
	if t.state == gone {
		b.disown(t, t.own)
		b.disown(t, t.SpanID)
		*t = thread{}
		t.TID = ev.TID
	}
	// An id that was a span's already is no good for another.
	own := ev.SpanID
	if own == 0 && was.evicted {
		own = was.own
	}
	again := (was.evicted || was.state == forked) && was.own == own

	t.state = live
	b.lists[live].push(t)
	b.opened++
	t.seq = b.opened
	t.Kind = stream.SpanThread
	t.PID, t.said = ev.PID, ev.ParentSpanID
	t.StartKtimeNS, t.last = ev.KtimeNS, ev.KtimeNS
	t.losses = b.losses
	if ev.TID == b.mainTID || slices.Contains(b.targets, ev.TID) {
		t.target = was.state == fresh || b.policy.MainThreadStays
	}
	switch p := b.owns[ev.ParentSpanID]; {
	case t.target:
		b.hang(t, nil, &b.session)
		t.StartKtimeNS = b.session.StartKtimeNS
	case was.state == forked:
	case again:
		t.ParentSpanID, t.TraceID, t.parent, t.parentSeq = was.ParentSpanID, was.TraceID, was.parent, was.parentSeq
	case p != nil && ev.ParentSpanID != 0 && p != t:
		b.hang(t, p, &p.open)
	default:
		b.hang(t, nil, &b.session)
	}

	t.SpanID = own
	if o := b.owns[own]; own == 0 || again || o != nil && o != t {
		// It has no id, or one that is a span's already.
		hi, lo := halves(b.session.TraceID)
		t.SpanID = ID(hi^threadSalt, lo, uint64(ev.TID), ev.KtimeNS)
	}
	b.setOwn(t, own)
	if c := comm(ev); len(c) > 0 {
		t.Name = b.names.string(c)
	} else {
		t.Name = "tid=" + strconv.FormatUint(uint64(ev.TID), 10)
	}
	b.recent = t
	b.n++
	return t, b.w.SpanOpen(&t.Span)
}

// hang puts t under a span of the thread p, or of the session when p is nil.
func (b *Builder) hang(t, p *thread, span *open) {
	t.ParentSpanID, t.TraceID = span.SpanID, span.TraceID
	t.parent, t.parentSeq = p, 0
	if p != nil {
		t.parentSeq = p.seq
	}
}

// adopt puts an open thread, whose parent was not known before, under a span of
// p, unless that would change its trace or could make a circle.
func (b *Builder) adopt(t, p *thread, span *open) {
	if span.TraceID != t.TraceID {
		return
	}
	a := p
	for range b.max.walk {
		if a == t {
			return
		}
		if a.parent == nil {
			b.hang(t, p, span)
			return
		}
		if a.parent.seq != a.parentSeq {
			return // forgotten
		}
		a = a.parent
	}
}

// adoptLate is for a thread that came before the one its events name as parent.
func (b *Builder) adoptLate(t *thread) {
	if t.said == 0 || t.target || t.ParentSpanID != b.session.SpanID {
		return
	}
	if p := b.owns[t.said]; p != nil {
		b.adopt(t, p, &p.open)
	}
}

// forked remembers where the child that t makes will hang.
func (b *Builder) forked(t *thread, ev *event.Event) error {
	tid := uint32(ev.Get("child_tid").Num)
	if tid == 0 {
		tid = uint32(ev.Get("child_pid").Num)
	}
	if tid == 0 || tid == t.TID {
		return nil
	}
	id := ev.Get("child_span_id").Num
	c := b.tids[tid]
	if c != nil && c.state != forked {
		if c.StartKtimeNS >= ev.KtimeNS || c.state == live && id != 0 && id == c.own {
			// The child's events overtook its fork.
			if c.state == live && !c.target {
				b.adopt(c, t, t.innermost())
			}
			return nil
		}
		if c.state == live { // the exit of the tid's old thread was missed
			if err := b.dangle(c); err != nil {
				return err
			}
		}
	}
	var used uint64
	if c != nil {
		used = c.own
		b.forget(c)
	}
	c = b.newThread(tid)
	c.state, c.own = forked, used
	b.hang(c, t, t.innermost())
	b.lists[forked].push(c)
	if l := &b.lists[forked]; l.n > b.max.forked {
		b.forget(l.first)
	}
	return nil
}

// moveThread is for an exec by another thread than its process's first: all
// other threads have ended, and it goes on under the first one's tid.
func (b *Builder) moveThread(old uint32, ev *event.Event) error {
	t := b.tids[old]
	if t == nil || t.state == gone {
		return nil
	}
	if first := b.tids[ev.TID]; first != nil {
		if first.state == live { // its exit was missed
			if err := b.dangle(first); err != nil {
				return err
			}
		}
		if t.state == forked {
			t.own = first.own
		}
		b.forget(first)
	}
	if b.tids[old] != t {
		return nil // it fell out of a list just now
	}
	delete(b.tids, old)
	b.tids[ev.TID] = t
	t.TID = ev.TID
	if t.state == live && ev.SpanID != 0 {
		b.setOwn(t, ev.SpanID)
	}
	return nil
}

// openMethod opens the span of a span_start and returns the id of the span that
// the event belongs to.
func (b *Builder) openMethod(t *thread, ev *event.Event) (uint64, error) {
	name, file, source := ev.Get("name").Text, ev.Get("file").Text, ev.Get("source").Text
	text := len(name) + len(file) + len(source)
	full := t.methods+1 >= b.max.perThread || b.text+text > b.max.text
	if !full {
		if err := b.makeRoom(t); err != nil {
			return 0, err
		}
		full = b.n >= b.max.open
	}
	up := t.innermost()
	if full || t.over > 0 {
		b.Stats.NotOpened++
		t.over++
		t.overNames |= nameBit(name)
		return up.SpanID, nil
	}
	hi, lo := halves(ev.TraceID)
	id := ID(hi, lo, uint64(ev.TID), ev.KtimeNS)
	if t.lastMethod != 0 && ev.KtimeNS == t.lastStart {
		id = max(1, Mix64(t.lastMethod)) // no two spans have one id
	}
	t.lastStart, t.lastMethod = ev.KtimeNS, id

	m := b.freeMethods
	if m != nil {
		b.freeMethods = m.below
	} else {
		m = new(method)
	}
	*m = method{
		below: t.top,
		open: open{losses: b.losses, Span: stream.Span{
			SpanID:       id,
			ParentSpanID: up.SpanID,
			TraceID:      up.TraceID,
			Kind:         stream.SpanMethod,
			Source:       b.names.string(source),
			Name:         b.names.string(name),
			PID:          ev.PID,
			TID:          ev.TID,
			StartKtimeNS: ev.KtimeNS,
			File:         b.names.string(file),
			Line:         max(0, int64(ev.Get("line").Num)),
			Dangling:     true, // until its stop comes
		}},
	}
	if b.perMethod && up == &t.open && t.TraceID == b.session.TraceID {
		m.TraceID = TraceID(hi, lo, uint64(ev.TID), id)
		m.ParentSpanID = 0
		m.LinkTraceID, m.LinkSpanID = up.TraceID, up.SpanID
	}
	if m.Name == "" {
		m.Name = "<anonymous>"
	}
	t.top = m
	t.methods++
	b.n++
	b.text += textOf(m)
	return id, b.w.SpanOpen(&m.Span)
}

func textOf(m *method) int { return len(m.Name) + len(m.File) + len(m.Source) }

// stopped finds the span that a span_stop closes, or nil.
func (b *Builder) stopped(t *thread, ev *event.Event) *method {
	name := ev.Get("name").Text
	if t.over > 0 && (len(name) == 0 || t.overNames&nameBit(name) != 0) {
		if t.over--; t.over == 0 {
			t.overNames = 0
		}
		return nil
	}
	m := t.top
	for m != nil && len(name) > 0 && string(name) != m.Name {
		m = m.below
	}
	if m == nil {
		b.Stats.UnknownStops++
		return nil
	}
	t.over, t.overNames = 0, 0 // they were above it
	return m
}

// closeMethods closes the method spans of t from the innermost to last, or all
// of them when last is nil.
func (b *Builder) closeMethods(t *thread, last *method, end uint64) error {
	for m := t.top; m != nil; m = t.top {
		t.top = m.below
		t.methods--
		b.text -= textOf(m)
		err := b.write(&m.open, end)
		m.below, b.freeMethods = b.freeMethods, m
		if err != nil || m == last {
			return err
		}
	}
	return nil
}

// end closes the methods and the span of a thread, and remembers it for a while
// to know its late events.
func (b *Builder) end(t *thread, methods, end uint64) error {
	b.adoptLate(t)
	err := b.closeMethods(t, nil, methods)
	if werr := b.write(&t.open, max(end, t.last)); err == nil {
		err = werr
	}
	t.over, t.overNames = 0, 0
	b.lists[live].remove(t)
	t.state = gone
	b.lists[gone].push(t)
	if l := &b.lists[gone]; l.n > b.max.gone {
		b.forget(l.first)
	}
	return err
}

// dangle ends a thread whose exit was not seen.
func (b *Builder) dangle(t *thread) error {
	t.Dangling = true
	return b.end(t, t.last, t.last)
}

// makeRoom ends the threads that were silent for longest until one more span
// may be open. It spares keep, and the first threads of the targets while there
// are others.
func (b *Builder) makeRoom(keep *thread) error {
	l := &b.lists[live]
	for spared := 0; b.n >= b.max.open && l.n > 0; {
		t := l.first
		if t == keep || t.target && spared <= len(b.targets) {
			if t == keep && l.n == 1 {
				break
			}
			l.touch(t)
			spared++
			continue
		}
		b.Stats.Evicted += uint64(1 + t.methods)
		t.evicted = true
		if err := b.dangle(t); err != nil {
			return err
		}
	}
	return nil
}

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
	b.tids[tid] = t
	return t
}

// setOwn sets the span id that is in the thread's events; 0 is none.
func (b *Builder) setOwn(t *thread, id uint64) {
	if t.own != t.SpanID { // that one stays its
		b.disown(t, t.own)
	}
	t.own = id
	if o := b.owns[id]; id != 0 && (o == nil || o.state != live) {
		b.owns[id] = t
	}
}

func (b *Builder) disown(t *thread, id uint64) {
	if b.owns[id] == t {
		delete(b.owns, id)
	}
}

// forget gives the memory of a thread back.
func (b *Builder) forget(t *thread) {
	b.disown(t, t.own)
	b.disown(t, t.SpanID)
	if b.tids[t.TID] == t {
		delete(b.tids, t.TID)
	}
	b.lists[t.state].remove(t)
	if b.recent == t {
		b.recent = nil
	}
	t.next, b.freeThreads = b.freeThreads, t
}
