package otlp

import (
	"encoding/binary"
	"fmt"
	"iter"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// Each record is encoded as OTLP protobuf at once. What waits for the end of a span
// or for the receiver is then exactly what will be sent. It needs a third of the
// memory of Go values, and all bounds are in bytes. The tests decode it with pdata.
//
// Field numbers are those of opentelemetry-proto 1.x, all below 16.

// field is the number of a protobuf field.
type field = protowire.Number

// appendTag and appendVarint1 are protowire.AppendTag and AppendVarint for values
// that nearly always need one byte. They are inlined, which makes encoding a span an
// eighth cheaper.
func appendTag(b []byte, f field, t protowire.Type) []byte {
	return append(b, byte(protowire.EncodeTag(f, t)))
}

func appendVarint1(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return protowire.AppendVarint(b, v)
}

func appendString(b []byte, v string) []byte {
	return append(appendVarint1(b, uint64(len(v))), v...)
}

// begin appends the tag of a nested message and returns the position of its body.
// After the body was appended, end inserts its length.
func begin(b []byte, f field) ([]byte, int) {
	b = append(appendTag(b, f, protowire.BytesType), 0)
	return b, len(b)
}

func end(b []byte, body int) []byte {
	n := len(b) - body
	if n < 0x80 {
		b[body-1] = byte(n)
		return b
	}
	var buf [binary.MaxVarintLen64]byte
	length := protowire.AppendVarint(buf[:0], uint64(n))
	b = append(b, length[1:]...) // makes room
	copy(b[body-1+len(length):], b[body:body+n])
	copy(b[body-1:], length)
	return b
}

func appendVarint(b []byte, f field, v uint64) []byte {
	return appendVarint1(appendTag(b, f, protowire.VarintType), v)
}

func appendFixed64(b []byte, f field, v uint64) []byte {
	return protowire.AppendFixed64(appendTag(b, f, protowire.Fixed64Type), v)
}

// appendBytes appends bytes that need not be text: ids, and whole messages.
func appendBytes(b []byte, f field, v []byte) []byte {
	return protowire.AppendBytes(appendTag(b, f, protowire.BytesType), v)
}

// appendSpanID appends a span id, which OTLP writes big-endian.
func appendSpanID(b []byte, f field, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(appendTag(b, f, protowire.BytesType), 8), id)
}

// appendText appends text, which protobuf and JSON want to be UTF-8.
func appendText(b []byte, f field, v string) []byte {
	return appendString(appendTag(b, f, protowire.BytesType), valid(v))
}

// valid escapes each byte that is not UTF-8 as \xHH.
func valid(v string) string {
	if utf8.ValidString(v) {
		return v
	}
	var b []byte
	for len(v) > 0 {
		r, n := utf8.DecodeRuneInString(v)
		if r == utf8.RuneError && n == 1 {
			b = fmt.Appendf(b, `\x%02X`, v[0])
		} else {
			b = append(b, v[:n]...)
		}
		v = v[n:]
	}
	return string(b)
}

// view returns text as a string without copying. It is valid until text changes.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

// The attr functions append a KeyValue as the given field. Keys are UTF-8.

// attrKey appends the KeyValue up to its AnyValue, whose length is value.
func attrKey(b []byte, f field, key string, value int) []byte {
	const tag = 1 // bytes of the tags of key and value
	b = appendTag(b, f, protowire.BytesType)
	b = appendVarint1(b, uint64(tag+protowire.SizeBytes(len(key))+tag+protowire.SizeBytes(value)))
	b = appendString(appendTag(b, 1, protowire.BytesType), key)
	return appendVarint1(appendTag(b, 2, protowire.BytesType), uint64(value))
}

func attrText(b []byte, f field, key, v string) []byte {
	v = valid(v)
	b = attrKey(b, f, key, protowire.SizeTag(1)+protowire.SizeBytes(len(v)))
	return appendString(appendTag(b, 1, protowire.BytesType), v)
}

func attrBool(b []byte, f field, key string, v bool) []byte {
	return appendVarint(attrKey(b, f, key, protowire.SizeTag(2)+1), 2, protowire.EncodeBool(v))
}

func attrInt(b []byte, f field, key string, v int64) []byte {
	return appendVarint(attrKey(b, f, key, protowire.SizeTag(3)+protowire.SizeVarint(uint64(v))), 3, uint64(v))
}

// attrList appends the texts of a list.
func attrList(b []byte, f field, key string, list iter.Seq[string]) []byte {
	b, kv := begin(b, f)
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
