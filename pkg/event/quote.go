package event

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

const hexUpper = "0123456789ABCDEF"

// plain holds the bytes that are not escaped in quoted text.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\' && c != '#'
	}
	return t
}()

// AppendQuote appends s in double quotes, like Ruby's inspect of a byte string: control
// bytes, quotes, backslashes and all bytes above 0x7e are escaped. So the text is safe on
// any terminal and shows every byte of s.
func AppendQuote(b, s []byte) []byte {
	b = append(b, '"')
	start := 0
	for i, c := range s {
		if plain[c] {
			continue
		}
		if c == '#' && (i+1 == len(s) || s[i+1] != '{' && s[i+1] != '$' && s[i+1] != '@') {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		if c == '"' || c == '\\' || c == '#' {
			b = append(b, '\\', c)
		} else {
			b = appendControl(b, c)
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// appendControl appends the escape of a byte that is not printable ASCII.
func appendControl(b []byte, c byte) []byte {
	switch {
	case 7 <= c && c <= 13:
		return append(b, '\\', "abtnvfr"[c-7])
	case c == 0x1b:
		return append(b, '\\', 'e')
	}
	return append(b, '\\', 'x', hexUpper[c>>4], hexUpper[c&15])
}

// AppendSafe appends s as readable text without quotes: printable UTF-8 is unchanged,
// control bytes are as in AppendQuote, other control, format and line-separating
// characters are \u{X}, and bytes that are not UTF-8 are \xHH. So no text can control a
// terminal, hide itself or break a line.
func AppendSafe(b, s []byte) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if 0x20 <= c && c < 0x7f {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			b = appendControl(b, c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		if n > 1 && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		if n > 1 {
			b = append(b, `\u{`...)
			b = appendHex(b, uint64(r), hexUpper)
			b = append(b, '}')
		} else {
			b = append(b, '\\', 'x', hexUpper[c>>4], hexUpper[c&15])
		}
		i += n
		start = i
	}
	return append(b, s[start:]...)
}

// appendFolded is AppendSafe with runs of blanks reduced to one, and no blanks at the
// ends.
func appendFolded(b, s []byte) []byte {
	at := len(b)
	for len(s) > 0 && s[0] == ' ' {
		s = s[1:]
	}
	b = foldRuns(AppendSafe(b, s), at)
	if n := len(b); n > at && b[n-1] == ' ' {
		b = b[:n-1]
	}
	return b
}

// foldRuns reduces each run of blanks in b[at:] to one blank.
func foldRuns(b []byte, at int) []byte {
	w := at
	for i := at; i < len(b); i++ {
		if b[i] == ' ' && w > at && b[w-1] == ' ' {
			continue
		}
		b[w] = b[i]
		w++
	}
	return b[:w]
}

// appendWord appends s as the value of key=value. It quotes s unless it has only
// unambiguous characters, so that a value cannot look like another key.
func appendWord(b, s []byte) []byte {
	for _, c := range s {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '_' || c == '-' || c == '.' || c == ':' || c == ',' || c == '/' || c == '+' || c == '%') {
			return appendQuoted(b, s)
		}
	}
	if len(s) == 0 {
		return append(b, '"', '"')
	}
	return append(b, s...)
}

// appendHex appends v in hexadecimal without leading zeros.
func appendHex(b []byte, v uint64, digits string) []byte {
	var d [16]byte
	i := len(d)
	for {
		i--
		d[i] = digits[v&15]
		if v >>= 4; v == 0 {
			return append(b, d[i:]...)
		}
	}
}

// Basename returns the last part of a path like Ruby's File.basename: it ignores trailing
// slashes, and "/" stays. Ruby names evaluated code "(eval at FILE:LINE)", where FILE can
// be such a name too, and the end may be cut off; then it returns the last part of FILE.
func Basename(path []byte) []byte {
	for {
		file, ok := bytes.CutPrefix(path, []byte("(eval at "))
		if !ok || len(file) == 0 {
			break
		}
		path = file
		if i := len(file) - 1; file[i] == ')' {
			digits := len(bytes.TrimRight(file[:i], "0123456789"))
			if 0 < digits && digits < i && file[digits-1] == ':' {
				path = file[:digits-1]
			}
		}
	}
	for len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	for i := len(path) - 2; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

// CString returns s up to its first NUL.
func CString(s []byte) []byte {
	if i := bytes.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}
