package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Object is a decoded vivarium filter object.
type Object struct {
	Rules Rules
	Depth int  // greatest depth of method spans that are kept, 1 is outermost; 0: no limit
	Dedup bool // show a repeated value only once
}

// ParseJSON decodes vivarium's filter object. Its errors are usage errors of one
// line that name the key. As in vivarium, unknown keys are ignored. If a rule has
// several keys, the first one in the object counts, even if it is null. Texts are
// searched literally.
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
		return nil, errors.New("not valid JSON: text follows the object")
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
	j.Dedup = isTrue(dedup)
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
