package stream

import (
	"bytes"
	"fmt"

	"vivarium/pkg/event"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Record is one record of a stream: its bytes, and where its keys lie in them.
//
// Its methods decode it. A key that is missing, or whose value has another type
// than DESIGN.md gives it, leaves its field zero; of a key that is there twice
// the last one counts. Integers may have any width, text may be str or bin.
type Record struct {
	Type Type
	// Raw is the whole record. Like everything that a Record gives out without
	// copying, it is valid until the Reader's next Next.
	Raw []byte

	header  int // length of the map's header
	pairs   []pair
	ev      event.Event
	formats []Format // of its Reader
}

// pair is where a key and its value lie in Raw. The key's text ends where the
// value begins, the next pair begins where the value ends.
type pair struct{ text, value, end uint32 }

func (rec *Record) key(p pair) []byte   { return rec.Raw[p.text:p.value] }
func (rec *Record) value(p pair) []byte { return rec.Raw[p.value:p.end] }

// find returns the last pair with that key.
func (rec *Record) find(key string) (p pair, ok bool) {
	for i := len(rec.pairs) - 1; i >= 0; i-- {
		if string(rec.key(rec.pairs[i])) == key {
			return rec.pairs[i], true
		}
	}
	return pair{}, false
}

// Uint returns the unsigned integer under a key, for keys that only the format
// knows that wrote them. ok says whether it is there.
func (rec *Record) Uint(key string) (n uint64, ok bool) {
	p, ok := rec.find(key)
	if !ok {
		return 0, false
	}
	return uintOf(rec.value(p))
}

// Bytes returns the text or the bytes under a key, as Uint does.
func (rec *Record) Bytes(key string) (b []byte, ok bool) {
	p, ok := rec.find(key)
	if !ok {
		return nil, false
	}
	return textOf(rec.value(p))
}

// parse makes rec the record at the beginning of b.
func (rec *Record) parse(b []byte) error {
	p, n, err := item(b, 0)
	if err != nil {
		return err
	}
	n /= 2
	rec.Type, rec.header, rec.pairs = Unknown, p, rec.pairs[:0]
	for ; n > 0; n-- {
		var kv pair
		if p < len(b) && msgpcode.IsFixedString(b[p]) {
			kv.text = uint32(p + 1)
			p += 1 + int(b[p]&msgpcode.FixedStrMask)
		} else {
			begin := p
			if p, err = skip(b, p); err != nil {
				return err
			}
			if t, ok := textOf(b[begin:p]); ok {
				kv.text = uint32(p - len(t))
			} else {
				kv.text = uint32(p) // no text, so nobody asks for it
			}
		}
		kv.value = uint32(p)
		if p >= len(b) {
			return errShort
		}
		if size := sizes[b[p]]; size != 0 {
			p += int(size)
		} else if p, err = skip(b, p); err != nil {
			return err
		}
		if p > len(b) {
			return errShort
		}
		kv.end = uint32(p)
		if p > MaxRecord {
			return errTooLong
		}
		if len(rec.pairs) == maxKeys {
			return errKeys
		}
		rec.pairs = append(rec.pairs, kv)
		if kv.value-kv.text == 4 && string(b[kv.text:kv.value]) == "type" {
			if t, ok := textOf(b[kv.value:kv.end]); ok {
				rec.Type = typeOf(t)
			}
		}
	}
	rec.Raw = b[:p:p]
	return nil
}

func typeOf(name []byte) Type {
	switch string(name) {
	case "event":
		return TypeEvent
	case "span":
		return TypeSpan
	case "span_open":
		return TypeSpanOpen
	case "lost":
		return TypeLost
	case "clock":
		return TypeClock
	case "session":
		return TypeSession
	case "end":
		return TypeEnd
	}
	return Unknown
}

// is returns an error when rec is not of one of these types.
func (rec *Record) is(types ...Type) error {
	for _, t := range types {
		if rec.Type == t {
			return nil
		}
	}
	return fmt.Errorf("decode record: it has another type (%d)", rec.Type)
}

// Event decodes an event record. The Event and everything in it belong to rec
// and are overwritten by the next record. An event of an unknown kind has its
// name and the keys that all events share, and no own fields.
func (rec *Record) Event() (*event.Event, error) {
	ev := &rec.ev
	if rec.Type != TypeEvent {
		return nil, rec.is(TypeEvent)
	}
	ev.Reset()
	if p, ok := rec.find("event"); ok {
		ev.Name, _ = textOf(rec.value(p))
		ev.Kind = event.Lookup(ev.Name)
	}
	next := 0 // own field that is likely to come next
	for i := range rec.pairs {
		p := &rec.pairs[i]
		v := rec.Raw[p.value:p.end]
		switch k := rec.Raw[p.text:p.value]; string(k) {
		case "type", "event":
		case "ktime_ns":
			ev.KtimeNS, _ = uintOf(v)
		case "pid":
			ev.PID = uint32Of(v)
		case "tid":
			ev.TID = uint32Of(v)
		case "uid":
			ev.UID = uint32Of(v)
		case "gid":
			ev.GID = uint32Of(v)
		case "comm":
			ev.Comm, _ = textOf(v)
		case "trace_id":
			ev.TraceID, _ = traceIDOf(v)
		case "span_id":
			ev.SpanID, _ = uintOf(v)
		case "parent_span_id":
			ev.ParentSpanID, _ = uintOf(v)
		case "thread_span_id":
			ev.ThreadSpanID, _ = uintOf(v)
		case "outcome":
			t, _ := textOf(v)
			ev.OutcomeUnknown = string(t) == "unknown"
		case "truncated":
			ev.Truncated, _ = boolOf(v)
		case "hidden":
			ev.Hidden, _ = boolOf(v)
		case keyEventOrigin:
			ev.Origin, _ = textOf(v)
		default:
			if j := fieldIndex(ev.Kind, k, next); j >= 0 {
				setField(ev, j, v)
				next = j + 1
			} else if string(k) == "error" { // of span_raise it is an own field
				ev.Error, _ = textOf(v)
			}
		}
	}
	return ev, nil
}

// fieldIndex finds an own field, first where it is likely to be.
func fieldIndex(kind *event.Kind, key []byte, next int) int {
	if kind == nil {
		return -1
	}
	if next < len(kind.Fields) && kind.Fields[next].Name == string(key) {
		return next
	}
	for i := range kind.Fields {
		if kind.Fields[i].Name == string(key) {
			return i
		}
	}
	return -1
}

func setField(ev *event.Event, i int, v []byte) {
	f, t := &ev.Fields[i], ev.Kind.Fields[i].Type
	*f = event.Value{List: f.List}
	ok := false
	switch t {
	case event.Uint:
		f.Num, ok = uintOf(v)
	case event.Int:
		var n int64
		n, ok = intOf(v)
		f.Num = uint64(n)
	case event.Bool:
		var set bool
		if set, ok = boolOf(v); set {
			f.Num = 1
		}
	case event.Text:
		f.Text, ok = textOf(v)
	case event.List:
		if c := v[0]; !msgpcode.IsFixedArray(c) && c != msgpcode.Array16 && c != msgpcode.Array32 {
			break
		}
		f.List = f.List[:0]
		ok = true
		list(v, func(v []byte) bool {
			if len(f.List) == maxList {
				ev.Truncated = true
				return false
			}
			t, _ := textOf(v)
			f.List = append(f.List, t)
			return true
		})
	}
	if ok {
		f.Type = t
	}
}

func uint32Of(v []byte) uint32 {
	if n, ok := uintOf(v); ok && n <= 1<<32-1 {
		return uint32(n)
	}
	return 0
}

func stringOf(v []byte) string {
	t, _ := textOf(v)
	return string(t)
}

// Session decodes a session record. It is an error when the record is none, or
// when its `format` is not `viv`.
func (rec *Record) Session() (Session, error) {
	var s Session
	if err := rec.is(TypeSession); err != nil {
		return s, err
	}
	format := ""
	for _, p := range rec.pairs {
		v := rec.value(p)
		switch string(rec.key(p)) {
		case "format":
			format = stringOf(v)
		case "version":
			s.Version, _ = uintOf(v)
		case "start_unix_ns":
			s.StartUnixNS, _ = intOf(v)
		case "start_ktime_ns":
			s.StartKtimeNS, _ = uintOf(v)
		case "trace_id":
			s.TraceID, _ = traceIDOf(v)
		case "parent_span_id":
			s.ParentSpanID, _ = uintOf(v)
		case "targets":
			s.Targets = nil
			list(v, func(v []byte) bool {
				s.Targets = append(s.Targets, uint32Of(v))
				return true
			})
		case "main_tid":
			s.MainTID = uint32Of(v)
		case "observer_pid":
			s.ObserverPID = uint32Of(v)
		case "command":
			s.Command = nil
			list(v, func(v []byte) bool {
				s.Command = append(s.Command, stringOf(v))
				return true
			})
		// The rare and nested ones are the library's. A value that it refuses
		// leaves the field empty, as everywhere here.
		case "processes":
			if msgpack.Unmarshal(v, &s.Processes) != nil {
				s.Processes = nil
			}
		case "host":
			if msgpack.Unmarshal(v, &s.Host) != nil {
				s.Host = Host{}
			}
		case "hooks":
			if msgpack.Unmarshal(v, &s.Hooks) != nil {
				s.Hooks = nil
			}
		case "missing":
			if msgpack.Unmarshal(v, &s.Missing) != nil {
				s.Missing = nil
			}
		case "masked":
			s.Masked, _ = boolOf(v)
		case "probe_version":
			s.ProbeVersion = stringOf(v)
		case keySessionOrigin:
			t, _ := textOf(v)
			s.Origin = bytes.Clone(t)
		}
	}
	if format != "viv" {
		return s, FormatErrorf("this is no viv stream: its session has format %+q", format)
	}
	s.Policy = policy(rec.formats, s.Origin)
	return s, nil
}

// Lost decodes a lost record.
func (rec *Record) Lost() (Lost, error) {
	var l Lost
	for _, p := range rec.pairs {
		v := rec.value(p)
		switch string(rec.key(p)) {
		case "ktime_ns":
			l.KtimeNS, _ = uintOf(v)
		case "count":
			l.Count, _ = uintOf(v)
		case "cause":
			l.Cause = stringOf(v)
		}
	}
	return l, rec.is(TypeLost)
}

// Clock decodes a clock record.
func (rec *Record) Clock() (Clock, error) {
	var c Clock
	for _, p := range rec.pairs {
		v := rec.value(p)
		switch string(rec.key(p)) {
		case "unix_ns":
			c.UnixNS, _ = intOf(v)
		case "ktime_ns":
			c.KtimeNS, _ = uintOf(v)
		}
	}
	return c, rec.is(TypeClock)
}

// Span decodes a span_open or a span record.
func (rec *Record) Span() (Span, error) {
	var s Span
	for _, p := range rec.pairs {
		v := rec.value(p)
		switch string(rec.key(p)) {
		case "span_id":
			s.SpanID, _ = uintOf(v)
		case "parent_span_id":
			s.ParentSpanID, _ = uintOf(v)
		case "trace_id":
			s.TraceID, _ = traceIDOf(v)
		case "kind":
			t, _ := textOf(v)
			s.Kind = spanKindOf(t)
		case "source":
			s.Source = stringOf(v)
		case "name":
			s.Name = stringOf(v)
		case "pid":
			s.PID = uint32Of(v)
		case "tid":
			s.TID = uint32Of(v)
		case "start_ktime_ns":
			s.StartKtimeNS, _ = uintOf(v)
		case "file":
			s.File = stringOf(v)
		case "line":
			s.Line, _ = intOf(v)
		case "link_trace_id":
			s.LinkTraceID, _ = traceIDOf(v)
		case "link_span_id":
			s.LinkSpanID, _ = uintOf(v)
		case "end_ktime_ns":
			s.EndKtimeNS, _ = uintOf(v)
		case "dangling":
			s.Dangling, _ = boolOf(v)
		case "raised":
			s.Raised, _ = boolOf(v)
		case "lossy":
			s.Lossy, _ = boolOf(v)
		}
	}
	return s, rec.is(TypeSpanOpen, TypeSpan)
}

func spanKindOf(t []byte) SpanKind {
	switch string(t) { // without a new string for each span
	case string(SpanMethod):
		return SpanMethod
	case string(SpanThread):
		return SpanThread
	case string(SpanSession):
		return SpanSession
	}
	return SpanKind(t)
}

// End decodes an end record.
func (rec *Record) End() (End, error) {
	var e End
	for _, p := range rec.pairs {
		v := rec.value(p)
		switch string(rec.key(p)) {
		case "stop_unix_ns":
			e.StopUnixNS, _ = intOf(v)
		case "stop_ktime_ns":
			e.StopKtimeNS, _ = uintOf(v)
		case "events":
			e.Events, _ = uintOf(v)
		case "lost":
			e.Lost, _ = uintOf(v)
		case "reason":
			e.Reason = stringOf(v)
		case "exit_code":
			e.ExitCode, e.HasExit = intOf(v)
		case "alive":
			e.Alive, _ = uintOf(v)
		case "cut":
			e.Cut, _ = boolOf(v)
		case keyEndOrigin:
			t, _ := textOf(v)
			e.Origin = bytes.Clone(t)
		}
	}
	return e, rec.is(TypeEnd)
}
