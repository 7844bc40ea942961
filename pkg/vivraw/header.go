package vivraw

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// header is the JSON line of a capture.
type header struct {
	line       []byte // without its newline
	observer   uint64
	mainTID    uint64
	start      uint64 // ktime, ns
	stop       uint64 // ktime, ns
	hasStop    bool
	startUnix  int64 // ns
	stopUnix   int64 // ns
	count      uint64
	hasCount   bool
	countBegin int // where its text lies in line
	countEnd   int
}

// parseHeader checks the JSON line in the order of vivarium, with the same messages.
func parseHeader(line []byte) (h header, err error) {
	bad := func(format string, args ...any) (header, error) {
		return h, stream.FormatErrorf("invalid vivarium-raw capture: "+format, args...)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	values := map[string]json.RawMessage{}
	if !json.Valid(line) {
		return bad("header is not valid JSON: %v", json.Unmarshal(line, &values))
	}
	// Key by key, to get the position of event_count. If a key occurs twice, the last
	// one counts.
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return bad("missing JSON object header")
	}
	for d.More() {
		t, err := d.Token()
		key, _ := t.(string)
		var v json.RawMessage
		if err == nil {
			err = d.Decode(&v)
		}
		if err != nil {
			return bad("header is not valid JSON: %v", err)
		}
		values[key] = v
		if key == "event_count" {
			h.countEnd = int(d.InputOffset())
			h.countBegin = h.countEnd - len(v)
		}
	}
	isNull := func(key string) bool { v := string(values[key]); return v == "" || v == "null" }
	var format string
	if json.Unmarshal(values["format"], &format) != nil || format != formatName {
		shown := string(values["format"])
		if isNull("format") {
			shown = "nil"
		}
		return bad("format=%s (expected %q)", shown, formatName)
	}
	version := values["version"]
	if size := values["event_struct_size"]; !isNull("event_struct_size") && string(size) != "false" {
		if !isNumber(size, recordSize) {
			return bad("event_struct_size=%s (expected %d); incompatible capture (likely an older vivarium-raw v1 file)", size, recordSize)
		}
	} else if isNull("version") {
		return bad("no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)")
	}
	if !isNull("version") && !isNumber(version, formatVersion) {
		return bad("version=%s (expected %d); vivarium 0.6.0 writes it", version, formatVersion)
	}
	for _, f := range []struct {
		key string
		to  *uint64
		has *bool
		max uint64
	}{
		{"observer_pid", &h.observer, nil, math.MaxUint32},
		{"main_tid", &h.mainTID, nil, math.MaxUint32},
		{"session_start_ktime", &h.start, nil, math.MaxUint64},
		{"session_stop_ktime", &h.stop, &h.hasStop, math.MaxUint64},
		{"event_count", &h.count, &h.hasCount, math.MaxUint64},
	} {
		if isNull(f.key) {
			continue
		}
		n, ok := toUint(values[f.key])
		if !ok || n > f.max {
			return bad("%s=%s (expected a whole number up to %d)", f.key, values[f.key], f.max)
		}
		*f.to = n
		if f.has != nil {
			*f.has = true
		}
	}
	for key, to := range map[string]*int64{"session_start_iso": &h.startUnix, "session_stop_iso": &h.stopUnix} {
		if isNull(key) {
			continue
		}
		var iso string
		if json.Unmarshal(values[key], &iso) != nil {
			return bad("%s=%s (expected a time as text)", key, values[key])
		}
		if t, err := time.Parse(time.RFC3339Nano, iso); err == nil { // vivarium: else 0
			*to = t.UnixNano()
		}
	}
	h.line = bytes.Clone(line)
	return h, nil
}

func isNumber(v json.RawMessage, want float64) bool {
	f, err := strconv.ParseFloat(string(v), 64)
	return err == nil && f == want
}

// toUint converts a whole number, also if it is written as 7.0 or 7e3.
func toUint(v json.RawMessage) (uint64, bool) {
	s := string(v)
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f >= 1<<64 || f != math.Trunc(f) {
		return 0, false
	}
	return uint64(f), true
}

// policy returns the Policy of a session with this JSON line. It ignores invalid values.
func policy(line []byte) stream.Policy {
	p := stream.Policy{Text: AppendText, Name: event.AppendSafe, Command: "ruby", MainThreadStays: true, LossAtPreviousEvent: true}
	var values map[string]json.RawMessage
	if json.Unmarshal(line, &values) != nil {
		return p
	}
	p.MethodsEndKtimeNS, _ = strconv.ParseUint(string(values["session_stop_ktime"]), 10, 64)
	p.Times = &stream.Times{
		StartISO:   asText(values["session_start_iso"]),
		StartKtime: asText(values["session_start_ktime"]),
		StopISO:    asText(values["session_stop_iso"]),
		StopKtime:  asText(values["session_stop_ktime"]),
		DurationNS: number(values["session_stop_ktime"]) - number(values["session_start_ktime"]),
	}
	return p
}

// asText returns a value as vivarium prints it.
func asText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil { // null becomes an empty text
		return s
	}
	return string(v)
}

func number(v json.RawMessage) int64 {
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(string(v), 64) // no number: 0
	return int64(f)
}
