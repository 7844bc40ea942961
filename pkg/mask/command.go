package mask

import "bytes"

// command finds the secrets in the words of one command. The first word is the name of the
// program, which is never hidden.
func (m *masker) command() {
	if len(m.words) > 0 {
		m.programs(0)
	}
}

// line is command for a line of a shell, where assignments can precede the program.
func (m *masker) line() {
	for i, w := range m.words {
		m.cur = i
		m.word(w, 0)
		if !isAssignment(w) {
			m.programs(i)
			return
		}
	}
}

// programs checks the command that begins at word i, and the commands that it starts:
// sudo timeout 5 mysql ...
func (m *masker) programs(i int) {
	for i < len(m.words) {
		i = m.program(i)
	}
}

// program checks the options and operands of the program whose name is word i. It returns
// the index of the command that this program starts, or the number of words.
func (m *masker) program(i int) int {
	t := toolOf(m.words[i])
	operands, dashes := 0, false
	for i++; i < len(m.words); i++ {
		w := m.words[i]
		m.cur = i
		switch {
		case len(w) == 0:
		case !dashes && string(w) == "--":
			dashes = true
			if t != nil && t.wraps {
				operands = t.before
			}
			continue
		case !dashes && (w[0] == '-' && len(w) > 1 || t != nil && t.words):
			var ok bool
			if t, i, ok = m.option(t, i); ok {
				continue
			}
			m.cur = i
		}
		switch {
		case t != nil && t.wraps:
			m.word(w, 0)
			if isAssignment(w) {
				continue
			}
			if operands >= t.before && len(w) > 0 {
				return i
			}
		case t.subcommand(w) != nil:
			m.word(w, 0)
			t, operands = t.subcommand(w), 0
			continue
		case t == nil && toolOf(w) != nil && !among(w, commonNames):
			return i
		case t != nil && t.namesValue(operands):
			m.word(w, 0)
			if kindOf(w) >= loose && i+1 < len(m.words) {
				i++
				m.cur = i
				m.value(whole, m.words[i], 0)
			}
		default:
			m.value(t.operand(operands), w, 0)
		}
		operands++
	}
	return i
}

// isAssignment reports whether a word is NAME=VALUE.
func isAssignment(w []byte) bool {
	n := bytes.IndexByte(w, '=')
	if n <= 0 || w[0] == '-' {
		return false
	}
	for _, c := range w[:n] {
		if !wordByte(c) {
			return false
		}
	}
	return true
}

// option checks word i as an option of the tool, with its value. It returns the tool, which
// the option can change, the last word that it checked, and whether the word is an option.
func (m *masker) option(t *tool, i int) (*tool, int, bool) {
	w := m.words[i]
	if t != nil {
		if s := t.sub[string(w)]; s != nil {
			return s, i, true
		}
		for n := 1; n < len(w) && w[0] == '-' && w[1] != '-' && t.switches; n++ {
			if s := t.sub["-"+string(w[n])]; s != nil {
				t = s
			}
		}
		o, value := t.optionOf(w)
		switch {
		case o == nil:
		case value > 0:
			m.value(o.form, w, value)
			return t, i, true
		case o.form == attached || i+1 == len(m.words):
			return t, i, true
		case o.form == named && i+2 < len(m.words):
			m.cur = i + 2
			form := shown
			if kindOf(m.words[i+1]) >= loose {
				form = whole
			}
			m.value(form, m.words[i+2], 0)
			return t, i + 2, true
		case o.form == double && i+2 < len(m.words):
			m.cur = i + 1
			m.value(whole, m.words[i+1], 0)
			m.cur = i + 2
			m.value(whole, m.words[i+2], 0)
			return t, i + 2, true
		default:
			m.cur = i + 1
			m.value(o.form, m.words[i+1], 0)
			return t, i + 1, true
		}
	}
	if w[0] != '-' {
		return t, i, false
	}
	if len(w) > 2 && !bytes.ContainsAny(w, "= \t\n:/?") {
		name := bytes.TrimLeft(w, "-")
		if kind := takesSecret(name); kind != public && i+1 < len(m.words) && !isLongOption(m.words[i+1]) {
			if value := m.words[i+1]; secretValue(kind, name, value) && (kind != weak || !uuid(value) && (len(value) > 15 || among(name, weakNames))) {
				m.cur = i + 1
				m.hide(0, len(value))
				return t, i + 1, true
			}
		}
	}
	m.word(w, 0)
	return t, i, true
}

// isLongOption reports whether a word is a --option, and so not a secret.
func isLongOption(w []byte) bool {
	return len(w) > 3 && w[0] == '-' && w[1] == '-' && 'a' <= w[2] && w[2] <= 'z'
}

// value hides the secrets in a value of a form: the current word from i on.
func (m *masker) value(f form, w []byte, i int) {
	sep := byte(0)
	switch f {
	case whole, attached, named, double:
		m.hide(i, len(w))
		return
	case wholeOrPair:
		if !isAssignment(w[i:]) {
			m.hide(i, len(w))
			return
		}
	case script:
		m.text(w, i)
		return
	case formData:
		if i < len(w) && bytes.IndexByte([]byte("{[<@\"'"), w[i]) < 0 && bytes.IndexByte(w[i:], ' ') < 0 {
			m.query(w, i, len(w))
		}
	case cookie:
		if bytes.IndexByte(w[i:], '=') >= 0 {
			m.hide(i, len(w))
			return
		}
	case pair:
		if n := bytes.IndexByte(w[i:], '='); n >= 0 {
			m.hide(i+n+1, len(w))
			return
		}
	case lastColon:
		if n := bytes.LastIndexByte(w[i:], ':'); n >= 0 {
			m.hide(i+n+1, len(w))
			return
		}
	case userColon, certColon, hostLogin:
		sep = ':'
	case userPercent:
		sep = '%'
	case userComma:
		sep = ','
	case userSlash:
		sep = '/'
	case bare:
		m.target(w, i, len(w))
	}
	if sep != 0 {
		n := bytes.IndexByte(w[i:], sep)
		if f == hostLogin && bytes.IndexByte(w, '@') < i+n {
			n = -1
		}
		end := len(w)
		if f == hostLogin || f == userSlash {
			if at := bytes.LastIndexByte(w, '@'); at > i+n {
				end = at
			}
		}
		switch {
		case n >= 0 && i+n+1 == end && random(w[i:i+n], 8):
			m.hide(i, i+n) // the user is the secret
		case n >= 0:
			m.hide(i+n+1, end)
		}
		if n >= 0 {
			m.findTokens(w, i, i+n)
			return
		}
	}
	if f == userColon && random(w[i:], 10) {
		m.hide(i, len(w))
		return
	}
	m.word(w, i)
}

// secretReaders are programs that read secrets from their standard input.
var secretReaders = []string{"chpasswd", "passwd", "smbpasswd", "vncpasswd", "cryptsetup", "kinit", "newusers", "sshpass"}

// readsSecret reports whether a command reads a secret from its standard input.
func (m *masker) readsSecret() bool {
	for i, w := range m.words {
		switch {
		case among(base(w), secretReaders):
			return true
		case i > 0 && (bytes.HasSuffix(w, []byte("-stdin")) || among(w, []string{"--with-token", "--passphrase-fd"})):
			return true
		case i > 0 && string(w) == "-S" && string(base(m.words[0])) == "sudo":
			return true
		}
	}
	return false
}
