package stream

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// The library encodes the rare records (session, clock, end) by the tags of their structs,
// which are the only place with their keys.

// Session writes a session record. Zero and empty values are left out, except the version,
// the times and `masked`.
func (w *Writer) Session(s *Session) error {
	k := w.begin("session")
	k.text("format", "viv")
	return w.tagged(&k, s)
}

// Clock writes a clock record.
func (w *Writer) Clock(c *Clock) error {
	k := w.begin("clock")
	return w.tagged(&k, c)
}

// End writes an end record.
func (w *Writer) End(e *End) error {
	k := w.begin("end")
	if !e.HasExit {
		return w.tagged(&k, e, "exit_code")
	}
	return w.tagged(&k, e)
}

// tagged ends the record k with the fields of v, a struct with tags, but for
// those without. The library encodes v, and what it does otherwise than the
// stream wants is set right on the way: a text that is not UTF-8 becomes bin,
// no list nil, a span id takes eight bytes.
func (w *Writer) tagged(k *keys, v any, without ...string) error {
	var b bytes.Buffer
	enc := msgpack.GetEncoder()
	defer msgpack.PutEncoder(enc)
	enc.Reset(&b)
	enc.SetSortMapKeys(true)
	enc.UseCompactInts(true)
	var rec Record
	err := enc.Encode(v)
	if err == nil {
		err = rec.parse(b.Bytes())
	}
	if err != nil {
		if w.err == nil {
			w.err = fmt.Errorf("encode a record: %w", err)
		}
		return w.err
	}
next:
	for _, p := range rec.pairs {
		key, value := string(rec.key(p)), rec.value(p)
		for _, name := range without {
			if key == name {
				continue next
			}
		}
		k.appendKey(key)
		switch key {
		case "parent_span_id":
			id, _ := uintOf(value)
			k.b = appendID(k.b, id)
		case keySessionOrigin: // a text, of which Go has bytes
			t, _ := textOf(value)
			k.b = appendText(k.b, t)
		default:
			k.b = appendStrict(k.b, value)
		}
	}
	return w.finish(k)
}

// appendStrict appends a value in the stream's format.
func appendStrict(b, value []byte) []byte {
	for len(value) > 0 {
		end, _, _ := item(value, 0) // of a value that was parsed
		head := value[:end]
		t, isText := textOf(head)
		switch c := head[0]; {
		case isText && (c < msgpcode.Bin8 || c > msgpcode.Bin32) && !utf8.Valid(t):
			b = appendBin(b, t)
		case c == msgpcode.Nil:
			b = appendArray(b, 0)
		default:
			b = append(b, head...)
		}
		value = value[end:]
	}
	return b
}

// The keys of the structs' fields.
var (
	sessionKeys = keysOf[Session]()
	clockKeys   = keysOf[Clock]()
	endKeys     = keysOf[End]()
)

// keysOf returns the keys of a struct's fields, from their tags; empty: no key.
func keysOf[T any]() []string {
	t := reflect.TypeFor[T]()
	list := make([]string, t.NumField())
	for i := range list {
		if key, _, _ := strings.Cut(t.Field(i).Tag.Get("msgpack"), ","); key != "-" {
			list[i] = key
		}
	}
	return list
}

// Session decodes a session record. It returns an error if rec has another type, or a
// *FormatError if its `format` is not `viv`.
func (rec *Record) Session() (Session, error) {
	var s Session
	if err := rec.is(TypeSession); err != nil {
		return s, err
	}
	rec.fields(&s, sessionKeys)
	if format, _ := rec.Bytes("format"); string(format) != "viv" {
		return s, FormatErrorf("the input is not a viv stream: its session has format %+q", format)
	}
	s.Policy = policy(rec.formats, s.Origin)
	return s, nil
}

// Clock decodes a clock record. It returns an error if rec has another type.
func (rec *Record) Clock() (Clock, error) {
	var c Clock
	rec.fields(&c, clockKeys)
	return c, rec.is(TypeClock)
}

// End decodes an end record. It returns an error if rec has another type.
func (rec *Record) End() (End, error) {
	var e End
	rec.fields(&e, endKeys)
	if p, ok := rec.find("exit_code"); ok {
		_, e.HasExit = intOf(rec.value(p))
	}
	return e, rec.is(TypeEnd)
}

// fields sets the fields of the struct that to points to. Field i has the key keys[i].
func (rec *Record) fields(to any, keys []string) {
	s := reflect.ValueOf(to).Elem()
	for i, key := range keys {
		if key == "" {
			continue
		}
		if p, ok := rec.find(key); ok {
			setTagged(s.Field(i), rec.value(p))
		}
	}
}

// setTagged sets a field of a new struct, or leaves it zero if the value does not fit. The
// library would cut numbers, texts and ids; it decodes lists and maps.
func setTagged(f reflect.Value, v []byte) {
	switch f.Kind() {
	case reflect.Uint32, reflect.Uint64:
		if n, ok := uintOf(v); ok && !f.OverflowUint(n) {
			f.SetUint(n)
		}
	case reflect.Int64:
		n, _ := intOf(v)
		f.SetInt(n)
	case reflect.Bool:
		set, _ := boolOf(v)
		f.SetBool(set)
	case reflect.String:
		t, _ := textOf(v)
		f.SetString(string(t))
	case reflect.Array:
		id, _ := traceIDOf(v)
		f.Set(reflect.ValueOf(TraceID(id)))
	default:
		// A few MB of empty elements would become structs of 56 bytes each.
		if _, n, err := item(v, 0); err != nil || n > maxList && f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
			return
		}
		if msgpack.Unmarshal(v, f.Addr().Interface()) != nil {
			f.SetZero()
		}
	}
}
