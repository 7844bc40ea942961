// Package filter thins a stream: it decides which events of it are shown,
// which spans they are shown in, and copies the rest untouched.
package filter

import (
	"bytes"
	"regexp"
	"regexp/syntax"

	"vivarium/pkg/event"
)

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

// Pattern is a text to look for, or a regular expression.
type Pattern struct {
	literal []byte
	match   func([]byte) bool // nil: literal
}

// Literal matches what contains s.
func Literal(s string) Pattern { return Pattern{literal: []byte(s)} }

// Expression compiles a regular expression (RE2). One that is nothing but a
// text is searched for as one, which is much faster.
func Expression(s string) (Pattern, error) {
	// Not by LiteralPrefix: that one says of ^x as well that x is all of it.
	if p, err := syntax.Parse(s, syntax.Perl); err == nil && p.Op == syntax.OpLiteral && p.Flags&syntax.FoldCase == 0 {
		return Literal(string(p.Rune)), nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{match: re.Match}, nil
}

// Match says whether b holds what the pattern describes.
func (p Pattern) Match(b []byte) bool {
	if p.match != nil {
		return p.match(b)
	}
	return bytes.Contains(b, p.literal)
}

// Patterns match what one of them matches.
type Patterns []Pattern

// Match says whether one of the patterns matches b.
func (ps Patterns) Match(b []byte) bool {
	for _, p := range ps {
		if p.Match(b) {
			return true
		}
	}
	return false
}

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

// defaultPath keeps the opens that a reviewer looks at: by their text, in which
// the path is quoted. It is \A"?/(?:home|root|etc|proc)(?:/|"|\z), by hand
// because it is tested on most events of most streams.
func defaultPath(text []byte) bool {
	text = bytes.TrimPrefix(text, []byte{'"'})
	if len(text) == 0 || text[0] != '/' {
		return false
	}
	dir := text[1:]
	if end := bytes.IndexAny(dir, `/"`); end >= 0 {
		dir = dir[:end]
	}
	switch string(dir) {
	case "home", "root", "etc", "proc":
		return true
	}
	return false
}

// Default is vivarium's default filter: what matters for a security review.
func Default() *Rules {
	of := func(ids ...event.ID) Names {
		n := make(Names, len(ids))
		for _, id := range ids {
			n[event.Kinds[id].Name] = struct{}{}
		}
		return n
	}
	return &Rules{
		Include: of(event.ProcFork, event.ProcExec, event.SpanStart, event.SpanStop,
			event.PathOpen, event.SockConnect, event.DNSReq, event.OddSocket, event.SSLWrite,
			event.Dlopen, event.MmapExec, event.TaskKill, event.SetidChange,
			event.CapableCheck, event.BprmCreds),
		Payload: map[string]Patterns{
			event.Kinds[event.PathOpen].Name: {{match: defaultPath}},
		},
	}
}
