package filter

// NoSpan is the name that an event outside every method is filtered by.
const NoSpan = "<no-span>"

// Anonymous is the name that a method without a name is filtered by.
const Anonymous = "<anonymous>"

// Rules is one set of conditions. An event is shown when it meets all of them;
// a condition that is not set is met by every event. The zero Rules show all.
type Rules struct {
	Include    Names // event names; empty: all
	Exclude    Names // event names; wins over Include
	Severities Names // empty: all
	PIDs, TIDs Numbers
	SpanNames  Names    // names of the span around the event; either this
	Spans      Patterns // or these must allow it
	// Payload are patterns of an event's text, by event name. An event that
	// is not named here is tested with Payloads.
	Payload  map[string]Patterns
	Payloads Patterns
}

// Names is a set of texts.
type Names map[string]struct{}

func (n Names) has(b []byte) bool { _, ok := n[string(b)]; return ok }

func names(list ...string) Names {
	n := make(Names, len(list))
	for _, s := range list {
		n[s] = struct{}{}
	}
	return n
}

// Numbers is a set of process or thread ids.
type Numbers map[int64]struct{}

func (n Numbers) has(v uint32) bool { _, ok := n[int64(v)]; return ok }

// spanRule says whether anything depends on the span around an event.
func (r *Rules) spanRule() bool { return len(r.SpanNames) > 0 || len(r.Spans) > 0 }

// span says whether events inside a span of this name may be shown.
func (r *Rules) span(name []byte) bool {
	return !r.spanRule() || r.SpanNames.has(name) || r.Spans.Match(name)
}

// head tests what needs no text.
func (r *Rules) head(name []byte, severity string, pid, tid uint32) bool {
	if r.Exclude.has(name) {
		return false
	}
	if len(r.Include) > 0 && !r.Include.has(name) {
		return false
	}
	if len(r.Severities) > 0 {
		if _, ok := r.Severities[severity]; !ok {
			return false
		}
	}
	return (len(r.PIDs) == 0 || r.PIDs.has(pid)) && (len(r.TIDs) == 0 || r.TIDs.has(tid))
}

// patterns returns those that an event of this name must meet, nil for none.
func (r *Rules) patterns(name []byte) Patterns {
	if p, ok := r.Payload[string(name)]; ok {
		return p
	}
	return r.Payloads
}
