package filter

// Rules is a set of conditions. An event is shown if it meets all of them. A
// condition that is not set allows every event, so the zero Rules show all.
type Rules struct {
	Include    Names // event names; empty: all
	Exclude    Names // event names; overrides Include
	Severities Names // empty: all
	PIDs, TIDs Numbers
	SpanNames  Names    // names of the span around the event; either these
	Spans      Patterns // or these must allow it
	// Payload are patterns for the text of an event, by event name. Events of
	// other names are tested with Payloads.
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

// needsSpans reports whether a condition depends on the span around an event.
func (r *Rules) needsSpans() bool { return len(r.SpanNames) > 0 || len(r.Spans) > 0 }

// allowsSpan reports whether events inside a span of this name may be shown.
func (r *Rules) allowsSpan(name []byte) bool {
	return !r.needsSpans() || r.SpanNames.has(name) || r.Spans.Match(name)
}

// matchesFields tests the conditions that do not need the text of the event.
func (r *Rules) matchesFields(name []byte, severity string, pid, tid uint32) bool {
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

// patterns returns the patterns for events of this name; nil: none.
func (r *Rules) patterns(name []byte) Patterns {
	if p, ok := r.Payload[string(name)]; ok {
		return p
	}
	return r.Payloads
}
