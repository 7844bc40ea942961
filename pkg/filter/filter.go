package filter

import (
	"errors"
	"hash/maphash"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// What a Filter remembers at most. It says in its Stats when that was not enough.
const (
	// MaxSpans is how many open spans it follows, only where a rule depends on
	// spans. viv-spans never has more than half as many open.
	MaxSpans = 1 << 17
	// maxClosed is how many closed spans it still knows: a child's first event
	// can come long after the method that made the child has ended.
	maxClosed = 1 << 16
	// MaxValues is how many distinct values of a session deduplication knows.
	MaxValues = 1 << 20
)

// ErrNoSpans says that a rule depends on spans and the stream has none yet.
var ErrNoSpans = errors.New("the stream has no spans yet")

// Selection is what a Filter shows.
type Selection struct {
	Rules []*Rules // an event is shown when all of them allow it; none: all events
	Depth int      // deepest method span that stays, 1 is outermost in its thread; 0: all stay
	Dedup bool     // of equal opens, mappings, dlopens and environment accesses show the first of a session
	// Methods makes span_start and span_stop count as matches, which they do
	// not otherwise, because nothing shows them as events.
	Methods bool
	// Rebuild is for a target that has no spans: they are to be rebuilt from
	// what is written, without those that were refused.
	Rebuild bool
}

// spans says whether something depends on the stream's spans.
func (s *Selection) spans() bool {
	for _, r := range s.Rules {
		if r.spanRule() {
			return true
		}
	}
	return s.Depth > 0
}

// Stats is what a Filter has counted.
type Stats struct {
	Matched  uint64 // events that are shown
	Repeats  uint64 // events that may be repeats and are shown, because MaxValues values were known
	Untraced uint64 // spans that are shown, because MaxSpans spans were open
}

// Report says with warn, in one line each, where memory was not enough.
func (s *Stats) Report(warn func(format string, args ...any)) {
	if s.Repeats > 0 {
		warn("%d events may be repeats and are shown: more than %d distinct values", s.Repeats, MaxValues)
	}
	if s.Untraced > 0 {
		warn("%d spans are shown although the selection may refuse them: more than %d were open", s.Untraced, MaxSpans)
	}
}

// Filter decides record by record what a stream keeps. It belongs to one
// stream and to one goroutine.
//
// An event that the selection refuses goes, but for those that later stages
// need to draw what is left in its place: they stay and are marked hidden.
// Before viv-spans these are the events that spans are rebuilt from; after it
// forks and execs, and where a method that no other method called was refused,
// its start and stop, which part the time outside methods. And always the event
// behind a loss, which says on which thread it happened.
//
// A refused method span goes, and what hangs under it moves up to the nearest
// span that stays; spans of threads and of the session stay. Everything that is
// neither event nor span stays.
type Filter struct {
	Stats Stats

	sel       Selection
	useSpans  bool
	noSpan    bool // events outside every method may be shown
	place     place
	set       [3]stream.Set
	text      []byte
	seen      map[[2]uint64]struct{}
	seeds     [2]maphash.Seed
	spans     map[uint64]known
	closed    []uint64 // ring of the closed spans in spans
	oldest    int      // in closed, when it is full
	forgotten bool     // closed spans were forgotten
	root      uint64   // the session's span; 0: none seen
	lost      bool     // the last record but spans was a loss
	dropped   uint64   // events of the session that do not stay
	policy    stream.Policy
}

// place is where in the pipeline the session that is read stands.
type place uint8

const (
	undecided place = iota // neither event nor span was seen
	before                 // before viv-spans
	after
)

// known is what is known of a span of the stream.
type known struct {
	anchor uint64 // the span that stands for it: itself or the nearest ancestor that stays; 0: none
	pid    uint32
	depth  int32 // of a method within its thread, 1 is outermost; 0: no method
	shown  bool  // its events may be shown
	proc   bool  // events of its process outside every method may be shown
}

// New returns a Filter.
func New(sel Selection) *Filter {
	f := &Filter{sel: sel, useSpans: sel.spans()}
	f.noSpan = f.named([]byte(NoSpan))
	if sel.Dedup {
		f.seen = make(map[[2]uint64]struct{})
		f.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	}
	if f.useSpans {
		f.spans = make(map[uint64]known)
	}
	return f
}

// Apply says whether rec stays and which of its keys change. The changes are
// valid until the next call. The only error is ErrNoSpans.
func (f *Filter) Apply(rec *stream.Record) (keep bool, set []stream.Set, err error) {
	switch rec.Type {
	case stream.TypeEvent:
		keep, set, err = f.event(rec)
		if !keep {
			f.dropped++
		}
		return keep, set, err
	case stream.TypeEnd:
		// What was wrong with the number stays so, for the next reader to see.
		if n, ok := rec.Uint("events"); ok && f.dropped > 0 && n >= f.dropped {
			return true, append(f.set[:0], stream.SetShortUint("events", n-f.dropped)), nil
		}
	case stream.TypeSpanOpen, stream.TypeSpan:
		f.place = after
		if f.useSpans {
			keep, set = f.span(rec)
			return keep, set, nil
		}
	case stream.TypeLost:
		f.lost = true
	case stream.TypeSession:
		f.place = undecided
		f.lost = false
		f.dropped = 0
		f.root = 0
		s, _ := rec.Session() // the Reader has looked at it
		f.policy = s.Policy
		f.forgotten = false
		clear(f.seen)
		clear(f.spans)
		f.closed, f.oldest = f.closed[:0], 0
	}
	return true, nil, nil
}

func (f *Filter) event(rec *stream.Record) (keep bool, set []stream.Set, err error) {
	ev, err := rec.Event()
	if err != nil { // it is no event after all
		return true, nil, nil
	}
	if f.place == undecided {
		f.place = after
		if ev.ThreadSpanID == 0 {
			f.place = before
		}
	}
	if f.place == before && f.useSpans {
		return false, nil, ErrNoSpans
	}
	lost := f.lost
	f.lost = false
	set = f.set[:0]
	host := known{anchor: ev.SpanID, shown: true}
	if f.useSpans {
		host = f.lookup(ev.SpanID)
		if host.anchor == 0 {
			host.anchor = ev.ThreadSpanID
		}
	}
	moved := host.anchor != ev.SpanID
	if moved && f.sel.Rebuild && isMethod(ev.Kind) {
		return false, nil, nil // or their span would be rebuilt
	}
	if ev.Hidden || !host.shown || !f.shows(ev) {
		if !lost && !f.needed(ev, host) {
			return false, nil, nil
		}
		if !ev.Hidden {
			set = append(set, stream.SetBool("hidden", true))
		}
	} else if f.sel.Methods || !isMethod(ev.Kind) {
		f.Stats.Matched++
	}
	if moved {
		set = append(set, stream.SetUint("span_id", host.anchor))
	}
	return true, set, nil
}

// needed says whether later stages cannot do without an event that is not shown.
func (f *Filter) needed(ev *event.Event, host known) bool {
	rebuild := f.place == before || f.sel.Rebuild
	switch ev.Kind {
	case &event.Kinds[event.ProcFork]:
		return true
	case &event.Kinds[event.ProcExec]:
		return rebuild || len(ev.Error) == 0
	case &event.Kinds[event.ProcExit], &event.Kinds[event.SpanRaise]:
		return rebuild
	}
	return isMethod(ev.Kind) && (rebuild || host.depth == 1 && host.anchor != ev.SpanID)
}

func isMethod(k *event.Kind) bool {
	return k == &event.Kinds[event.SpanStart] || k == &event.Kinds[event.SpanStop]
}

// shows tests all but the span around the event.
func (f *Filter) shows(ev *event.Event) bool {
	f.text = f.text[:0]
	for _, r := range f.sel.Rules {
		if !r.head(ev.Name, ev.Severity().String(), ev.PID, ev.TID) {
			return false
		}
		if ps := r.patterns(ev.Name); ps != nil && !ps.Match(f.textOf(ev)) {
			return false
		}
	}
	return f.seen == nil || !f.repeated(ev)
}

func (f *Filter) textOf(ev *event.Event) []byte {
	if len(f.text) == 0 {
		f.text = f.policy.AppendText(f.text, ev)
	}
	return f.text
}

// repeated says whether an event of a kind that is shown once was there before.
// Of each value it keeps 128 bits of hashes with secret seeds: no two of them
// are equal by chance.
func (f *Filter) repeated(ev *event.Event) bool {
	var id event.ID
	switch ev.Kind {
	case &event.Kinds[event.PathOpen]:
		id = event.PathOpen
	case &event.Kinds[event.MmapExec]:
		id = event.MmapExec
	case &event.Kinds[event.Dlopen]:
		id = event.Dlopen
	case &event.Kinds[event.EnvCaccess]:
		id = event.EnvCaccess
	default:
		return false
	}
	text := f.textOf(ev)
	key := [2]uint64{maphash.Bytes(f.seeds[0], text) + uint64(id), maphash.Bytes(f.seeds[1], text)}
	if _, ok := f.seen[key]; ok {
		return true
	}
	if len(f.seen) >= MaxValues {
		f.Stats.Repeats++
		return false
	}
	f.seen[key] = struct{}{}
	return false
}

// named says whether events in a span of that name may be shown.
func (f *Filter) named(name []byte) bool {
	for _, r := range f.sel.Rules {
		if !r.span(name) {
			return false
		}
	}
	return true
}

// lookup returns what is known of a span; for an unknown one that it stands for
// itself.
func (f *Filter) lookup(id uint64) known {
	if s, ok := f.spans[id]; ok {
		return s
	}
	open := f.Stats.Untraced > 0 // then it may be one of those
	return known{anchor: id, shown: f.noSpan || open, proc: f.noSpan || open}
}

// span decides about a span_open or a span record.
func (f *Filter) span(rec *stream.Record) (keep bool, set []stream.Set) {
	s, err := rec.Span()
	if err != nil {
		return true, nil
	}
	sp, ok := f.spans[s.SpanID]
	switch {
	case ok && rec.Type == stream.TypeSpan:
	case len(f.spans)-len(f.closed) < MaxSpans && (rec.Type == stream.TypeSpanOpen || f.Stats.Untraced == 0):
		sp = f.opened(&s)
		f.spans[s.SpanID] = sp
	default: // shown, because its events cannot be recognised
		sp.anchor = s.SpanID
		if rec.Type == stream.TypeSpanOpen {
			f.Stats.Untraced++
		}
	}
	if rec.Type == stream.TypeSpan {
		f.close(s.SpanID)
	}
	if sp.anchor != s.SpanID {
		return false, nil
	}
	parent := s.ParentSpanID
	if p, ok := f.spans[parent]; ok {
		parent = p.anchor
	} else if f.forgotten && parent != 0 && s.Kind != stream.SpanSession && f.root != 0 {
		parent = f.root // it may have been a span that went
	}
	if parent == s.ParentSpanID {
		return true, nil
	}
	return true, append(f.set[:0], stream.SetUint("parent_span_id", parent))
}

// opened decides about a span by its parent, its kind and its name.
func (f *Filter) opened(s *stream.Span) known {
	sp := known{anchor: s.SpanID, pid: s.PID, shown: f.noSpan, proc: f.noSpan}
	up := s.ParentSpanID
	if up == 0 {
		up = s.LinkSpanID // of a method that begins a trace of its own
	}
	parent, ok := f.spans[up]
	switch {
	case s.Kind == stream.SpanSession:
		f.root = s.SpanID
	case s.Kind == stream.SpanMethod:
		if ok {
			sp.proc = parent.proc
		}
		sp.depth = parent.depth + 1
		if f.sel.Depth > 0 && int(sp.depth) > f.sel.Depth {
			sp.anchor, sp.shown = parent.anchor, parent.shown
			break
		}
		name := s.Name
		if name == "" {
			name = Anonymous
		}
		if sp.shown = f.named([]byte(name)); !sp.shown {
			sp.anchor = f.lookup(s.ParentSpanID).anchor
		}
	case !ok || up == f.root:
		// A target's own thread: outside its methods it is in no span.
	case parent.pid == s.PID:
		// So is a thread, unless its whole process is inside a span.
		sp.shown, sp.proc = parent.proc, parent.proc
	default:
		// A child process hangs under its fork: the span around that hosts
		// what it does outside methods of its own.
		sp.shown, sp.proc = parent.shown, parent.shown
	}
	return sp
}

// close remembers that a span is closed, and forgets one that was closed long ago.
func (f *Filter) close(id uint64) {
	if _, ok := f.spans[id]; !ok {
		return
	}
	if len(f.closed) < maxClosed {
		f.closed = append(f.closed, id)
		return
	}
	delete(f.spans, f.closed[f.oldest])
	f.closed[f.oldest] = id
	f.oldest = (f.oldest + 1) % maxClosed
	f.forgotten = true
}
