package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
)

// Object is what a vivarium filter object says.
type Object struct {
	Rules Rules
	Depth int  // deepest method span that stays, 1 is outermost; 0: all stay
	Dedup bool // show a repeated value only once
}

// ParseJSON reads vivarium's filter object. Its errors are usage errors, one
// line each, that name the key. As in vivarium unknown keys are ignored, of
// several names for one rule the first that is there counts even when it is
// null, and texts are looked for literally.
func ParseJSON(s string) (*Object, error) {
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("not valid JSON: something follows the object")
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf(`must be a JSON object like {"events":["path_open"]}, not %s`, typeName(v))
	}

	get := func(keys ...string) (any, string) {
		for _, k := range keys {
			if v, ok := obj[k]; ok {
				return v, k
			}
		}
		return nil, keys[0]
	}
	var j Object
	var err error
	set := func(keys ...string) Names {
		v, _ := get(keys...)
		return names(texts(v)...)
	}
	ids := func(keys ...string) Numbers {
		v, key := get(keys...)
		n, e := numbers(v)
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %w", key, e)
		}
		return n
	}
	r := &j.Rules
	r.Include = set("include_events", "event_names", "events")
	r.Exclude = set("exclude_events")
	r.Severities = set("include_severities", "severities", "severity")
	r.PIDs = ids("include_pids", "pids", "pid")
	r.TIDs = ids("include_tids", "tids", "tid")
	r.SpanNames = set("include_span_names", "span_names")
	span, _ := get("span", "span_pattern")
	r.Spans = literal(span)

	payload, _ := get("payload")
	pattern, _ := get("payload_pattern")
	r.Payloads = literal(pattern)
	if byEvent, ok := payload.(map[string]any); ok {
		for name, p := range byEvent {
			if ps := literal(p); ps != nil {
				if r.Payload == nil {
					r.Payload = make(map[string]Patterns)
				}
				r.Payload[trim(name)] = ps
			}
		}
	} else if r.Payloads == nil {
		r.Payloads = literal(payload)
	}

	depth, key := get("max_span_depth", "max_depth")
	if d, e := depthOf(depth); e != nil && err == nil {
		err = fmt.Errorf("%s: %w", key, e)
	} else {
		j.Depth = d
	}
	dedup, _ := get("dedup_values", "dedup")
	j.Dedup = truth(dedup)
	if err != nil {
		return nil, err
	}
	return &j, nil
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case string:
		return "a text"
	case []any:
		return "a list"
	}
	return "an object"
}

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

// whole is a JSON number that must be an integer; 100.0 is one.
func whole(n json.Number) (int64, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	if len(n) < 64 { // an exponent could make it arbitrarily long
		if f, err := n.Float64(); err == nil && f > -1e15 && f < 1e15 {
			if i, acc := big.NewFloat(f).Int64(); acc == big.Exact {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("%.40s is not a whole number in range", n)
}

// ParseInt reads a whole number as people write it: decimal, or with 0x, 0b or
// 0o in front, with single underscores between digits, and blanks around it. A
// leading 0 alone is refused: some read it as octal, some do not.
func ParseInt(s string) (int64, error) {
	t := trim(s)
	digits := strings.TrimLeft(t, "+-")
	if len(digits) > 1 && digits[0] == '0' && (digits[1] == '_' || digits[1] >= '0' && digits[1] <= '9') {
		return 0, fmt.Errorf("%.40q begins with 0: write it in decimal, or with 0o in front", t)
	}
	i, err := strconv.ParseInt(t, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a whole number", t)
	}
	return i, nil
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

// Depth brings a depth as a user gives it into the range of the filter: below
// 1 is no limit, and nothing is nested deeper than what fits into 31 bits.
func Depth(i int64) int {
	return int(min(max(i, 0), 1<<31-1))
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
