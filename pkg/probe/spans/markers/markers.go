// Package markers is the provider of the spans that a program marks itself, by
// asking for paths (docs/markers.md). pkg/probe/wire reads them.
package markers

import (
	"vivarium/pkg/event"
	"vivarium/pkg/probe/spans"
)

// Provider is the provider of all markers.
var Provider = spans.Kind{Name: "markers", Auto: true, New: func(string) (*spans.Provider, error) {
	from := []string{"markers"}
	return &spans.Provider{
		From:  map[event.ID][]string{event.SpanStart: from, event.SpanStop: from, event.SpanRaise: from},
		Hooks: []string{"marker_exit"},
	}, nil
}}

// Observe is the provider of what is done inside Vivarium.observe, a span that
// ruby/vivarium.rb marks: nothing else is recorded.
var Observe = spans.Kind{Name: "observe", New: func(string) (*spans.Provider, error) {
	return &spans.Provider{With: []string{"markers"}, Within: "Vivarium.observe"}, nil
}}
