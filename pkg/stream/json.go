package stream

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
	"vivarium/pkg/event"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// AppendJSON appends rec as one JSON object, without a newline, with the keys of the stream.
// Span ids are 16 lower-case hexadecimal digits and trace ids 32. In text that is not UTF-8,
// \xHH stands for each invalid byte; the key with the suffix "_bytes" then follows, with the
// complete text in base64, or a list of such texts. The bytes of another Format are an object
// {"base64":"..."}. Characters that control a terminal are escaped.
func AppendJSON(b []byte, rec *Record) []byte {
	b = append(b, '{')
	for i, p := range rec.pairs {
		if i > 0 {
			b = append(b, ',')
		}
		// The key as a value: the bytes between the pair's beginning and its value.
		b, _ = appendJSONKey(b, rec.Raw, rec.pairStart(i))
		b = append(b, ':')
		b = appendJSONPair(b, rec.key(p), rec.value(p))
	}
	return append(b, '}')
}

// appendJSONPair appends a value of the record. The key determines its form.
func appendJSONPair(b, key, v []byte) []byte {
	switch k := string(key); {
	case strings.HasSuffix(k, "span_id"):
		if id, ok := uintOf(v); ok {
			return append(event.AppendSpanID(append(b, '"'), id), '"')
		}
	case strings.HasSuffix(k, "trace_id"):
		if id, ok := traceIDOf(v); ok {
			return append(hex.AppendEncode(append(b, '"'), id[:]), '"')
		}
	case k == keyEventOrigin || k == keyEndOrigin || strings.HasPrefix(k, "raw_"):
		if t, ok := textOf(v); ok {
			return appendBase64(b, t)
		}
	}
	b, _ = appendJSONValue(b, v, 0)
	return appendJSONBytes(b, key, v)
}

// appendJSONBytes appends the key with the suffix _bytes and the bytes of v, if v has text
// that is not UTF-8.
func appendJSONBytes(b, key, v []byte) []byte {
	if bad, _ := malformed(v, 0); !bad {
		return b
	}
	b = appendJSONString(append(b, ','), append(bytes.Clone(key), "_bytes"...))
	b, _ = appendBytesOf(append(b, ':'), v, 0)
	return b
}

// malformed reports whether the value at p is text that is not UTF-8, or a list with such
// text, and returns the end of the value. In a map, each key has its own _bytes.
func malformed(v []byte, p int) (bad bool, end int) {
	end, children, err := item(v, p)
	if err != nil {
		return false, len(v)
	}
	if !isArray(v[p]) {
		if children > 0 {
			end, _ = skip(v, p)
			return false, end
		}
		t, ok := textOf(v[p:end])
		return ok && !utf8.Valid(t), end
	}
	for range children {
		var one bool
		one, end = malformed(v, end)
		bad = bad || one
	}
	return bad, end
}

// appendBytesOf appends the value at p with each text in base64 and null for
// other values, and returns its end.
func appendBytesOf(b, v []byte, p int) ([]byte, int) {
	end, children, err := item(v, p)
	if err != nil {
		return append(b, "null"...), len(v)
	}
	if isArray(v[p]) {
		b = append(b, '[')
		for i := range children {
			if i > 0 {
				b = append(b, ',')
			}
			b, end = appendBytesOf(b, v, end)
		}
		return append(b, ']'), end
	}
	if t, ok := textOf(v[p:end]); ok {
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), t), '"'), end
	}
	if children > 0 {
		end, _ = skip(v, p)
	}
	return append(b, "null"...), end
}

func isArray(c byte) bool {
	return msgpcode.IsFixedArray(c) || c == msgpcode.Array16 || c == msgpcode.Array32
}

// appendJSONValue appends the value at p and returns its end. The recursion is limited by the
// maxDepth of records.
func appendJSONValue(b, v []byte, p int) ([]byte, int) {
	end, children, err := item(v, p)
	if err != nil { // not in a record that was parsed
		return append(b, "null"...), len(v)
	}
	head := v[p:end]
	c := head[0]
	isMap := msgpcode.IsFixedMap(c) || c == msgpcode.Map16 || c == msgpcode.Map32
	if isMap || isArray(c) {
		brackets := "[]"
		if isMap {
			brackets, children = "{}", children/2
		}
		b = append(b, brackets[0])
		for i := range children {
			if i > 0 {
				b = append(b, ',')
			}
			if !isMap {
				b, end = appendJSONValue(b, v, end)
				continue
			}
			var at, last int
			b, at = appendJSONKey(b, v, end)
			key, _ := textOf(v[end:at])
			b, last = appendJSONValue(append(b, ':'), v, at)
			b, end = appendJSONBytes(b, key, v[at:last]), last
		}
		return append(b, brackets[1]), end
	}
	if t, ok := textOf(head); ok {
		return appendJSONString(b, t), end
	}
	if n, ok := intOf(head); ok {
		return strconv.AppendInt(b, n, 10), end
	}
	if n, ok := uintOf(head); ok {
		return strconv.AppendUint(b, n, 10), end
	}
	switch c {
	case msgpcode.True:
		return append(b, "true"...), end
	case msgpcode.False:
		return append(b, "false"...), end
	case msgpcode.Float:
		return appendJSONFloat(b, float64(math.Float32frombits(uint32(number(head[1:])))), 32), end
	case msgpcode.Double:
		return appendJSONFloat(b, math.Float64frombits(number(head[1:])), 64), end
	case msgpcode.Nil:
		return append(b, "null"...), end
	}
	// An extension: its type is the last byte of its header.
	at := 1
	switch c {
	case msgpcode.Ext8:
		at = 2
	case msgpcode.Ext16:
		at = 3
	case msgpcode.Ext32:
		at = 5
	}
	b = strconv.AppendInt(append(b, `{"ext":`...), int64(int8(head[at])), 10)
	b = base64.StdEncoding.AppendEncode(append(b, `,"base64":"`...), head[at+1:])
	return append(b, `"}`...), end
}

// appendJSONKey appends the key at p. In JSON it must be text.
func appendJSONKey(b, v []byte, p int) ([]byte, int) {
	end, err := skip(v, p)
	if err != nil {
		return append(b, `""`...), len(v)
	}
	if t, ok := textOf(v[p:end]); ok && utf8.Valid(t) {
		return appendJSONString(b, t), end
	}
	text, _ := appendJSONValue(nil, v, p)
	if t, ok := textOf(v[p:end]); ok {
		text = appendBase64(nil, t)
	}
	return appendJSONString(b, text), end
}

func appendJSONFloat(b []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, bits)
}

func appendBase64(b, t []byte) []byte {
	b = base64.StdEncoding.AppendEncode(append(b, `{"base64":"`...), t)
	return append(b, `"}`...)
}

// AppendJSONText appends a key and a text like AppendJSON: "key":"text", followed by
// "key_bytes":"base64" if the text is not UTF-8. The key has only ASCII letters and digits.
func AppendJSONText(b []byte, key string, t []byte) []byte {
	b = append(append(append(b, '"'), key...), `":`...)
	b = appendJSONString(b, t)
	if !utf8.Valid(t) {
		b = append(append(append(b, `,"`...), key...), `_bytes":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, t), '"')
	}
	return b
}

// appendJSONString appends a string, with \xHH for each byte that is not UTF-8.
func appendJSONString(b, t []byte) []byte {
	b = append(b, '"')
	for len(t) > 0 {
		n := 0
		for n < len(t) && t[n] >= ' ' && t[n] < 0x7f && t[n] != '"' && t[n] != '\\' {
			n++
		}
		b = append(b, t[:n]...)
		if t = t[n:]; len(t) == 0 {
			break
		}
		c, n := utf8.DecodeRune(t)
		switch {
		case c == utf8.RuneError && n == 1:
			const digits = "0123456789ABCDEF"
			b = append(b, '\\', '\\', 'x', digits[t[0]>>4], digits[t[0]&15])
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\t':
			b = append(b, '\\', 't')
		case unicode.IsPrint(c):
			b = append(b, t[:n]...)
		case c > 0xffff:
			c -= 0x10000
			b = appendUnicode(appendUnicode(b, 0xd800+c>>10), 0xdc00+c&0x3ff)
		default:
			b = appendUnicode(b, c)
		}
		t = t[n:]
	}
	return append(b, '"')
}

func appendUnicode(b []byte, c rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[c>>12&15], digits[c>>8&15], digits[c>>4&15], digits[c&15])
}
