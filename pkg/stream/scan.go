package stream

import (
	"encoding/binary"
	"errors"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// This file is a cursor over msgpack bytes: a filter needs the positions of the values in a
// record, not the values. value.go decodes single values, and append.go encodes them. The
// library's Decoder and Encoder would need four to eight times the time for events and
// spans (BenchmarkTags). They are used for rare records (tagged.go).

// MaxRecord is the maximum length of a record, bytes.
const MaxRecord = 16 << 20

const (
	maxKeys  = 1 << 15 // keys of one record
	maxList  = 1 << 16 // elements of an event's list
	maxDepth = 32      // containers in containers in a record
)

// The errors of decoding a msgpack value.
var (
	errShort   = errors.New("the value is incomplete")
	errInvalid = errors.New("a byte that msgpack does not use (0xc1)")
	errTooLong = errors.New("a record is longer than 16 MiB")
	errTooDeep = errors.New("a record is nested more than 32 levels deep")
	errKeys    = errors.New("a record has more than 32768 keys")
)

// sizes has the length of a value by its first byte; 0: it depends on more bytes.
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

// item returns the end of the item at p, which is within b. For a container, this is the end
// of its header, and children is the number of values in it.
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

// scanner finds the end of a value. If the bytes end inside the value, it can continue later
// with more bytes.
type scanner struct {
	pos   int
	depth int
	left  [maxDepth + 1]uint64 // remaining values, by depth
}

// reset prepares s for the value at p.
func (s *scanner) reset(p int) { s.pos, s.depth, s.left[0] = p, 0, 1 }

// run continues. It returns nil if s.pos is the end of the value.
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
