// Package mask hides secrets in what viv shows of other programs: passwords,
// tokens and the like in URLs, in headers and in arguments. It goes by names
// (token=, --password, Authorization:), by the places where well-known programs
// take a secret (also behind wrappers such as sudo, and in the text of a shell),
// and by the shape of a few kinds of token. It cannot know every secret; where
// it is in doubt it hides.
//
// The work is linear in the length of the text, times maxDepth at most.
package mask

import (
	"bytes"
	"slices"
)

// Hidden stands for what was hidden.
const Hidden = "***"

// maxDepth is how deep texts lie in each other: a command line in a word of a
// command line, an escaped URL in a URL. What lies deeper is hidden as a whole.
const maxDepth = 6

// A span is a part of a word that is a secret.
type span struct{ word, from, to int }

// A masker looks for the secrets in the words of one command.
type masker struct {
	words  [][]byte
	cur    int // the word that is looked at
	hidden []span
	depth  int // of the texts that may still lie in these words
}

// hide notes bytes of the current word as a secret.
func (m *masker) hide(from, to int) {
	if from < to {
		m.hidden = append(m.hidden, span{m.cur, from, to})
	}
}

// Args hides the secrets of a command's arguments, argv[0] first. Elements that
// have one are replaced in argv itself; their bytes are left alone.
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

// sort puts the secrets into the order in which they stand.
func (m *masker) sort() {
	slices.SortFunc(m.hidden, func(a, b span) int {
		if a.word != b.word {
			return a.word - b.word
		}
		return a.from - b.from
	})
}

// appendMasked appends text with Hidden in the place of the spans, which are in
// order and may overlap.
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

// base is the last part of a path.
func base(path []byte) []byte { return path[bytes.LastIndexByte(path, '/')+1:] }
