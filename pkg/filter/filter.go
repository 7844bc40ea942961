// Package filter thins a stream: it decides which events of it are shown,
// which spans they are shown in, and copies the rest untouched.
package filter

import (
	"errors"
	"hash/maphash"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
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
	outside   []byte // text of an event of another root, as it is outside of that
	paths     []byte // in it
	seen      map[[2]uint64]struct{}
	seeds     [2]maphash.Seed
	spans     map[uint64]spanState
	closed    []uint64 // ring of the closed spans in spans
	oldest    int      // in closed, when it is full
	forgotten bool     // closed spans were forgotten
	root      uint64   // the session's span; 0: none seen
	lost      bool     // the last record but spans was a loss
	policy    stream.Policy
}

// place is where in the pipeline the session that is read stands.
type place uint8

const (
	undecided place = iota // neither event nor span was seen
	before                 // before viv-spans
	after
)

// New returns a Filter.
func New(sel Selection) *Filter {
	f := &Filter{sel: sel, useSpans: sel.spans()}
	f.noSpan = f.spanShown([]byte(NoSpan))
	if sel.Dedup {
		f.seen = make(map[[2]uint64]struct{})
		f.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	}
	if f.useSpans {
		f.spans = make(map[uint64]spanState)
	}
	return f
}

// Apply says whether rec stays and which of its keys change. The changes are
// valid until the next call. The only error is ErrNoSpans.
func (f *Filter) Apply(rec *stream.Record) (keep bool, set []stream.Set, err error) {
	switch rec.Type {
	case stream.TypeEvent:
		return f.event(rec)
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
	host := spanState{anchor: ev.SpanID, shown: true}
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
func (f *Filter) needed(ev *event.Event, host spanState) bool {
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
		if ps := r.patterns(ev.Name); ps != nil && !ps.Match(f.textOf(ev)) && !f.matchesOutside(ps, ev) {
			return false
		}
	}
	return f.seen == nil || !f.repeated(ev)
}

// matchesOutside matches the text of an event whose thread has another root than
// viv-probe once more, with its paths as they are outside: /shadow of a root in
// /etc is /etc/shadow.
func (f *Filter) matchesOutside(ps Patterns, ev *event.Event) bool {
	if len(ev.Root) == 0 || ev.Root[0] != '/' || ev.Kind == nil {
		return false
	}
	outside := *ev
	f.paths = f.paths[:0]
	for i := range ev.Kind.Fields {
		v := &outside.Fields[i]
		switch ev.Kind.Fields[i].Name {
		case "path", "old_path":
			if len(v.Text) > 0 && v.Text[0] == '/' {
				at := len(f.paths)
				f.paths = append(append(f.paths, ev.Root...), v.Text...)
				v.Text = f.paths[at:]
			}
		}
	}
	f.outside = f.policy.AppendText(f.outside[:0], &outside)
	return ps.Match(f.outside)
}

func (f *Filter) textOf(ev *event.Event) []byte {
	if len(f.text) == 0 {
		f.text = f.policy.AppendText(f.text, ev)
	}
	return f.text
}
