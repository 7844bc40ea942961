package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// This file decodes the values of a filter object like vivarium, a Ruby program.

// trim removes the same characters as Ruby's strip.
func trim(s string) string { return strings.Trim(s, "\x00\t\n\v\f\r ") }

// list converts v like Ruby's Array().
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	case map[string]any:
		l := make([]any, 0, len(v))
		for k, e := range v {
			l = append(l, []any{k, e})
		}
		return l
	}
	return []any{v}
}

// texts returns v as a list of trimmed texts, without empty ones. A list or object
// in it becomes JSON text: it matches nothing, but it counts as a rule.
func texts(v any) []string {
	var out []string
	for _, e := range list(v) {
		var s string
		switch e := e.(type) {
		case nil:
		case string:
			s = e
		case json.Number:
			s = e.String()
		case bool:
			s = strconv.FormatBool(e)
		default:
			b, _ := json.Marshal(e) // cannot fail: Unmarshal made it
			s = string(b)
		}
		if s = trim(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// numbers returns v as a set of integers; nil: no rule. vivarium ignores elements
// that are no integers, and shows everything if a list has only such elements.
// Here they are an error.
func numbers(v any) (Numbers, error) {
	if v == nil {
		return nil, nil
	}
	n := make(Numbers)
	for _, e := range list(v) {
		switch e := e.(type) {
		case nil:
			continue
		case string:
			if trim(e) == "" {
				continue
			}
			i, err := ParseInt(e)
			if err != nil {
				return nil, err
			}
			n[i] = struct{}{}
		case json.Number:
			i, err := integer(e)
			if err != nil {
				return nil, err
			}
			n[i] = struct{}{}
		default:
			return nil, fmt.Errorf("must hold whole numbers, not %s", typeName(e))
		}
	}
	if len(n) == 0 {
		return nil, errors.New("must hold at least one whole number")
	}
	return n, nil
}

// depthOf returns the greatest depth of spans that are kept; 0: no limit, also if
// v is not a number.
func depthOf(v any) (int, error) {
	var i int64
	var err error
	switch v := v.(type) {
	case string:
		if trim(v) != "" {
			i, err = ParseInt(v)
		}
	case json.Number:
		i, err = integer(v)
	}
	return Depth(i), err
}

// literal returns v as a text to search for; nil: none.
func literal(v any) Patterns {
	if s, ok := v.(string); ok && s != "" {
		return Patterns{Literal(s)}
	}
	return nil
}

// isTrue returns v as vivarium interprets a switch.
func isTrue(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case json.Number:
		f, _ := v.Float64() // infinite if out of range
		return f != 0
	case string:
		switch strings.ToLower(trim(v)) {
		case "1", "true", "yes", "on":
			return true
		}
	case []any, map[string]any:
		return true
	}
	return false
}
