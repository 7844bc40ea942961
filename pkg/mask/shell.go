package mask

import "bytes"

// shell finds the secrets of the commands in b[i:end], a shell command. It splits words like
// a shell, without expansions.
func (m *masker) shell(b []byte, i, end int) {
	if m.depth <= 1 {
		m.hide(i, end)
		return
	}
	s := commands{
		outer: m,
		inner: masker{depth: m.depth - 1, words: make([][]byte, 0, 8)},
		plain: make([]byte, 0, end-i),
		at:    make([]int, 0, end-i),

		begins: make([]int, 0, 8),
	}
	// A quote that has no partner is an apostrophe.
	lastDouble, lastSingle := bytes.LastIndexByte(b[:end], '"'), bytes.LastIndexByte(b[:end], '\'')
	quote := byte(0)
	for ; i < end; i++ {
		c := b[i]
		switch {
		case c == quote:
			quote = 0
		case quote == '\'':
			s.put(c, i)
		case c == '\\' && i+1 < end && (quote == 0 || bytes.IndexByte([]byte("\"\\$`"), b[i+1]) >= 0):
			i++
			if b[i] != '\n' {
				s.put(b[i], i)
			}
		case quote != 0:
			s.put(c, i)
		case c == '"' && i < lastDouble || c == '\'' && i < lastSingle:
			quote = c
			s.inWord = true
		case c == '|':
			s.endCommand(i+1 < end && b[i+1] != '|')
		case c == '\n' || c == ';' || c == '&' || c == '(' || c == ')' || c == '`':
			s.endCommand(false)
		case classes[c]&blank != 0 || c == '<' || c == '>':
			s.endWord()
		default:
			s.put(c, i)
		}
	}
	s.endCommand(false)
}

// commands is the state of reading the commands of a shell command.
type commands struct {
	outer *masker
	inner masker // of the command that is read
	plain []byte // the words without their quotes, one behind the other
	at    []int  // where each of these bytes stands in the text

	begins []int // in plain, of the words of the command
	begin  int   // of the word that is read
	inWord bool

	echoed []int // where the words of an echo stand in plain whose output goes to the next command
}

func (s *commands) put(c byte, at int) {
	s.plain = append(s.plain, c) // within its capacity: words stay where they are
	s.at = append(s.at, at)
	s.inWord = true
}

func (s *commands) endWord() {
	if s.inWord {
		s.inner.words = append(s.inner.words, s.plain[s.begin:])
		s.begins = append(s.begins, s.begin)
	}
	s.begin, s.inWord = len(s.plain), false
}

// endCommand checks the command that has been read. piped: its output goes to the next one.
func (s *commands) endCommand(piped bool) {
	s.endWord()
	if len(s.begins) == 0 {
		return
	}
	s.inner.line()
	for _, h := range s.inner.hidden {
		begin := s.begins[h.word]
		s.outer.hide(s.at[begin+h.from], s.at[begin+h.to-1]+1)
	}
	if len(s.echoed) > 0 && s.inner.readsSecret() {
		s.outer.hide(s.at[s.echoed[0]], s.at[s.echoed[1]-1]+1)
	}
	s.echoed = s.echoed[:0]
	if words := s.inner.words; piped && (string(words[0]) == "echo" || string(words[0]) == "printf") {
		n := 1
		for n < len(words) && len(words[n]) > 0 && words[n][0] == '-' {
			n++
		}
		if n < len(words) && s.begins[n] < len(s.plain) {
			s.echoed = append(s.echoed, s.begins[n], len(s.plain))
		}
	}
	s.inner.words, s.inner.hidden, s.begins = s.inner.words[:0], s.inner.hidden[:0], s.begins[:0]
}
