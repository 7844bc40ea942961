package filter

import (
	"bytes"
	"regexp"
	"regexp/syntax"
)

// Pattern is a text to search for, or a regular expression.
type Pattern struct {
	literal []byte
	match   func([]byte) bool // nil: literal
}

// Literal returns a Pattern that matches every text that contains s.
func Literal(s string) Pattern { return Pattern{literal: []byte(s)} }

// Expression compiles a regular expression (RE2 syntax). An expression without
// operators becomes a Literal, which is much faster.
func Expression(s string) (Pattern, error) {
	// Not regexp.LiteralPrefix: it reports ^x as the complete literal x.
	if p, err := syntax.Parse(s, syntax.Perl); err == nil && p.Op == syntax.OpLiteral && p.Flags&syntax.FoldCase == 0 {
		return Literal(string(p.Rune)), nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{match: re.Match}, nil
}

// Match reports whether b contains a match of the pattern.
func (p Pattern) Match(b []byte) bool {
	if p.match != nil {
		return p.match(b)
	}
	return bytes.Contains(b, p.literal)
}

// Patterns is a list of which one must match.
type Patterns []Pattern

// Match reports whether one of the patterns matches b.
func (ps Patterns) Match(b []byte) bool {
	for _, p := range ps {
		if p.Match(b) {
			return true
		}
	}
	return false
}
