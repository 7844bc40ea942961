package event

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// context is the place of a text in viv's output. It determines which characters could
// look like viv's own.
type context uint8

const (
	inQuotes   context = iota // in double quotes
	inLine                    // without quotes, in the line of an event
	inBrackets                // without quotes, between the brackets of a process or span
)

// maxMarks is the number of combining marks in a row that are shown. Thai, Tibetan and the
// scripts of India do not need more, and more would cover the lines above.
const maxMarks = 4

// maxBlanks is the number of blanks in a row that are shown in quotes. More could move the
// text after them to the beginning of the terminal's next line.
const maxBlanks = 4

// unescaped holds the bytes that are never escaped.
var unescaped = func() (t [256]bool) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = plain[c] && c != '[' && c != ']'
	}
	return t
}()

// appendReadable appends s. Letters, digits and common punctuation of all scripts are
// unchanged. These are escaped, as \xHH, \u{X} or a letter:
//   - bytes that are not UTF-8;
//   - characters that control a terminal, change the direction of writing, break the
//     line, or are invisible;
//   - combining marks that do not belong to a letter of their script;
//   - what could look like viv's own lines: box characters, arrows, brackets, quotes,
//     and long runs of blanks.
func appendReadable(b, s []byte, where context) []byte {
	blanks, marks := 0, maxMarks // marks: maxMarks means that no mark may follow
	for i := 0; i < len(s); {
		begin := i
		for i < len(s) && unescaped[s[i]] {
			i++
		}
		if i > begin {
			b = append(b, s[begin:i]...)
			blanks, marks = 0, maxMarks
			continue
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			b, marks = appendRune(b, s[i:i+n], r, marks)
			i += n
			blanks = 0
			continue
		}
		marks = maxMarks
		if c != ' ' {
			blanks = 0
		} else {
			blanks++
		}
		switch {
		case c < 0x20 || c == 0x7f:
			b = appendControl(b, c)
		case c == ' ' && hidesBlank(s, i, blanks, where):
			b = append(b, `\x20`...)
		case where == inQuotes && (c == '"' || c == '\\' || c == '#' && interpolates(s[i+1:])):
			b = append(b, '\\', c)
		case where == inBrackets && c == '[':
			if n := bracketed(s[i:]); n > 0 {
				b = append(b, s[i:i+n]...)
				i += n
				continue
			}
			b = append(b, `\x5B`...)
		case where == inBrackets && c == ']':
			b = append(b, `\x5D`...)
		default:
			b = append(b, c)
		}
		i++
	}
	return b
}

// appendRune appends the character r, whose bytes are s, or its escape. marks is the number
// of combining marks since the last letter. It returns that number for the next character.
func appendRune(b, s []byte, r rune, marks int) ([]byte, int) {
	switch {
	case r == utf8.RuneError && len(s) == 1:
		return append(b, '\\', 'x', hexUpper[s[0]>>4], hexUpper[s[0]&15]), maxMarks
	case combines(r):
		if marks < maxMarks {
			return append(b, s...), marks + 1
		}
	case isShown(r):
		marks = maxMarks
		if unicode.IsLetter(r) {
			marks = 0
		}
		return append(b, s...), marks
	}
	b = appendHex(append(b, `\u{`...), uint64(r), hexUpper)
	return append(b, '}'), maxMarks
}

// combines reports whether r is drawn into the letter before it: a mark of one script, or a
// vowel or final consonant of Korean. Marks of no particular script are not among these.
func combines(r rune) bool {
	if unicode.In(r, unicode.Inherited, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
		return false
	}
	return unicode.In(r, unicode.Mn, unicode.Mc) || 0x1160 <= r && r <= 0x11ff || 0xd7b0 <= r && r <= 0xd7ff
}

// isShown reports whether r, above ASCII, is not escaped.
func isShown(r rune) bool {
	switch {
	case unicode.IsLetter(r) || unicode.IsNumber(r):
		return !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) && !lookalikes[r]
	case unicode.Is(unicode.Sc, r):
		return true
	}
	return punctuation[r] || unicode.Is(unicode.So, r) && unicode.Is(pictures, r)
}

// lookalikes are the letters that look like a vertical line or a double quote.
var lookalikes = runes("ǀǁǂʺˮㅣ丨ￜ׀।॥")

// punctuation has the punctuation and signs above ASCII that are shown. None of them looks
// like a double quote, a square bracket, or a part of a line.
var punctuation = runes("¡¿§¶·«»°©®™№×÷±‐‑–—‘’…،؛؟、。・「」『』《》〈〉（），．：；！？～")

// pictures are the blocks of pictographs, without arrows, boxes and ornaments.
var pictures = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x2600, Hi: 0x26ff, Stride: 1}},
	R32: []unicode.Range32{
		{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1},
		{Lo: 0x1f900, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x1fa70, Hi: 0x1faff, Stride: 1},
	},
}

// hidesBlank reports whether the blank at s[i], the n-th of a run, is escaped. Without
// quotes it is escaped if it would not visibly belong to the text, or if a key seems to
// follow.
func hidesBlank(s []byte, i, n int, where context) bool {
	switch {
	case where == inQuotes:
		return n > maxBlanks
	case n > 1 || i == 0 || i == len(s)-1:
		return true
	}
	key := s[i+1:]
	rest := bytes.TrimLeft(key, "abcdefghijklmnopqrstuvwxyz_")
	return len(rest) < len(key) && len(rest) > 0 && rest[0] == '='
}

// interpolates reports whether # before s begins an interpolation in Ruby's double quotes.
func interpolates(s []byte) bool {
	return len(s) > 0 && (s[0] == '{' || s[0] == '$' || s[0] == '@')
}

// bracketed returns the length of a simple pair of brackets at the beginning of s, as in
// Array#[] or f[abi:cxx11]; 0: there is none.
func bracketed(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == ']':
			return i + 1
		case !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == ':' || c == '_' || c == '.'):
			return 0
		}
	}
	return 0
}

// runes returns the set of the characters in s.
func runes(s string) map[rune]bool {
	set := map[rune]bool{}
	for _, r := range s {
		set[r] = true
	}
	return set
}

// appendQuoted appends s in double quotes.
func appendQuoted(b, s []byte) []byte {
	return append(appendReadable(append(b, '"'), s, inQuotes), '"')
}

// AppendName appends the name of a program, a method or a file for the brackets of a
// process or span of viv's own session. The result cannot look like viv's own output.
func AppendName(b, s []byte) []byte { return appendReadable(b, s, inBrackets) }
