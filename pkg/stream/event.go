package stream

import (
	"encoding/binary"

	"vivarium/pkg/event"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

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

// Event writes an event record. Its name is that of Kind, or Name if Kind is nil. Fields of
// the kind with Type None, and the flags and texts after them that are zero, are left out.
// extra has keys that only the event's Format uses.
func (w *Writer) Event(ev *event.Event, extra ...Set) error {
	// The keys of all events are copied at once, with space for their values, which have
	// fixed widths: this code runs for every recorded event.
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
			k.appendKey(f.Name)
			k.b = appendValue(k.b, v)
			own = own || f.Name == "error"
		}
	}
	if len(ev.Error) > 0 && !own {
		k.bytes("error", ev.Error)
	}
	k.setIf("truncated", ev.Truncated)
	k.setIf("deleted", ev.Deleted)
	if len(ev.Root) > 0 {
		k.bytes("root", ev.Root)
	}
	if ev.OutcomeUnknown {
		k.text("outcome", "unknown")
	}
	k.setIf("hidden", ev.Hidden)
	if ev.ThreadSpanID != 0 {
		k.id("thread_span_id", ev.ThreadSpanID)
	}
	if ev.Origin != nil {
		k.appendKey(keyEventOrigin)
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

// Event decodes an event record. It returns an error if rec has another type. The Event and
// its slices belong to rec and are overwritten by the next record. An event of an unknown
// kind has its name and the keys of all events, but no fields of its kind.
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
		case "root":
			ev.Root, _ = textOf(v)
		case "deleted":
			ev.Deleted, _ = boolOf(v)
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

// fieldIndex finds a field of the kind. It first checks the probable index.
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
