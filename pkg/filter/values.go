package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// This file reads the values of a filter object as vivarium, a Ruby program, does.

// trim takes off what Ruby's strip does.
func trim(s string) string { return strings.Trim(s, "\x00\t\n\v\f\r ") }

// list is v as Ruby's Array() sees it.
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

// texts is v as a list of trimmed texts without empty ones. What is neither a
// text nor a plain value stays as JSON: it matches nothing, but it is a rule.
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
			b, _ := json.Marshal(e) // of what Unmarshal made: cannot fail
			s = string(b)
		}
		if s = trim(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// numbers is v as a set of integers, nil when there is no rule. vivarium drops
// what it cannot read, and so shows everything where a list holds nothing
// else; here that is an error.
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
			i, err := whole(e)
			if err != nil {
				return nil, err
			}
			n[i] = struct{}{}
		default:
			return nil, fmt.Errorf("wants whole numbers, not %s", typeName(e))
		}
	}
	if len(n) == 0 {
		return nil, errors.New("the list holds no number")
	}
	return n, nil
}

// depthOf is the deepest span that stays; 0, for all, also where v is no number.
func depthOf(v any) (int, error) {
	var i int64
	var err error
	switch v := v.(type) {
	case string:
		if trim(v) != "" {
			i, err = ParseInt(v)
		}
	case json.Number:
		i, err = whole(v)
	}
	return Depth(i), err
}

// literal is v as a text to look for, nil for none.
func literal(v any) Patterns {
	if s, ok := v.(string); ok && s != "" {
		return Patterns{Literal(s)}
	}
	return nil
}

// truth is v as vivarium reads a switch.
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case json.Number:
		f, _ := v.Float64() // what is out of range is infinite, so not 0
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
