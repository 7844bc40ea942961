package filter

import (
	"bytes"
	"regexp"
	"regexp/syntax"
)

// Pattern is a text to look for, or a regular expression.
type Pattern struct {
	literal []byte
	match   func([]byte) bool // nil: literal
}

// Literal matches what contains s.
func Literal(s string) Pattern { return Pattern{literal: []byte(s)} }

// Expression compiles a regular expression (RE2). One that is nothing but a
// text is searched for as one, which is much faster.
func Expression(s string) (Pattern, error) {
	// Not by LiteralPrefix: that one says of ^x as well that x is all of it.
	if p, err := syntax.Parse(s, syntax.Perl); err == nil && p.Op == syntax.OpLiteral && p.Flags&syntax.FoldCase == 0 {
		return Literal(string(p.Rune)), nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{match: re.Match}, nil
}

// Match says whether b holds what the pattern describes.
func (p Pattern) Match(b []byte) bool {
	if p.match != nil {
		return p.match(b)
	}
	return bytes.Contains(b, p.literal)
}

// Patterns match what one of them matches.
type Patterns []Pattern

// Match says whether one of the patterns matches b.
func (ps Patterns) Match(b []byte) bool {
	for _, p := range ps {
		if p.Match(b) {
			return true
		}
	}
	return false
}
