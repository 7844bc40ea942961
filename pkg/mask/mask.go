// Package mask hides secrets of other programs: passwords, tokens and similar values in
// URLs, headers and arguments. It recognises them by names (token=, --password,
// Authorization:), by the places where well-known programs take a secret (also behind
// wrappers such as sudo, and in shell commands), and by the format of some kinds of
// tokens. It cannot recognise every secret. In doubt it hides the value.
//
// The time is linear in the length of the text, times maxDepth at most.
package mask

import (
	"bytes"
	"slices"
)

// Hidden replaces a secret.
const Hidden = "***"

// maxDepth is the maximum nesting of texts: a command line in a word of a command line, an
// escaped URL in a URL. Deeper text is hidden completely.
const maxDepth = 6

// A span is a part of a word that is a secret.
type span struct{ word, from, to int }

// A masker finds the secrets in the words of one command.
type masker struct {
	words  [][]byte
	cur    int // the word that is looked at
	hidden []span
	depth  int // of the texts that may still lie in these words
}

// hide marks bytes of the current word as a secret.
func (m *masker) hide(from, to int) {
	if from < to {
		m.hidden = append(m.hidden, span{m.cur, from, to})
	}
}

// Args hides the secrets in the arguments of a command; argv[0] is the program. It replaces
// elements of argv that have secrets, and does not change the bytes of the old elements.
func Args(argv [][]byte) {
	m := masker{words: argv, depth: maxDepth}
	m.command()
	if len(m.hidden) == 0 {
		return
	}
	m.sort()
	for spans := m.hidden; len(spans) > 0; {
		n := 1
		for n < len(spans) && spans[n].word == spans[0].word {
			n++
		}
		arg := argv[spans[0].word]
		argv[spans[0].word] = appendMasked(make([]byte, 0, len(arg)+n*len(Hidden)), arg, spans[:n])
		spans = spans[n:]
	}
}

// AppendTarget appends the target of an HTTP request (a path with its query, a
// URL, or HOST:PORT) without its secrets.
func AppendTarget(b, target []byte) []byte {
	m := masker{depth: maxDepth}
	m.target(target, 0, len(target))
	m.sort()
	return appendMasked(b, target, m.hidden)
}

// sort sorts the secrets by position.
func (m *masker) sort() {
	slices.SortFunc(m.hidden, func(a, b span) int {
		if a.word != b.word {
			return a.word - b.word
		}
		return a.from - b.from
	})
}

// appendMasked appends text with Hidden instead of the spans, which are sorted and can
// overlap.
func appendMasked(b, text []byte, spans []span) []byte {
	shown := 0 // text before it has been appended
	for i := 0; i < len(spans); {
		from, to := spans[i].from, spans[i].to
		for i++; i < len(spans) && spans[i].from <= to; i++ {
			to = max(to, spans[i].to)
		}
		b = append(append(b, text[shown:from]...), Hidden...)
		shown = to
	}
	return append(b, text[shown:]...)
}

// base returns the last part of a path.
func base(path []byte) []byte { return path[bytes.LastIndexByte(path, '/')+1:] }
