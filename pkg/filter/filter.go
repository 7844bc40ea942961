// Package filter selects the events of a stream that are shown, and the spans that
// they are shown in. It copies all other records unchanged.
package filter

import (
	"errors"
	"hash/maphash"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// ErrNoSpans is the error for a rule about spans if the stream has no spans: it
// did not go through viv-spans.
var ErrNoSpans = errors.New("the stream has no spans yet")

// Selection describes which events a Filter shows.
type Selection struct {
	Rules []*Rules // an event is shown if all of them allow it; empty: all events
	Depth int      // greatest depth of method spans that are kept, 1 is outermost in its thread; 0: no limit
	Dedup bool     // show only the first of equal opens, mappings, dlopens and environment accesses in a session
	// Methods makes span_start and span_stop count as matches. Otherwise they do
	// not, because no program shows them as events.
	Methods bool
	// Rebuild is for an output format without spans: spans will be rebuilt from
	// the events that are kept, without the excluded spans.
	Rebuild bool
}

// needsSpans reports whether the selection depends on the stream's spans.
func (s *Selection) needsSpans() bool {
	for _, r := range s.Rules {
		if r.needsSpans() {
			return true
		}
	}
	return s.Depth > 0
}

// Filter decides for each record of one stream whether it is kept. Use it in one
// goroutine.
//
// An event that is not selected is removed, unless later programs need it to draw
// the rest correctly. Then it is kept and marked hidden:
//   - before viv-spans, the events that spans are built from;
//   - after viv-spans, forks and execs, and the start and stop of an outermost
//     method whose span is removed: they divide the time outside methods;
//   - the event after a lost record, because it shows the thread of the loss.
//
// If a method span is removed, its children and events move to the nearest ancestor
// that is kept. Spans of threads and of the session are kept, and so are all records
// that are neither events nor spans.
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
	closed    []uint64 // ring buffer of the closed spans in spans
	oldest    int      // index in closed, when it is full
	forgotten bool     // closed spans were removed from spans
	root      uint64   // id of the session's span; 0: not read yet
	lost      bool     // the last record that is no span was a loss
	dropped   uint64   // events of the session that were removed
	policy    stream.Policy
}

// place tells whether the session that is read has gone through viv-spans.
type place uint8

const (
	undecided place = iota // neither event nor span was read yet
	before                 // before viv-spans
	after
)

// New returns a Filter for one stream.
func New(sel Selection) *Filter {
	f := &Filter{sel: sel, useSpans: sel.needsSpans()}
	f.noSpan = f.spanShown([]byte(stream.NoSpan))
	if sel.Dedup {
		f.seen = make(map[[2]uint64]struct{})
		f.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	}
	if f.useSpans {
		f.spans = make(map[uint64]spanState)
	}
	return f
}

// Apply returns whether rec is kept, and the changes to its keys, which are valid
// until the next call. The only error is ErrNoSpans.
func (f *Filter) Apply(rec *stream.Record) (keep bool, set []stream.Set, err error) {
	switch rec.Type {
	case stream.TypeEvent:
		keep, set, err = f.event(rec)
		if !keep {
			f.dropped++
		}
		return keep, set, err
	case stream.TypeEnd:
		// A wrong number stays wrong, so that the next reader reports it.
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
		s, _ := rec.Session() // the Reader has checked it
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
	if err != nil { // it cannot be decoded
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
	if moved && f.sel.Rebuild && isMethod(ev) {
		return false, nil, nil // else their span would be rebuilt
	}
	if ev.Hidden || !host.shown || !f.shows(ev) {
		if !lost && !f.needed(ev, host) {
			return false, nil, nil
		}
		if !ev.Hidden {
			set = append(set, stream.SetBool("hidden", true))
		}
	} else if f.sel.Methods || !isMethod(ev) {
		f.Stats.Matched++
	}
	if moved {
		set = append(set, stream.SetUint("span_id", host.anchor))
	}
	return true, set, nil
}

// needed reports whether later programs need an event that is not shown.
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
	return isMethod(ev) && (rebuild || host.depth == 1 && host.anchor != ev.SpanID)
}

func isMethod(ev *event.Event) bool { return ev.Is(event.SpanStart) || ev.Is(event.SpanStop) }

// shows tests all conditions except those about the span around the event.
func (f *Filter) shows(ev *event.Event) bool {
	f.text = f.text[:0]
	for _, r := range f.sel.Rules {
		if !r.matchesFields(ev.Name, ev.Severity().String(), ev.PID, ev.TID) {
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
