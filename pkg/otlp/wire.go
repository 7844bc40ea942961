package otlp

import (
	"encoding/binary"
	"unicode/utf8"
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

type text interface{ string | []byte }

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
func appendText[T text](b []byte, field byte, v T) []byte {
	b = append(b, field<<3|delimited)
	for i := range len(v) {
		if v[i] >= utf8.RuneSelf {
			valid := []rune(string(v))
			return appendPlain(b, string(valid))
		}
	}
	return appendPlain(b, v)
}

func appendPlain[T text](b []byte, v T) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// The attr functions append a KeyValue as the given field.

func attrText[T text](b []byte, field byte, key string, v T) []byte {
	b, kv := begin(b, field)
	b = appendText(b, 1, key)
	b, value := begin(b, 2)
	b = appendText(b, 1, v)
	return end(end(b, value), kv)
}

func attrBool(b []byte, field byte, key string, v bool) []byte {
	n := uint64(0)
	if v {
		n = 1
	}
	b, kv := begin(b, field)
	b = appendText(b, 1, key)
	b, value := begin(b, 2)
	b = appendVarint(b, 2, n)
	return end(end(b, value), kv)
}

func attrInt(b []byte, field byte, key string, v int64) []byte {
	b, kv := begin(b, field)
	b = appendText(b, 1, key)
	b, value := begin(b, 2)
	b = appendVarint(b, 3, uint64(v))
	return end(end(b, value), kv)
}

func attrList[T text](b []byte, field byte, key string, list []T) []byte {
	b, kv := begin(b, field)
	b = appendText(b, 1, key)
	b, value := begin(b, 2)
	b, array := begin(b, 5)
	for _, v := range list {
		var item int
		b, item = begin(b, 1)
		b = appendText(b, 1, v)
		b = end(b, item)
	}
	return end(end(end(b, array), value), kv)
}
