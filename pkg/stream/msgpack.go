package stream

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// This file is a cursor over msgpack bytes and the appenders that write them.
// The library's Decoder and Encoder would do both, at three times the cost: a
// filter wants to know where the values of a record lie, not the values.

// MaxRecord is how long a record may be, bytes.
const MaxRecord = 16 << 20

const (
	maxKeys  = 1 << 15 // keys of one record
	maxList  = 1 << 16 // elements of an event's list
	maxDepth = 32      // containers in containers in a record
)

// What can be wrong with bytes that should be a msgpack value.
var (
	errShort   = errors.New("the value is cut")
	errInvalid = errors.New("a byte that msgpack does not use (0xc1)")
	errTooLong = errors.New("a record is longer than 16 MiB")
	errTooDeep = errors.New("a record is nested more than 32 deep")
	errKeys    = errors.New("a record has more than 32768 keys")
)

// sizes is the length of a value by its first byte; 0 where more than that byte
// decides it.
var sizes = func() (t [256]uint8) {
	for c := range t {
		switch c := byte(c); {
		case msgpcode.IsFixedNum(c):
			t[c] = 1
		case msgpcode.IsFixedString(c):
			t[c] = 1 + c&msgpcode.FixedStrMask
		}
	}
	for n, codes := range map[uint8][]byte{
		1:  {msgpcode.Nil, msgpcode.False, msgpcode.True},
		2:  {msgpcode.Uint8, msgpcode.Int8},
		3:  {msgpcode.Uint16, msgpcode.Int16, msgpcode.FixExt1},
		4:  {msgpcode.FixExt2},
		5:  {msgpcode.Uint32, msgpcode.Int32, msgpcode.Float},
		6:  {msgpcode.FixExt4},
		9:  {msgpcode.Uint64, msgpcode.Int64, msgpcode.Double},
		10: {msgpcode.FixExt8},
		18: {msgpcode.FixExt16},
	} {
		for _, c := range codes {
			t[c] = n
		}
	}
	return t
}()

// item finds the end of the item at p, and for a container, whose header ends
// there, how many values follow as its children. The end lies within b.
func item(b []byte, p int) (end int, children uint64, err error) {
	if p >= len(b) {
		return 0, 0, errShort
	}
	c := b[p]
	if n := sizes[c]; n != 0 {
		end = p + int(n)
		if end > len(b) {
			return 0, 0, errShort
		}
		return end, 0, nil
	}
	switch {
	case msgpcode.IsFixedMap(c):
		return p + 1, 2 * uint64(c&msgpcode.FixedMapMask), nil
	case msgpcode.IsFixedArray(c):
		return p + 1, uint64(c & msgpcode.FixedArrayMask), nil
	}
	// A length of 1, 2 or 4 bytes; an ext has one more byte, its type.
	var width, extra int
	switch c {
	case msgpcode.Str8, msgpcode.Bin8:
		width = 1
	case msgpcode.Str16, msgpcode.Bin16, msgpcode.Array16, msgpcode.Map16:
		width = 2
	case msgpcode.Str32, msgpcode.Bin32, msgpcode.Array32, msgpcode.Map32:
		width = 4
	case msgpcode.Ext8:
		width, extra = 1, 1
	case msgpcode.Ext16:
		width, extra = 2, 1
	case msgpcode.Ext32:
		width, extra = 4, 1
	default:
		return 0, 0, errInvalid
	}
	end = p + 1 + width + extra
	if end > len(b) {
		return 0, 0, errShort
	}
	n := number(b[p+1 : p+1+width])
	switch c {
	case msgpcode.Array16, msgpcode.Array32:
		return end, n, nil
	case msgpcode.Map16, msgpcode.Map32:
		return end, 2 * n, nil
	}
	if n > MaxRecord {
		return 0, 0, errTooLong
	}
	if end += int(n); end > len(b) {
		return 0, 0, errShort
	}
	return end, 0, nil
}

// number reads a big-endian number of 1, 2, 4 or 8 bytes.
func number(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	default:
		return binary.BigEndian.Uint64(b)
	}
}

// scanner walks over a value with everything in it. It can be stopped by the
// end of the bytes and go on where it was when there are more.
type scanner struct {
	pos   int
	depth int
	left  [maxDepth + 1]uint64 // values still to come, by depth
}

// reset makes s ready to walk over the value at p.
func (s *scanner) reset(p int) { s.pos, s.depth, s.left[0] = p, 0, 1 }

// run walks on. It returns nil when s.pos is the end of the value.
func (s *scanner) run(b []byte) error {
	for {
		for s.left[s.depth] == 0 {
			if s.depth == 0 {
				return nil
			}
			s.depth--
		}
		end, children, err := item(b, s.pos)
		if err != nil {
			return err
		}
		s.pos = end
		s.left[s.depth]--
		if children > 0 {
			if s.depth == maxDepth {
				return errTooDeep
			}
			s.depth++
			s.left[s.depth] = children
		}
	}
}

// skip returns the end of the value at p.
func skip(b []byte, p int) (int, error) {
	end, children, err := item(b, p)
	if err != nil || children == 0 {
		return end, err
	}
	var s scanner
	s.pos, s.depth, s.left[2] = end, 2, children // the record is the first container
	err = s.run(b)
	return s.pos, err
}

// The functions below read a whole value. When it has another type they return
// nothing and false.

func uintOf(v []byte) (n uint64, ok bool) {
	switch c := v[0]; {
	case c <= msgpcode.PosFixedNumHigh:
		return uint64(c), true
	case c >= msgpcode.Uint8 && c <= msgpcode.Uint64:
		return number(v[1:]), true
	}
	if i, ok := intOf(v); ok && i >= 0 {
		return uint64(i), true
	}
	return 0, false
}

func intOf(v []byte) (n int64, ok bool) {
	switch c := v[0]; {
	case msgpcode.IsFixedNum(c):
		return int64(int8(c)), true
	case c == msgpcode.Int8:
		return int64(int8(v[1])), true
	case c == msgpcode.Int16:
		return int64(int16(number(v[1:]))), true
	case c == msgpcode.Int32:
		return int64(int32(number(v[1:]))), true
	case c == msgpcode.Int64:
		return int64(number(v[1:])), true
	case c >= msgpcode.Uint8 && c <= msgpcode.Uint64:
		if n := number(v[1:]); n <= math.MaxInt64 {
			return int64(n), true
		}
	}
	return 0, false
}

func boolOf(v []byte) (set, ok bool) {
	return v[0] == msgpcode.True, v[0] == msgpcode.True || v[0] == msgpcode.False
}

func textOf(v []byte) (text []byte, ok bool) {
	switch c := v[0]; {
	case msgpcode.IsFixedString(c):
		return v[1:], true
	case c == msgpcode.Str8, c == msgpcode.Bin8:
		return v[2:], true
	case c == msgpcode.Str16, c == msgpcode.Bin16:
		return v[3:], true
	case c == msgpcode.Str32, c == msgpcode.Bin32:
		return v[5:], true
	}
	return nil, false
}

func traceIDOf(v []byte) (id [16]byte, ok bool) {
	t, ok := textOf(v)
	if !ok || len(t) != len(id) {
		return id, false
	}
	return [16]byte(t), true
}

// list goes through the values of an array (or the keys and values of a map)
// until do returns false. ok is false when v is no container.
func list(v []byte, do func(v []byte) bool) (ok bool) {
	p, n, err := item(v, 0)
	if c := v[0]; err != nil || n == 0 && !msgpcode.IsFixedArray(c) && !msgpcode.IsFixedMap(c) && (c < msgpcode.Array16 || c > msgpcode.Map32) {
		return false
	}
	for ; n > 0; n-- {
		end, err := skip(v, p)
		if err != nil || !do(v[p:end]) {
			break
		}
		p = end
	}
	return true
}

// The appenders.

func appendMap(b []byte, n int) []byte {
	switch {
	case n <= 15:
		return append(b, msgpcode.FixedMapLow|byte(n))
	case n <= 0xffff:
		return append(b, msgpcode.Map16, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, msgpcode.Map32), uint32(n))
}

func appendArray(b []byte, n int) []byte {
	switch {
	case n <= 15:
		return append(b, msgpcode.FixedArrayLow|byte(n))
	case n <= 0xffff:
		return append(b, msgpcode.Array16, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, msgpcode.Array32), uint32(n))
}

func appendUint(b []byte, n uint64) []byte {
	switch {
	case n <= 0x7f:
		return append(b, byte(n))
	case n <= 0xff:
		return append(b, msgpcode.Uint8, byte(n))
	case n <= 0xffff:
		return append(b, msgpcode.Uint16, byte(n>>8), byte(n))
	case n <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(b, msgpcode.Uint32), uint32(n))
	}
	return appendID(b, n)
}

// appendID writes all eight bytes, whatever the number: a filter that puts
// another span id in its place then moves nothing.
func appendID(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, msgpcode.Uint64), n)
}

func appendInt(b []byte, n int64) []byte {
	switch {
	case n >= 0:
		return appendUint(b, uint64(n))
	case n >= -32:
		return append(b, byte(n))
	case n >= -1<<7:
		return append(b, msgpcode.Int8, byte(n))
	case n >= -1<<15:
		return append(b, msgpcode.Int16, byte(n>>8), byte(n))
	case n >= -1<<31:
		return binary.BigEndian.AppendUint32(append(b, msgpcode.Int32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, msgpcode.Int64), uint64(n))
}

func appendBool(b []byte, set bool) []byte {
	if set {
		return append(b, msgpcode.True)
	}
	return append(b, msgpcode.False)
}

// appendText writes a str when t is UTF-8, else a bin.
func appendText[T string | []byte](b []byte, t T) []byte {
	if !valid(t) {
		return appendBin(b, t)
	}
	switch n := len(t); {
	case n <= 31:
		b = append(b, msgpcode.FixedStrLow|byte(n))
	case n <= 0xff:
		b = append(b, msgpcode.Str8, byte(n))
	case n <= 0xffff:
		b = append(b, msgpcode.Str16, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, msgpcode.Str32), uint32(n))
	}
	return append(b, t...)
}

func valid[T string | []byte](t T) bool {
	switch t := any(t).(type) {
	case string:
		return utf8.ValidString(t)
	case []byte:
		return utf8.Valid(t)
	}
	return false
}

func appendBin[T string | []byte](b []byte, t T) []byte {
	switch n := len(t); {
	case n <= 0xff:
		b = append(b, msgpcode.Bin8, byte(n))
	case n <= 0xffff:
		b = append(b, msgpcode.Bin16, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, msgpcode.Bin32), uint32(n))
	}
	return append(b, t...)
}

func appendTexts(b []byte, m map[string]string) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = appendMap(b, len(keys))
	for _, k := range keys {
		b = appendText(appendText(b, k), m[k])
	}
	return b
}
