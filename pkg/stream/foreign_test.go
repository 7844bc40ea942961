package stream

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"

	"vivarium/pkg/event"

	"github.com/vmihailenco/msgpack/v5"
)

// foreign encodes as another program might: keys in random order, every number
// in a random width, text now as str and now as bin.
type foreign struct {
	*msgpack.Encoder
	rnd *rand.Rand
}

func (f foreign) value(v any) error {
	switch v := v.(type) {
	case uint64:
		switch n := f.rnd.IntN(8); {
		case n == 0 && v <= math.MaxUint8:
			return f.EncodeUint8(uint8(v))
		case n == 1 && v <= math.MaxUint16:
			return f.EncodeUint16(uint16(v))
		case n == 2 && v <= math.MaxUint32:
			return f.EncodeUint32(uint32(v))
		case n == 3 && v <= math.MaxInt8:
			return f.EncodeInt8(int8(v))
		case n == 4 && v <= math.MaxInt16:
			return f.EncodeInt16(int16(v))
		case n == 5 && v <= math.MaxInt32:
			return f.EncodeInt32(int32(v))
		case n == 6 && v <= math.MaxInt64:
			return f.EncodeInt64(int64(v))
		case n == 7:
			return f.EncodeUint(v)
		}
		return f.EncodeUint64(v)
	case int64:
		if v >= 0 {
			return f.value(uint64(v))
		}
		switch n := f.rnd.IntN(4); {
		case n == 0 && v >= math.MinInt8:
			return f.EncodeInt8(int8(v))
		case n == 1 && v >= math.MinInt16:
			return f.EncodeInt16(int16(v))
		case n == 2 && v >= math.MinInt32:
			return f.EncodeInt32(int32(v))
		case n == 3:
			return f.EncodeInt(v)
		}
		return f.EncodeInt64(v)
	case []byte:
		if f.rnd.IntN(2) == 0 {
			return f.EncodeString(string(v))
		}
		if v == nil {
			v = []byte{}
		}
		return f.EncodeBytes(v)
	case [][]byte:
		f.EncodeArrayLen(len(v))
		for _, t := range v {
			f.value(t)
		}
		return nil
	case bool:
		return f.EncodeBool(v)
	}
	panic(fmt.Sprintf("%T", v))
}

func foreignMap(m map[string]any, rnd *rand.Rand) []byte {
	var buf bytes.Buffer
	f := foreign{msgpack.NewEncoder(&buf), rnd}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	f.EncodeMapLen(len(keys))
	for _, k := range keys {
		f.EncodeString(k)
		f.value(m[k])
	}
	return buf.Bytes()
}

var texts = []string{"", "a", "/usr/bin/ruby", "/home/ü/☃", "\xff\xfe", strings.Repeat("x", 31), strings.Repeat("y", 32),
	strings.Repeat("z", 255), strings.Repeat("é", 200), strings.Repeat("\x80", 300), strings.Repeat("q", 70000)}

func randText(rnd *rand.Rand) []byte { return []byte(texts[rnd.IntN(len(texts))]) }

func randUint(rnd *rand.Rand) uint64 { return rnd.Uint64() >> rnd.IntN(64) }

func randEvent(rnd *rand.Rand) *event.Event {
	ev := &event.Event{
		KtimeNS: randUint(rnd), PID: uint32(randUint(rnd)), TID: uint32(randUint(rnd)), UID: uint32(randUint(rnd)), GID: uint32(randUint(rnd)),
		Comm: randText(rnd), SpanID: randUint(rnd), ParentSpanID: randUint(rnd),
		OutcomeUnknown: rnd.IntN(4) == 0, Truncated: rnd.IntN(4) == 0, Deleted: rnd.IntN(4) == 0, Hidden: rnd.IntN(4) == 0,
	}
	for i := range ev.TraceID {
		ev.TraceID[i] = byte(rnd.Uint32())
	}
	if rnd.IntN(3) == 0 {
		ev.ThreadSpanID = rnd.Uint64()
	}
	if rnd.IntN(3) == 0 {
		ev.Origin = []byte(strings.Repeat(string(rune(rnd.IntN(300))), 128))[:128]
	}
	if rnd.IntN(10) == 0 {
		ev.Name, ev.Error = []byte("of_tomorrow"), []byte("EIO")
		return ev
	}
	ev.Kind = &event.Kinds[rnd.IntN(int(event.NumKinds))]
	ev.Name = []byte(ev.Kind.Name)
	if ev.Kind != &event.Kinds[event.SpanRaise] && rnd.IntN(3) == 0 {
		ev.Error = []byte("ENOENT")
	}
	for i, f := range ev.Kind.Fields {
		if rnd.IntN(4) == 0 {
			continue
		}
		v := event.Value{Type: f.Type}
		switch f.Type {
		case event.Uint:
			v.Num = randUint(rnd)
		case event.Int:
			v.Num = uint64(int64(rnd.Uint64()) >> rnd.IntN(64))
		case event.Bool:
			v.Num = uint64(rnd.IntN(2))
		case event.Text:
			v.Text = randText(rnd)
		case event.List:
			for range rnd.IntN(40) {
				v.List = append(v.List, randText(rnd))
			}
		}
		ev.Fields[i] = v
	}
	return ev
}

// eventMap is an event as a library decodes it.
func eventMap(ev *event.Event) map[string]any {
	m := map[string]any{
		"type": []byte("event"), "event": ev.Name, "ktime_ns": ev.KtimeNS, "pid": uint64(ev.PID), "tid": uint64(ev.TID),
		"uid": uint64(ev.UID), "gid": uint64(ev.GID), "comm": ev.Comm, "trace_id": ev.TraceID[:], "span_id": ev.SpanID,
		"parent_span_id": ev.ParentSpanID,
	}
	if ev.ThreadSpanID != 0 {
		m["thread_span_id"] = ev.ThreadSpanID
	}
	if len(ev.Error) > 0 {
		m["error"] = ev.Error
	}
	if len(ev.Root) > 0 {
		m["root"] = ev.Root
	}
	if ev.OutcomeUnknown {
		m["outcome"] = []byte("unknown")
	}
	for k, set := range map[string]bool{"truncated": ev.Truncated, "deleted": ev.Deleted, "hidden": ev.Hidden} {
		if set {
			m[k] = true
		}
	}
	if ev.Origin != nil {
		m["payload"] = ev.Origin
	}
	if ev.Kind != nil {
		for i, f := range ev.Kind.Fields {
			switch v := ev.Fields[i]; v.Type {
			case event.Uint:
				m[f.Name] = v.Num
			case event.Int:
				m[f.Name] = int64(v.Num)
			case event.Bool:
				m[f.Name] = v.Num != 0
			case event.Text:
				m[f.Name] = v.Text
			case event.List:
				m[f.Name] = v.List
			}
		}
	}
	return m
}

// plain makes what the library decoded comparable with eventMap.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []any:
		list := [][]byte{}
		for _, e := range v {
			list = append(list, plain(e).([]byte))
		}
		return list
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
		return v
	case bool, []byte:
		return v
	}
	rv := reflect.ValueOf(v)
	if rv.CanInt() && rv.Int() < 0 {
		return rv.Int()
	} else if rv.CanInt() {
		return uint64(rv.Int())
	}
	return rv.Uint()
}
