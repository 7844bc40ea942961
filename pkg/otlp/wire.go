package otlp

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// OTLP messages are appended in their protobuf encoding as the records come:
// the bytes that wait, for a span to end or for a receiver to answer, are then
// the bytes that will be sent, a third of what the messages take as Go values,
// and every bound is a bound on bytes. The tests read them with pdata.
//
// Field numbers are those of opentelemetry-proto 1.x, all below 16.

// wire types of protobuf fields
const (
	varint    = 0
	fixed64   = 1
	delimited = 2
)

// begin appends the head of a nested message; end, with the place that begin
// returned, completes it once its body is appended.
func begin(b []byte, field byte) ([]byte, int) {
	b = append(b, field<<3|delimited, 0)
	return b, len(b)
}

func end(b []byte, body int) []byte {
	n := len(b) - body
	if n < 0x80 {
		b[body-1] = byte(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(length[:], uint64(n))
	b = append(b, length[1:w]...) // only to make room
	copy(b[body-1+w:], b[body:body+n])
	copy(b[body-1:], length[:w])
	return b
}

func appendVarint(b []byte, field byte, v uint64) []byte {
	return binary.AppendUvarint(append(b, field<<3|varint), v)
}

func appendFixed64(b []byte, field byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, field<<3|fixed64), v)
}

// appendBytes appends bytes that need not be text: ids, and whole messages.
func appendBytes(b []byte, field byte, v []byte) []byte {
	b = binary.AppendUvarint(append(b, field<<3|delimited), uint64(len(v)))
	return append(b, v...)
}

// appendSpanID appends a span id, which OTLP writes big-endian.
func appendSpanID(b []byte, field byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, field<<3|delimited, 8), id)
}

// appendText appends text. A byte that is not UTF-8, which protobuf and JSON
// forbid, becomes U+FFFD.
func appendText(b []byte, field byte, v string) []byte {
	v = valid(v)
	b = binary.AppendUvarint(append(b, field<<3|delimited), uint64(len(v)))
	return append(b, v...)
}

func valid(v string) string {
	if utf8.ValidString(v) {
		return v
	}
	return string([]rune(v))
}

// view is text as a string, good for no longer than the text itself.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

// The attr functions append a KeyValue as the given field. Keys are ASCII and
// shorter than 100 bytes.

func attrKey(b []byte, field byte, key string, value int) []byte {
	b = binary.AppendUvarint(append(b, field<<3|delimited), uint64(2+len(key)+1+size(value)+value))
	b = append(append(b, 1<<3|delimited, byte(len(key))), key...)
	return binary.AppendUvarint(append(b, 2<<3|delimited), uint64(value))
}

// size is how long a length is.
func size(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

func attrText(b []byte, field byte, key, v string) []byte {
	v = valid(v)
	b = attrKey(b, field, key, 1+size(len(v))+len(v))
	b = binary.AppendUvarint(append(b, 1<<3|delimited), uint64(len(v)))
	return append(b, v...)
}

func attrBool(b []byte, field byte, key string, v bool) []byte {
	b = append(attrKey(b, field, key, 2), 2<<3|varint, 0)
	if v {
		b[len(b)-1] = 1
	}
	return b
}

func attrInt(b []byte, field byte, key string, v int64) []byte {
	b = attrKey(b, field, key, 1+size(int(v)))
	return appendVarint(b, 3, uint64(v))
}

// attrList appends the texts of a list.
func attrList(b []byte, field byte, key string, list iter.Seq[string]) []byte {
	b, kv := begin(b, field)
	b = appendText(b, 1, key)
	b, value := begin(b, 2)
	b, array := begin(b, 5)
	for v := range list {
		var item int
		b, item = begin(b, 1)
		b = appendText(b, 1, v)
		b = end(b, item)
	}
	return end(end(end(b, array), value), kv)
}
