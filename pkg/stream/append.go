package stream

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

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

// appendID always writes eight bytes, so that a filter can replace a span id without moving
// other bytes.
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

// appendText appends a str if t is UTF-8, else a bin.
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
