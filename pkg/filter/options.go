package filter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vivarium/pkg/event"
)

// Options are the options of the command line. The zero value selects the default
// filter.
type Options struct {
	All        bool     // all events: ignore the default filter, Events and JSON
	Events     []string // each is a comma-separated list; blank lists are ignored
	Exclude    []string // comma-separated lists
	Severities []string // comma-separated lists
	PIDs, TIDs []string // comma-separated lists of numbers
	Span       []string // regular expressions; one must match
	Payload    []string // regular expressions, or EVENT=EXPRESSION for one kind of event
	Depth      *int64   // overrides the depth in JSON; nil: not given
	JSON       *string  // a vivarium filter object; overrides Events; nil: not given
	Dedup      bool
	Encoding   bool // an output encoding was requested: no default filter
	NoSpans    bool // that encoding has no spans
}

// Selection returns the selection that the options describe. JSON overrides Events,
// and All overrides both. The other options restrict the result further. The
// warnings are about unknown event names, which may be misspelt. The error is a
// usage error of one line.
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

// splitAll splits comma-separated lists, and drops blanks and empty elements.
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

// split is splitAll for options where an empty list would select everything: it
// returns an error for a list without elements.
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

// unknown returns warnings about event names that are not in the catalogue.
func unknown(option string, set Names) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if event.Lookup([]byte(name)) == nil {
			out = append(out, fmt.Sprintf("%s: unknown event %q; viv-probe --check lists the events", option, name))
		}
	}
	return out
}
