package stream

import (
	"encoding/binary"
	"io"

	"vivarium/pkg/event"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

const writeSize = 64 << 10

// Writer writes a stream. It gathers 64 KiB of whole records before it writes;
// a filter calls Flush when its Reader has nothing pending.
//
// Text is written as str when it is UTF-8, else as bin. After an error every
// method returns it again.
//
// The zero Writer only gathers: Bytes returns what it was given.
type Writer struct {
	w   io.Writer // nil: only gather
	b   []byte
	err error
}

// Bytes returns what was written since the last Reset, if w only gathers (it is
// no NewWriter's). It is valid until the next Reset.
func (w *Writer) Bytes() []byte { return w.b }

// Reset forgets what w, which only gathers, was given.
func (w *Writer) Reset() { w.b = w.b[:0] }

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, b: make([]byte, 0, writeSize+4<<10)} }

// Flush writes what was gathered.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.b) > 0 {
		_, w.err = w.w.Write(w.b)
	}
	w.b = w.b[:0]
	if cap(w.b) > 16*writeSize { // a giant record came by
		w.b = make([]byte, 0, writeSize+4<<10)
	}
	return w.err
}

// done takes the buffer back with a record appended.
func (w *Writer) done(b []byte) error {
	w.b = b
	if len(b) >= writeSize && w.w != nil {
		return w.Flush()
	}
	return w.err
}

// Raw writes a record as it is. b must be one whole record.
func (w *Writer) Raw(b []byte) error { return w.done(append(w.b, b...)) }

// keys appends the keys of one record to b and counts them.
type keys struct {
	b    []byte
	head int // where the record begins
	n    int
}

// begin starts a record with a map header for up to 65,535 keys, so that the
// number of keys can be filled in behind them.
func (w *Writer) begin(typ string) keys {
	k := keys{b: append(w.b, msgpcode.Map16, 0, 0), head: len(w.b)}
	k.text("type", typ)
	return k
}

func (w *Writer) finish(k *keys) error {
	k.b[k.head+1], k.b[k.head+2] = byte(k.n>>8), byte(k.n)
	return w.done(k.b)
}

// key appends a key of at most 31 bytes.
func (k *keys) key(key string) {
	k.n++
	k.b = append(append(k.b, msgpcode.FixedStrLow|byte(len(key))), key...)
}

func (k *keys) uint(key string, v uint64) { k.key(key); k.b = appendUint(k.b, v) }
func (k *keys) int(key string, v int64)   { k.key(key); k.b = appendInt(k.b, v) }
func (k *keys) id(key string, v uint64)   { k.key(key); k.b = appendID(k.b, v) }
func (k *keys) text(key, v string)        { k.key(key); k.b = appendText(k.b, v) }
func (k *keys) bytes(key string, v []byte) {
	k.key(key)
	k.b = appendText(k.b, v)
}
func (k *keys) traceID(v *[16]byte) { k.key("trace_id"); k.b = appendBin(k.b, v[:]) }

// textIf and setIf write a key only when there is something to say.
func (k *keys) textIf(key, v string) {
	if v != "" {
		k.text(key, v)
	}
}

func (k *keys) uintIf(key string, v uint64) {
	if v != 0 {
		k.uint(key, v)
	}
}

func (k *keys) setIf(key string, v bool) {
	if v {
		k.key(key)
		k.b = appendBool(k.b, true)
	}
}

func (k *keys) textsIf(key string, m map[string]string) {
	if len(m) > 0 {
		k.key(key)
		k.b = appendTexts(k.b, m)
	}
}

// The keys that every event has, around its name and its comm.
const (
	eventKeys = 11
	eventA    = "\xde\x00\x00" + "\xa4type\xa5event" + "\xa5event"
	eventB    = "\xa8ktime_ns\xcf\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\xa3pid\xce\x00\x00\x00\x00" + "\xa3tid\xce\x00\x00\x00\x00" +
		"\xa3uid\xce\x00\x00\x00\x00" + "\xa3gid\xce\x00\x00\x00\x00" + "\xa4comm"
	eventC = "\xa8trace_id\xc4\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\xa7span_id\xcf\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\xaeparent_span_id\xcf\x00\x00\x00\x00\x00\x00\x00\x00"
)

// Event writes an event record. Kind names it, or Name when Kind is nil. Own
// fields with Type None, and the flags and texts behind them that are zero,
// are left out. extra are keys that only the event's Format knows.
func (w *Writer) Event(ev *event.Event, extra ...Set) error {
	// The keys that every event has are copied with room for their values, which
	// have fixed widths: this is the price of every event that is recorded.
	k := keys{b: w.b, head: len(w.b), n: eventKeys}
	k.b = append(k.b, eventA...)
	if ev.Kind != nil {
		k.b = appendText(k.b, ev.Kind.Name)
	} else {
		k.b = appendText(k.b, ev.Name)
	}
	k.b = append(k.b, eventB...)
	v := k.b[len(k.b)-len(eventB):]
	binary.BigEndian.PutUint64(v[10:], ev.KtimeNS)
	binary.BigEndian.PutUint32(v[23:], ev.PID)
	binary.BigEndian.PutUint32(v[32:], ev.TID)
	binary.BigEndian.PutUint32(v[41:], ev.UID)
	binary.BigEndian.PutUint32(v[50:], ev.GID)
	k.b = appendText(k.b, ev.Comm)
	k.b = append(k.b, eventC...)
	v = k.b[len(k.b)-len(eventC):]
	copy(v[11:], ev.TraceID[:])
	binary.BigEndian.PutUint64(v[36:], ev.SpanID)
	binary.BigEndian.PutUint64(v[60:], ev.ParentSpanID)
	own := false // an own field is called `error`
	if ev.Kind != nil {
		for i := range ev.Kind.Fields {
			f, v := &ev.Kind.Fields[i], &ev.Fields[i]
			if v.Type == event.None {
				continue
			}
			k.key(f.Name)
			k.b = appendValue(k.b, v)
			own = own || f.Name == "error"
		}
	}
	if len(ev.Error) > 0 && !own {
		k.bytes("error", ev.Error)
	}
	k.setIf("truncated", ev.Truncated)
	if ev.OutcomeUnknown {
		k.text("outcome", "unknown")
	}
	k.setIf("hidden", ev.Hidden)
	if ev.ThreadSpanID != 0 {
		k.id("thread_span_id", ev.ThreadSpanID)
	}
	if ev.Origin != nil {
		k.key(keyEventOrigin)
		k.b = appendBin(k.b, ev.Origin)
	}
	for i := range extra {
		k.set(&extra[i])
	}
	return w.finish(&k)
}

func appendValue(b []byte, v *event.Value) []byte {
	switch v.Type {
	case event.Uint:
		return appendUint(b, v.Num)
	case event.Int:
		return appendInt(b, int64(v.Num))
	case event.Bool:
		return appendBool(b, v.Num != 0)
	case event.Text:
		return appendText(b, v.Text)
	}
	b = appendArray(b, len(v.List))
	for _, t := range v.List {
		b = appendText(b, t)
	}
	return b
}

// Session writes a session record. What is zero or empty is left out, but for
// the version, the clock and `masked`.
func (w *Writer) Session(s *Session) error {
	k := w.begin("session")
	k.text("format", "viv")
	k.uint("version", s.Version)
	k.int("start_unix_ns", s.StartUnixNS)
	k.uint("start_ktime_ns", s.StartKtimeNS)
	if s.TraceID != [16]byte{} {
		k.traceID(&s.TraceID)
	}
	if s.ParentSpanID != 0 {
		k.id("parent_span_id", s.ParentSpanID)
	}
	if len(s.Targets) > 0 {
		k.key("targets")
		k.b = appendArray(k.b, len(s.Targets))
		for _, pid := range s.Targets {
			k.b = appendUint(k.b, uint64(pid))
		}
	}
	k.uintIf("main_tid", uint64(s.MainTID))
	k.uintIf("observer_pid", uint64(s.ObserverPID))
	if len(s.Command) > 0 {
		k.key("command")
		k.b = appendArray(k.b, len(s.Command))
		for _, arg := range s.Command {
			k.b = appendText(k.b, arg)
		}
	}
	if len(s.Processes) > 0 {
		k.key("processes")
		k.b = appendArray(k.b, len(s.Processes))
		for _, p := range s.Processes {
			k.b = appendMap(k.b, 3)
			k.b = appendUint(appendText(k.b, "pid"), uint64(p.PID))
			k.b = appendText(appendText(k.b, "path"), p.Path)
			k.b = appendArray(appendText(k.b, "argv"), len(p.Argv))
			for _, arg := range p.Argv {
				k.b = appendText(k.b, arg)
			}
		}
	}
	if h := s.Host; h != (Host{}) {
		k.key("host")
		k.b = appendMap(k.b, 5)
		for _, kv := range [...][2]string{
			{"name", h.Name}, {"os", h.OS}, {"kernel", h.Kernel}, {"arch", h.Arch}, {"boot_id", h.BootID},
		} {
			k.b = appendText(appendText(k.b, kv[0]), kv[1])
		}
	}
	k.textsIf("hooks", s.Hooks)
	k.textsIf("missing", s.Missing)
	k.key("masked")
	k.b = appendBool(k.b, s.Masked)
	k.textIf("probe_version", s.ProbeVersion)
	if s.Origin != nil {
		k.bytes(keySessionOrigin, s.Origin)
	}
	return w.finish(&k)
}

// Lost writes a lost record.
func (w *Writer) Lost(l *Lost) error {
	k := w.begin("lost")
	k.uint("ktime_ns", l.KtimeNS)
	k.uint("count", l.Count)
	k.text("cause", l.Cause)
	return w.finish(&k)
}

// Clock writes a clock record.
func (w *Writer) Clock(c *Clock) error {
	k := w.begin("clock")
	k.int("unix_ns", c.UnixNS)
	k.uint("ktime_ns", c.KtimeNS)
	return w.finish(&k)
}

// SpanOpen writes a span_open record: s without its last four fields.
func (w *Writer) SpanOpen(s *Span) error {
	k := w.begin("span_open")
	k.span(s)
	return w.finish(&k)
}

// Span writes a span record.
func (w *Writer) Span(s *Span) error {
	k := w.begin("span")
	k.span(s)
	k.uint("end_ktime_ns", s.EndKtimeNS)
	k.setIf("dangling", s.Dangling)
	k.setIf("raised", s.Raised)
	k.setIf("lossy", s.Lossy)
	return w.finish(&k)
}

func (k *keys) span(s *Span) {
	k.id("span_id", s.SpanID)
	k.id("parent_span_id", s.ParentSpanID)
	k.traceID(&s.TraceID)
	k.text("kind", string(s.Kind))
	k.textIf("source", s.Source)
	k.text("name", s.Name)
	k.uint("pid", uint64(s.PID))
	k.uint("tid", uint64(s.TID))
	k.uint("start_ktime_ns", s.StartKtimeNS)
	k.textIf("file", s.File)
	if s.Line != 0 {
		k.int("line", s.Line)
	}
	if s.LinkSpanID != 0 {
		k.key("link_trace_id")
		k.b = appendBin(k.b, s.LinkTraceID[:])
		k.id("link_span_id", s.LinkSpanID)
	}
}

// End writes an end record.
func (w *Writer) End(e *End) error {
	k := w.begin("end")
	k.int("stop_unix_ns", e.StopUnixNS)
	k.uint("stop_ktime_ns", e.StopKtimeNS)
	k.uint("events", e.Events)
	k.uint("lost", e.Lost)
	k.text("reason", e.Reason)
	if e.HasExit {
		k.int("exit_code", e.ExitCode)
	}
	k.uintIf("alive", e.Alive)
	k.setIf("cut", e.Cut)
	if len(e.Origin) > 0 {
		k.key(keyEndOrigin)
		k.b = appendBin(k.b, e.Origin)
	}
	return w.finish(&k)
}

// Set says what Splice does to one key.
type Set struct {
	key  string
	op   op
	num  uint64
	text []byte
}

type op uint8

const (
	opUint op = iota // of 64 bits
	opShortUint
	opBool
	opBytes
	opText
	opUnset
)

// SetUint sets key, of at most 31 bytes, to an unsigned integer of 64 bits.
func SetUint(key string, v uint64) Set { return Set{key: key, op: opUint, num: v} }

// SetShortUint sets key, of at most 31 bytes, to an unsigned integer that takes
// no more bytes than it needs.
func SetShortUint(key string, v uint64) Set { return Set{key: key, op: opShortUint, num: v} }

// SetBytes sets key, of at most 31 bytes, to bytes that are no text.
func SetBytes(key string, v []byte) Set { return Set{key: key, op: opBytes, text: v} }

// SetBool sets key, of at most 31 bytes, to true or false.
func SetBool(key string, v bool) Set {
	s := Set{key: key, op: opBool}
	if v {
		s.num = 1
	}
	return s
}

// SetText sets key, of at most 31 bytes, to a text.
func SetText(key string, v []byte) Set { return Set{key: key, op: opText, text: v} }

// Unset removes key.
func Unset(key string) Set { return Set{key: key, op: opUnset} }

// Splice writes rec with some keys changed: a key that is there gets its new
// value at its old place, a new one goes to the end, and everything else is
// copied byte for byte. The keys of set differ.
func (w *Writer) Splice(rec *Record, set ...Set) error {
	k := keys{b: append(w.b, msgpcode.Map16, 0, 0), head: len(w.b)}
	var done uint64    // bit i: set[i] is written
	var lengths uint64 // bit i: a key of set has i bytes; spares most comparisons
	for i := range set {
		lengths |= 1 << len(set[i].key)
	}
	from := rec.header
	for i := range rec.pairs {
		p := &rec.pairs[i]
		key := rec.Raw[p.text:p.value]
		if lengths>>len(key)&1 == 0 {
			k.n++
			continue
		}
		j := 0
		for j < len(set) && set[j].key != string(key) {
			j++
		}
		if j == len(set) {
			k.n++
			continue
		}
		k.b = append(k.b, rec.Raw[from:rec.begin(i)]...)
		from = int(p.end)
		if bit := uint64(1) << j; done&bit == 0 {
			done |= bit
			k.set(&set[j])
		}
	}
	k.b = append(k.b, rec.Raw[from:]...)
	for j := range set {
		if done&(1<<j) == 0 {
			k.set(&set[j])
		}
	}
	return w.finish(&k)
}

// begin is where the i-th pair begins.
func (rec *Record) begin(i int) int {
	if i == 0 {
		return rec.header
	}
	return int(rec.pairs[i-1].end)
}

func (k *keys) set(s *Set) {
	if s.op == opUnset {
		return
	}
	k.key(s.key)
	switch s.op {
	case opUint:
		k.b = appendID(k.b, s.num)
	case opShortUint:
		k.b = appendUint(k.b, s.num)
	case opBytes:
		k.b = appendBin(k.b, s.text)
	case opBool:
		k.b = appendBool(k.b, s.num != 0)
	case opText:
		k.b = appendText(k.b, s.text)
	}
}
