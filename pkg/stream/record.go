// Package stream reads and writes viv's event stream: msgpack maps, one per
// record, one after another, with no framing around them.
package stream

import (
	"fmt"

	"vivarium/pkg/event"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Type is the type of a record, from its key "type".
type Type uint8

// The record types. Unknown is any other map: filters pass it on, exporters
// ignore it.
const (
	Unknown Type = iota
	TypeSession
	TypeEvent
	TypeLost
	TypeClock
	TypeSpanOpen
	TypeSpan
	TypeEnd
)

// Record is one record of a stream: its bytes, and the positions of its keys.
//
// Its methods decode it. If a key is missing, or its value has another type than
// docs/stream.md specifies, the field stays zero. If a key occurs twice, the last
// one counts. Integers can have any width, and text can be str or bin.
type Record struct {
	Type Type
	// Raw is the whole record. Like all bytes that methods of Record return, it is
	// valid until the next call of the Reader's Next.
	Raw []byte

	header  int // length of the map's header
	pairs   []pair
	ev      event.Event
	formats []Format // of its Reader
}

// pair has the positions of a key's text and its value in Raw. The text ends where
// the value begins, and the next pair begins where the value ends.
type pair struct{ text, value, end uint32 }

func (rec *Record) key(p pair) []byte   { return rec.Raw[p.text:p.value] }
func (rec *Record) value(p pair) []byte { return rec.Raw[p.value:p.end] }

// find returns the last pair with a key.
func (rec *Record) find(key string) (p pair, ok bool) {
	for i := len(rec.pairs) - 1; i >= 0; i-- {
		if string(rec.key(rec.pairs[i])) == key {
			return rec.pairs[i], true
		}
	}
	return pair{}, false
}

// Uint returns the unsigned integer of a key. ok is false if the record does not
// have the key or its value is none. It is for keys that only one Format uses.
func (rec *Record) Uint(key string) (n uint64, ok bool) {
	p, ok := rec.find(key)
	if !ok {
		return 0, false
	}
	return uintOf(rec.value(p))
}

// Bytes returns the text or bytes of a key, like Uint.
func (rec *Record) Bytes(key string) (b []byte, ok bool) {
	p, ok := rec.find(key)
	if !ok {
		return nil, false
	}
	return textOf(rec.value(p))
}

// parse parses the record at the beginning of b into rec. Its error is errShort
// if b ends inside the record.
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
				kv.text = uint32(p) // the key is not text: it counts as empty
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

// is returns an error if rec does not have one of these types.
func (rec *Record) is(types ...Type) error {
	for _, t := range types {
		if rec.Type == t {
			return nil
		}
	}
	return fmt.Errorf("decode record: unexpected type %d", rec.Type)
}
