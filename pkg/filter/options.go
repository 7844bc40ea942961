package filter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vivarium/pkg/event"
)

// Options is what a command line says. The zero Options are the default filter.
type Options struct {
	All        bool     // no default filter, nor Events, nor JSON
	Events     []string // each a list with commas; blank ones are as if not given
	Exclude    []string // as Events
	Severities []string // as Events
	PIDs, TIDs []string // as Events, numbers
	Span       []string // regular expressions; one must match
	Payload    []string // regular expressions, or NAME=EXPRESSION for the events of a known name
	Depth      *int64   // overrules JSON's
	JSON       *string  // a vivarium filter object; wins over Events
	Dedup      bool
	Encoding   bool // an encoding was asked for: no default filter
	NoSpans    bool // and it is one that has no spans
}

// Selection is what the options select. JSON wins over Events, and All over
// both; all else narrows what they leave. What it warns of are names that this
// version does not know and that may be misspelt. Its error is a usage error of
// one line.
func (o *Options) Selection() (sel Selection, warnings []string, err error) {
	var narrow Rules
	if narrow.Exclude, err = split("--exclude", o.Exclude); err != nil {
		return sel, nil, err
	}
	if narrow.Severities, err = split("--severity", o.Severities); err != nil {
		return sel, nil, err
	}
	for s := range narrow.Severities {
		if s != event.Medium.String() && s != event.High.String() {
			return sel, nil, fmt.Errorf("--severity %q: must be medium or high", s)
		}
	}
	if narrow.PIDs, err = splitNumbers("--pid", o.PIDs); err != nil {
		return sel, nil, err
	}
	if narrow.TIDs, err = splitNumbers("--tid", o.TIDs); err != nil {
		return sel, nil, err
	}
	for _, s := range o.Span {
		p, err := Expression(s)
		if err != nil {
			return sel, nil, fmt.Errorf("--span: %w", err)
		}
		narrow.Spans = append(narrow.Spans, p)
	}
	for _, s := range o.Payload {
		name, expr, named := strings.Cut(s, "=")
		if named = named && event.Lookup([]byte(name)) != nil; !named {
			expr = s
		}
		p, err := Expression(expr)
		if err != nil {
			return sel, nil, fmt.Errorf("--payload: %w", err)
		}
		if !named {
			narrow.Payloads = append(narrow.Payloads, p)
			continue
		}
		if narrow.Payload == nil {
			narrow.Payload = make(map[string]Patterns)
		}
		narrow.Payload[name] = append(narrow.Payload[name], p)
	}
	include := names(splitAll(o.Events)...)
	warnings = append(unknown("--event", include), unknown("--exclude", narrow.Exclude)...)

	narrows := len(o.Exclude) > 0 || len(o.Severities) > 0 || len(o.PIDs) > 0 || len(o.TIDs) > 0 ||
		len(o.Span) > 0 || len(o.Payload) > 0
	var base *Rules
	switch {
	case o.All:
	case o.JSON != nil:
		j, err := ParseJSON(*o.JSON)
		if err != nil {
			return sel, nil, fmt.Errorf("--filter: %w", err)
		}
		base = &j.Rules
		sel.Depth, sel.Dedup = j.Depth, j.Dedup
		include = base.Include
		warnings = append(unknown("--filter", base.Include), unknown("--filter", base.Exclude)...)
	case len(include) > 0:
		base = &Rules{Include: include}
	case !narrows && !o.Encoding:
		base = Default()
	}
	if base != nil {
		sel.Rules = append(sel.Rules, base)
		for _, id := range []event.ID{event.SpanStart, event.SpanStop} {
			if _, ok := include[event.Kinds[id].Name]; ok {
				sel.Methods = true
			}
		}
	}
	if narrows {
		sel.Rules = append(sel.Rules, &narrow)
	}
	if o.Depth != nil {
		sel.Depth = Depth(*o.Depth)
	}
	sel.Dedup = sel.Dedup || o.Dedup
	sel.Rebuild = o.NoSpans
	return sel, warnings, nil
}

// splitAll splits lists with commas, and drops blanks around and between.
func splitAll(lists []string) []string {
	var out []string
	for _, l := range lists {
		for s := range strings.SplitSeq(l, ",") {
			if s = trim(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

// split is for options where nothing would mean everything: there, a list
// without an entry is an error.
func split(option string, lists []string) (Names, error) {
	if len(lists) == 0 {
		return nil, nil
	}
	all := splitAll(lists)
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: the list is empty", option)
	}
	return names(all...), nil
}

func splitNumbers(option string, lists []string) (Numbers, error) {
	all, err := split(option, lists)
	if err != nil || all == nil {
		return nil, err
	}
	n := make(Numbers, len(all))
	for s := range all {
		i, err := ParseInt(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		n[i] = struct{}{}
	}
	return n, nil
}

// unknown warns of names of events that this version does not know.
func unknown(option string, set Names) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if event.Lookup([]byte(name)) == nil {
			out = append(out, fmt.Sprintf("%s: unknown event %q; viv-probe --check lists the events", option, name))
		}
	}
	return out
}
