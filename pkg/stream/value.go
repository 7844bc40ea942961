package stream

import (
	"math"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// The functions below decode a complete value. If it has another type, they return zero and
// false.

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

// list calls do for the values of an array (or the keys and values of a map) until do
// returns false. ok is false if v is not a container.
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
