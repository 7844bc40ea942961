package stream

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/httpsummary"
)

// A vivarium-raw v2 capture is one line of JSON and then records of 352 bytes,
// little-endian.
const (
	rawSize    = 352
	rawHead    = 56 // numbers, then
	rawNames   = 32 // comm and event name of 16 bytes each, then
	rawPayload = 256
	rawDropped = rawHead + rawNames + rawPayload // the number of events lost in front of this one
	rawVersion = 2
	rawFormat  = "vivarium-raw"
	maxHeader  = maxRecord - 64<<10 // it has to fit into a session record
)

// Keys that the records of a capture have only when it could not be written
// again, byte for byte, without them.
const (
	keyArrival = "arrival"   // index of an event in a capture that was not sorted
	keyNames   = "raw_names" // comm and event name of an event with what lies behind their NUL
	keyTail    = "tail"      // of an end: the beginning of a record that was cut
)

// capture hands out the records that a capture becomes: a session with the JSON
// line, the events in order of (ktime, pid, tid), each with its payload and
// behind a lost record if events were lost in front of it, and the end.
type capture struct {
	header rawHeader
	data   []byte   // whole records, as they are in the capture
	order  []uint32 // of the events; nil: as they are
	tail   []byte   // what there is of a record that was cut
	cut    string   // how the capture was cut; empty: not

	step int // 0: session, then the events, then the end
	lost uint64
	gave bool // the lost record in front of the event was handed out
	tls  httpsummary.Decoder
	ev   event.Event
	raw  event.Raw // storage of derived texts
	text []byte    // a summary
	out  [2]Writer // by turns: the Reader holds two records
	turn int
}

// rawHeader is the JSON line.
type rawHeader struct {
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

// openCapture reads the capture at the Reader's position, all of it, since it
// has to be sorted. It takes what is there and believes no number in it.
func (r *Reader) openCapture() error {
	var c capture
	line, whole, err := r.line()
	if err == nil {
		c.header, err = parseHeader(line)
	}
	if err != nil {
		if _, malformed := err.(*FormatError); malformed && r.begun {
			err = incompletef("the stream is broken at byte %d: %v", r.off+int64(r.pos), err)
		}
		return err
	}
	r.pos += len(line)
	if whole {
		r.pos++
	}
	for !c.header.hasCount || uint64(len(c.data)/rawSize) < c.header.count {
		b := r.buf[r.pos:]
		if c.header.hasCount {
			if rest := (c.header.count-uint64(len(c.data)/rawSize))*rawSize - uint64(len(c.data)%rawSize); uint64(len(b)) > rest && c.header.count < 1<<32 {
				b = b[:rest]
			}
		}
		c.data = append(c.data, b...)
		r.pos += len(b)
		if len(b) > 0 {
			continue
		}
		if err := r.read(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	n := len(c.data) / rawSize
	switch {
	case !whole:
		c.cut = "inside its header"
	case c.header.hasCount && uint64(n) < c.header.count:
		c.cut = fmt.Sprintf("%d of %d records are there", n, c.header.count)
	case len(c.data)%rawSize != 0:
		c.cut = "inside a record"
	}
	c.data, c.tail = c.data[:n*rawSize], c.data[n*rawSize:]
	c.sort()
	r.capture = &c
	r.cutHow = c.cut
	return nil
}

// line returns the line at the Reader's position, and whether its newline is
// there. The newline is not part of it.
func (r *Reader) line() (line []byte, whole bool, err error) {
	seen := 0
	for {
		b := r.buf[r.pos:]
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			return b[:seen+i], true, nil
		}
		if seen = len(b); seen > maxHeader {
			return nil, false, formatErrorf("invalid vivarium-raw capture: its header is longer than 16 MiB")
		}
		if err := r.read(); err == io.EOF {
			return r.buf[r.pos:], false, nil
		} else if err != nil {
			return nil, false, err
		}
	}
}

// parseHeader checks the JSON line, in vivarium's order and words.
func parseHeader(line []byte) (h rawHeader, err error) {
	bad := func(format string, args ...any) (rawHeader, error) {
		return h, formatErrorf("invalid vivarium-raw capture: "+format, args...)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	values := map[string]json.RawMessage{}
	if !json.Valid(line) {
		return bad("header is not valid JSON: %v", json.Unmarshal(line, &values))
	}
	// Key by key, because the place of event_count is wanted. Of a key that is
	// there twice the last one counts.
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
	if json.Unmarshal(values["format"], &format) != nil || format != rawFormat {
		shown := string(values["format"])
		if isNull("format") {
			shown = "nil"
		}
		return bad("format=%s (expected %q)", shown, rawFormat)
	}
	version := values["version"]
	if size := values["event_struct_size"]; !isNull("event_struct_size") && string(size) != "false" {
		if !isNumber(size, rawSize) {
			return bad("event_struct_size=%s (expected %d); incompatible capture (likely an older vivarium-raw v1 file)", size, rawSize)
		}
	} else if isNull("version") {
		return bad("no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)")
	}
	if !isNull("version") && !isNumber(version, rawVersion) {
		return bad("version=%s (expected %d); vivarium 0.6.0 writes it", version, rawVersion)
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

// toUint takes 7 and also 7.0 and 7e3.
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

// rawKey is what captures are sorted by.
type rawKey struct {
	ktime    uint64
	pid, tid uint32
}

func keyOf(rec []byte) rawKey {
	le := binary.LittleEndian
	return rawKey{le.Uint64(rec), le.Uint32(rec[8:]), le.Uint32(rec[12:])}
}

func (k rawKey) compare(o rawKey) int {
	return cmp.Or(cmp.Compare(k.ktime, o.ktime), cmp.Compare(k.pid, o.pid), cmp.Compare(k.tid, o.tid))
}

func (c *capture) at(i int) []byte { return c.data[i*rawSize : (i+1)*rawSize] }

// sort sets order, unless the events are in order as they are.
func (c *capture) sort() {
	n := len(c.data) / rawSize
	sorted := true
	for i := 1; i < n && sorted; i++ {
		sorted = keyOf(c.at(i-1)).compare(keyOf(c.at(i))) <= 0
	}
	if sorted {
		return
	}
	c.order = make([]uint32, n) // 2^32 records would be 1.5 TB
	for i := range c.order {
		c.order[i] = uint32(i)
	}
	slices.SortStableFunc(c.order, func(a, b uint32) int { return keyOf(c.at(int(a))).compare(keyOf(c.at(int(b)))) })
}

// next returns the next record, valid until the call after the next one.
func (c *capture) next() ([]byte, error) {
	n := len(c.data) / rawSize
	c.turn = 1 - c.turn
	w := &c.out[c.turn]
	w.b = w.b[:0]
	switch {
	case c.step == 0:
		h := &c.header
		s := Session{
			Version: Version, StartUnixNS: h.startUnix, StartKtimeNS: h.start,
			ObserverPID: uint32(h.observer), MainTID: uint32(h.mainTID), Header: h.line,
		}
		if h.observer != 0 {
			s.Targets = []uint32{s.ObserverPID}
		}
		w.Session(&s)
	case c.step <= n:
		i := c.step - 1
		if c.order != nil {
			i = int(c.order[i])
		}
		if rec := c.at(i); !c.gave {
			if lost := binary.LittleEndian.Uint64(rec[rawDropped:]); lost > 0 {
				c.gave = true
				c.lost = saturate(c.lost, lost)
				w.Lost(&Lost{KtimeNS: keyOf(rec).ktime, Count: lost, Cause: "ring buffer full"})
				return w.b, nil
			}
		}
		c.gave = false
		c.event(w, i)
	case c.step == n+1:
		e := End{
			StopUnixNS: c.header.stopUnix, StopKtimeNS: c.header.stop, Events: uint64(n), Lost: c.lost,
			Reason: "capture", Cut: c.cut != "", Tail: c.tail,
		}
		if !c.header.hasStop {
			// As vivarium does: the last event's time.
			e.StopKtimeNS = max(c.header.start, c.ev.KtimeNS)
			if c.header.stopUnix == 0 {
				e.StopUnixNS = c.header.startUnix + int64(e.StopKtimeNS-c.header.start)
			}
		}
		w.End(&e)
	default:
		return nil, io.EOF
	}
	c.step++
	return w.b, nil
}

// event writes the i-th event.
func (c *capture) event(w *Writer, i int) {
	le := binary.LittleEndian
	rec, ev := c.at(i), &c.ev
	ev.Reset()
	ev.KtimeNS = le.Uint64(rec)
	ev.PID, ev.TID, ev.UID, ev.GID = le.Uint32(rec[8:]), le.Uint32(rec[12:]), le.Uint32(rec[16:]), le.Uint32(rec[20:])
	binary.BigEndian.PutUint64(ev.TraceID[:8], le.Uint64(rec[24:]))
	binary.BigEndian.PutUint64(ev.TraceID[8:], le.Uint64(rec[32:]))
	ev.SpanID, ev.ParentSpanID = le.Uint64(rec[40:]), le.Uint64(rec[48:])
	names := rec[rawHead:][:rawNames]
	ev.Comm, ev.Name = upToNUL(names[:16]), upToNUL(names[16:])
	ev.Payload = rec[rawHead+rawNames:][:rawPayload]
	if ev.Kind = event.Lookup(ev.Name); ev.Kind != nil {
		ev.Kind.Import(ev, ev.Payload)
		c.raw.Buf = c.raw.Buf[:0]
		ev.Derive(&c.raw)
		c.summary(ev)
	}
	k := w.eventKeys(ev)
	if c.order != nil {
		k.uint(keyArrival, uint64(i))
	}
	if !padded(names[:16], ev.Comm) || !padded(names[16:], ev.Name) {
		k.key(keyNames)
		k.b = appendBin(k.b, names)
	}
	w.finish(&k)
}

// summary says what was written to a TLS connection. The order of time counts:
// header compression has a state. A capture does not name the connection.
func (c *capture) summary(ev *event.Event) {
	if ev.Kind == &event.Kinds[event.SSLWrite] {
		length, data := ev.Get("len").Num, ev.Get("data").Text
		c.text = c.tls.AppendSummary(c.text[:0], ev.PID, 0, length, data)
		ev.Fields[event.SSLWriteSummary] = event.Value{Type: event.Text, Text: c.text}
	}
}

func upToNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// padded says whether slot is text and then nothing but NULs.
func padded(slot, text []byte) bool {
	return len(bytes.Trim(slot[len(text):], "\x00")) == 0
}

func saturate(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// RawWriter writes records as vivarium-raw v2 captures, one for each session.
// What came from a capture is written as it was there, byte for byte; of other
// events what the format can carry: texts are cut to its slots, and `error` and
// the records of viv-spans are left out.
//
// A capture begins with the number of its events, so a RawWriter keeps them, 352
// bytes each, until the next session or Close.
type RawWriter struct {
	w       io.Writer
	began   bool
	session Session
	end     End
	ended   bool
	events  []rawEvent
	data    []byte // the events' records
	lost    uint64 // events lost since the last event
}

type rawEvent struct {
	arrival uint64
	at      int // in data
}

// NewRawWriter returns a RawWriter to w.
func NewRawWriter(w io.Writer) *RawWriter { return &RawWriter{w: w} }

// Record takes a record of the stream.
func (w *RawWriter) Record(rec *Record) error {
	switch rec.Type {
	case TypeSession:
		if err := w.flush(); err != nil {
			return err
		}
		s, err := rec.Session()
		w.began, w.session = true, s
		return err
	case TypeEvent:
		return w.event(rec)
	case TypeLost:
		l, err := rec.Lost()
		w.lost = saturate(w.lost, l.Count)
		return err
	case TypeEnd:
		var err error
		w.end, err = rec.End()
		w.ended = true
		return err
	}
	return nil
}

func (w *RawWriter) event(rec *Record) error {
	ev, err := rec.Event()
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	b := w.data
	b = le.AppendUint64(b, ev.KtimeNS)
	for _, n := range []uint32{ev.PID, ev.TID, ev.UID, ev.GID} {
		b = le.AppendUint32(b, n)
	}
	b = le.AppendUint64(b, binary.BigEndian.Uint64(ev.TraceID[:8]))
	b = le.AppendUint64(b, binary.BigEndian.Uint64(ev.TraceID[8:]))
	id := ev.SpanID
	if _, ok := rec.find("thread_span_id"); ok { // viv-spans put another one into span_id
		id = ev.ThreadSpanID
	}
	b = le.AppendUint64(b, id)
	b = le.AppendUint64(b, ev.ParentSpanID)
	var slots [rawNames + rawPayload]byte
	copy(slots[:16], ev.Comm)
	copy(slots[16:rawNames], ev.Name)
	if p, ok := rec.find(keyNames); ok {
		t, _ := textOf(rec.value(p))
		copy(slots[:rawNames], t)
	}
	ev.Kind.Export(ev, slots[rawNames:])
	b = append(b, slots[:]...)
	b = le.AppendUint64(b, w.lost)
	w.lost = 0
	e := rawEvent{uint64(len(w.events)), len(w.data)}
	if p, ok := rec.find(keyArrival); ok {
		e.arrival, _ = uintOf(rec.value(p))
	}
	w.events = append(w.events, e)
	w.data = b
	return nil
}

// Close writes what is still to be written.
func (w *RawWriter) Close() error { return w.flush() }

func (w *RawWriter) flush() error {
	if !w.began {
		return nil
	}
	if n := len(w.data); w.lost > 0 && n > 0 {
		// Lost behind the last event. The format has no place for that, and the
		// number matters more than the place.
		last := w.data[n-8:]
		binary.LittleEndian.PutUint64(last, saturate(binary.LittleEndian.Uint64(last), w.lost))
	}
	byArrival := func(a, b rawEvent) int { return cmp.Compare(a.arrival, b.arrival) }
	if !slices.IsSortedFunc(w.events, byArrival) {
		sorted := make([]byte, 0, len(w.data))
		slices.SortStableFunc(w.events, byArrival)
		for _, e := range w.events {
			sorted = append(sorted, w.data[e.at:e.at+rawSize]...)
		}
		w.data = sorted
	}
	_, err := w.w.Write(append(w.header(), '\n'))
	if err == nil {
		_, err = w.w.Write(append(w.data, w.end.Tail...))
	}
	*w = RawWriter{w: w.w, events: w.events[:0], data: w.data[:0]}
	return err
}

// header is the JSON line: the one that the session came with, its event_count
// corrected if a filter took events away, or a new one.
func (w *RawWriter) header() []byte {
	n := uint64(len(w.events))
	s := &w.session
	if s.Header != nil {
		h, err := parseHeader(s.Header)
		if err != nil || !h.hasCount || h.count == n || !w.ended || w.end.Cut {
			return s.Header // of a capture that was cut it keeps saying so
		}
		return slices.Concat(s.Header[:h.countBegin], strconv.AppendUint(nil, n, 10), s.Header[h.countEnd:])
	}
	observer := s.ObserverPID
	if observer == 0 && len(s.Targets) > 0 {
		observer = s.Targets[0]
	}
	iso := func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }
	var b strings.Builder
	fmt.Fprintf(&b, `{"observer_pid":%d,"main_tid":%d,"session_start_iso":"%s","session_start_ktime":%d`,
		observer, cmp.Or(s.MainTID, observer), iso(s.StartUnixNS), s.StartKtimeNS)
	if w.ended {
		fmt.Fprintf(&b, `,"session_stop_iso":"%s","session_stop_ktime":%d`, iso(w.end.StopUnixNS), w.end.StopKtimeNS)
	}
	fmt.Fprintf(&b, `,"format":%q,"version":%d,"event_struct_size":%d,"event_count":%d}`, rawFormat, rawVersion, rawSize, n)
	return []byte(b.String())
}
