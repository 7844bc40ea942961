package mask

import "bytes"

// word finds the secrets in the current word from i on: NAME=VALUE up to its end, or a text.
func (m *masker) word(b []byte, i int) {
	n := i
	for n < len(b) && nameByte(b[n]) {
		n++
	}
	if n > i && n < len(b) && b[n] == '=' {
		if name := bytes.TrimLeft(b[i:n], "-"); kindOf(name) >= loose && secretValue(kindOf(name), name, b[n+1:]) {
			end := pairEnd(b, n+1, len(b))
			m.hide(n+1, end)
			i = end
		}
	}
	m.text(b, i)
}

// text finds the secrets in b from i on, which may be a command line.
func (m *masker) text(b []byte, i int) {
	m.find(b, i, len(b))
	if bytes.ContainsAny(b[i:], " \t\n") {
		m.shell(b, i, len(b))
	}
}

// find finds the secrets in b[i:end] that do not depend on a command: pairs, headers,
// members of JSON, URLs, SQL, tokens.
func (m *masker) find(b []byte, i, end int) {
	start := i       // what stands before is none of find's business
	word := i        // where the word begins
	colon := -1      // the first colon of the word
	forUser := false // SQL's PASSWORD FOR a user
	named := false   // {"name": "password", of which "value": follows
	for i < end {
		c := b[i]
		if wordByte(c) {
			if i > start && wordByte(b[i-1]) {
				i++
				continue
			}
			if n := token(b[i:end]); n > 0 {
				m.hide(i, i+n)
				i += n
				continue
			}
			if c == '-' {
				if from, to := privateKey(b[i:end]); to > 0 {
					m.hide(i+from, i+to)
					i += to
					continue
				}
			}
			from, to, forA := keyword(b, start, i, end)
			forUser = forUser || forA
			if to > from {
				m.hide(from, to)
				i = to
				continue
			}
			i++
			continue
		}
		switch {
		case c == '=':
			if to := m.pair(b, start, i, end, forUser); to > i {
				i, word, colon = to, to, -1
				continue
			}
			word, colon = i+1, -1
		case c == ':' && bytes.HasPrefix(b[i:end], []byte("://")) && i > word:
			to := i + 3
			for to < end && classes[b[to]]&ends == 0 {
				to++
			}
			m.url(b, word, i+3, to)
			i = to
			continue
		case c == ':':
			if to := m.header(b, start, i, end); to > i {
				i = to
				continue
			}
			if colon < 0 {
				colon = i
			}
		case c == '@' && i-word < maxPlain && bytes.Contains(b[word:i], []byte("thin:")): // of Oracle
			if slash := bytes.LastIndexByte(b[word:i], '/'); slash >= 0 {
				m.hide(word+slash+1, i)
			}
		case c == '@' && colon > word:
			if isLogin(b[word:colon], b[i+1:end]) && i > colon+1 {
				m.hide(colon+1, i)
			}
		case c == '>' && word > start && b[word-1] == '<' && kindOf(b[word:i]) > weak: // <password>...
			to := i + 1
			for to < end && b[to] != '<' {
				to++
			}
			m.hide(i+1, to)
			i, word, colon = to, to, -1
			continue
		case c == '"' || c == '\'' || c == '\\':
			if name, value := member(b[i:end]); name > 0 {
				m.hide(i+name, i+name+value)
				i += name + value
				word, colon = i, -1
				continue
			}
			if from, to := stringMember(b[i:end], "name", "Name", "key"); to > 0 {
				named = kindOf(b[i+from:i+to]) >= loose
			} else if from, to := stringMember(b[i:end], "value", "Value"); named && to > 0 {
				m.hide(i+from, i+to)
				i, named = i+to, false
				continue
			}
			word, colon = i+1, -1
		case classes[c]&ends != 0 || c == ',' || c == ';' || c == '{':
			word, colon = i+1, -1
		}
		i++
	}
}

// pair checks the NAME=VALUE whose = is at i, hides a secret, and returns its end, or i if
// there is none. Blanks and > can be between NAME and VALUE.
func (m *masker) pair(b []byte, start, i, end int, forUser bool) int {
	n := i
	for n > start && b[n-1] == ' ' && i-n < 2 {
		n--
	}
	name := n
	for name > start && nameByte(b[name-1]) {
		name--
	}
	value := i + 1
	for value < end && (b[value] == '=' || b[value] == '>' || b[value] == ' ') && value-i < 4 {
		value++
	}
	quoted := value < end && (b[value] == '"' || b[value] == '\'')
	if !quoted {
		if n < i {
			return i
		}
		value = i + 1
	}
	if name > start && b[name-1] == '/' {
		return i // a path
	}
	kind := kindOf(b[name:n])
	if quoted && kind < loose && (forUser || pragmaKey(b[start:n])) {
		kind = strong
	}
	if kind == public {
		return i
	}
	valueEnd := func(end int) int { return pairEnd(b, value, wordEnd(b, value, end)) }
	if quoted {
		value++
		valueEnd = func(end int) int { return quoteEnd(b, value, end) }
	}
	to := valueEnd(min(end, value+maxPlain))
	if !secretValue(kind, b[name:n], b[value:to]) {
		return i
	}
	to = valueEnd(end)
	m.hide(value, to)
	return to
}

// pragmaKey reports whether text ends with the PRAGMA that sets the key of an SQLite
// database.
func pragmaKey(text []byte) bool {
	const pragma = "pragma key"
	return len(text) >= len(pragma) && bytes.EqualFold(text[len(text)-len(pragma):], []byte(pragma))
}

// maxPlain is the maximum length, in bytes, of a value with a secret name that can be
// recognised as no secret, such as the name of a file.
const maxPlain = 128

// wordEnd returns the end of the word that begins at i.
func wordEnd(b []byte, i, end int) int {
	for i < end && classes[b[i]]&ends == 0 {
		i++
	}
	return i
}

// quoteEnd returns the end of the quoted text that begins at i, after its quote.
func quoteEnd(b []byte, i, end int) int {
	for quote := b[i-1]; i < end && b[i] != quote; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return min(i, end)
}

// pairEnd returns the end of the value that begins at i: a separator that is followed by
// another NAME=VALUE or by nothing. Other separators can be part of a password.
func pairEnd(b []byte, i, end int) int {
	for ; i < end; i++ {
		if b[i] != '&' && b[i] != ';' && b[i] != ',' {
			continue
		}
		n := i + 1
		for n < end && (nameByte(b[n]) || b[n] == ' ') {
			n++
		}
		if n == i+1 && n == end || n > i+1 && n < end && b[n] == '=' {
			return i
		}
		i = n - 1
	}
	return end
}

// header checks the NAME: VALUE whose colon is at i, hides a secret, and returns its end,
// or i if there is none.
func (m *masker) header(b []byte, start, i, end int) int {
	name := i
	for name > start && wordByte(b[name-1]) {
		name--
	}
	value := i + 1
	if i-name < 2 || value == end || b[value] == '/' {
		return i
	}
	for value < end && b[value] == ' ' {
		value++
	}
	kind := kindOf(b[name:i])
	if kind == public || kind == loose && !authHeader(b[name:i]) {
		return i // auth: and session: begin many another line
	}
	before := byte(0)
	if name > start {
		before = b[name-1]
	}
	var valueEnd func(end int) int
	switch {
	case value < end && before != 0 && b[value] == before: // "Password: " asks for one
		return i
	case value < end && (b[value] == '"' || b[value] == '\''):
		value++
		valueEnd = func(end int) int { return quoteEnd(b, value, end) }
	case before == '"' || before == '\'':
		valueEnd = func(end int) int { return lineEnd(b, value, end, before) }
	case name == start:
		valueEnd = func(end int) int { return lineEnd(b, value, end, 0) }
	case b[i+1] != ' ' && kind != loose:
		valueEnd = func(end int) int { return wordEnd(b, value, end) }
	default:
		valueEnd = func(end int) int {
			to := value
			for to < end && b[to] != '"' && b[to] != '\'' && b[to] != '\\' && b[to] != '\r' && b[to] != '\n' {
				to++
			}
			return to
		}
	}
	to := valueEnd(min(end, value+maxPlain))
	if !secretValue(kind, b[name:i], bytes.TrimSpace(b[value:to])) || isPort(b[value:to]) {
		return i
	}
	to = valueEnd(end)
	m.hide(value, to)
	return to
}

// authHeader reports whether a name with auth or session in it is the name of a header.
func authHeader(name []byte) bool {
	var buf [64]byte
	n := fold(buf[:0], bytes.TrimLeft(name, "-"))
	return bytes.Contains(n, []byte("authori")) || n[0] == 'x' || bytes.HasSuffix(n, []byte("authkey"))
}

// isPort reports whether text is a port, as in token-service:8080.
func isPort(text []byte) bool {
	return len(text) < 6 && len(bytes.Trim(text, "0123456789")) == 0
}

// lineEnd returns the end of the line, or of the text in these quotes.
func lineEnd(b []byte, i, end int, quote byte) int {
	for i < end && b[i] != '\r' && b[i] != '\n' && (quote == 0 || b[i] != quote) {
		i++
	}
	return i
}

// member returns the length of the "NAME": at the beginning of text, if it is a name in JSON
// whose value is a secret, and the length of the value, if that has no members of its own;
// else 0. The quotes can be escaped.
func member(text []byte) (name, value int) {
	quote := text[:1]
	if text[0] == '\\' {
		if len(text) < 2 || text[1] != '"' {
			return 0, 0
		}
		quote = text[:2]
	}
	n := len(quote)
	for n < len(text) && nameByte(text[n]) {
		n++
	}
	key := text[len(quote):n]
	rest, ok := bytes.CutPrefix(text[n:], quote)
	if !ok || len(key) == 0 {
		return 0, 0
	}
	rest = bytes.TrimLeft(rest, " \t\r\n")
	if arrow, ok := bytes.CutPrefix(rest, []byte("=>")); ok {
		rest = arrow
	} else if rest, ok = bytes.CutPrefix(rest, []byte{':'}); !ok {
		return 0, 0
	}
	kind := kindOf(key)
	if kind == public {
		return 0, 0
	}
	rest = bytes.TrimLeft(rest, " \t\r\n")
	name = len(text) - len(rest)
	if s, ok := bytes.CutPrefix(rest, quote); ok {
		name += len(quote)
		for value < len(s) && !bytes.HasPrefix(s[value:], quote) {
			if s[value] == '\\' {
				value++ // with what it escapes
			}
			value++
		}
		value = min(value, len(s))
	} else if len(rest) > 0 && (rest[0] == '{' || rest[0] == '[') {
		return name, 0
	} else {
		for value < len(rest) && bytes.IndexByte([]byte(",}] \t\r\n'\""), rest[value]) < 0 {
			value++
		}
	}
	if !secretValue(kind, key, text[name:name+value]) {
		return 0, 0
	}
	return name, value
}

// stringMember returns the position of the value in the "NAME": "..." of JSON at the
// beginning of text, if it has one of these names.
func stringMember(text []byte, names ...string) (from, to int) {
	rest, ok := bytes.CutPrefix(text, []byte{'"'})
	n := bytes.IndexByte(rest[:min(len(rest), 8)], '"')
	if !ok || n < 0 || !among(rest[:n], names) {
		return 0, 0
	}
	rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest[n+1:], " "), []byte{':'})
	if !ok {
		return 0, 0
	}
	if rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " "), []byte{'"'}); !ok {
		return 0, 0
	}
	from = len(text) - len(rest)
	return from, quoteEnd(text, from, len(text))
}

// keyword returns the secret after the word that begins at i, if a secret follows such a
// word: SQL's PASSWORD '...' and IDENTIFIED BY '...', Bearer. forUser reports PASSWORD FOR,
// after which the secret comes later.
func keyword(b []byte, start, i, end int) (from, to int, forUser bool) {
	var buf [8]byte
	n := i
	for n < end && n-i < len(buf) && wordByte(b[n]) {
		buf[n-i] = b[n] | 0x20
		n++
	}
	if n == end {
		return 0, 0, false
	}
	from = n
	for from < end && (b[from] == ' ' || b[from] == '(' || b[from] == '=') {
		from++
	}
	if from == n || from == end {
		return 0, 0, false
	}
	switch string(buf[:n-i]) {
	case "bearer":
		to = wordEnd(b, from, end)
	case "basic":
		if to = wordEnd(b, from, end); i == start || to-from < 8 || !random(b[from:to], 8) {
			return 0, 0, false
		}
	case "auth": // ('user', 'password')
		return secondArgument(b, from, end)
	case "password", "secret", "by":
		by := n-i == 2
		before := bytes.TrimRight(b[start:i], " ")
		before = before[max(0, len(before)-10):]
		identified := by && bytes.EqualFold(before, []byte("identified"))
		switch {
		case !by && len(b) > from+3 && from > n && bytes.EqualFold(b[from:from+3], []byte("for")):
			return 0, 0, true
		case b[from] == '\'' || identified && b[from] == '"':
			from++
			to = quoteEnd(b, from, end)
		case identified:
			to = wordEnd(b, from, end)
			if bytes.EqualFold(b[from:to], []byte("password")) {
				return 0, 0, false // which the next turn looks at
			}
		}
	}
	return from, to, false
}

// secondArgument returns the quoted text after another quoted text and a comma.
func secondArgument(b []byte, i, end int) (from, to int, forUser bool) {
	if b[i] != '"' && b[i] != '\'' {
		return 0, 0, false
	}
	i = quoteEnd(b, i+1, min(end, i+maxPlain)) + 1
	comma := i
	for i < end && (b[i] == ' ' || b[i] == ',') {
		i++
	}
	if i == comma || i >= end || b[i] != '"' && b[i] != '\'' {
		return 0, 0, false
	}
	return i + 1, quoteEnd(b, i+1, end), false
}

// isLogin reports whether a word is USER:PASSWORD@HOST, given USER and the text from HOST on.
// Many other texts have a colon and an @.
func isLogin(user, host []byte) bool {
	if among(user, []string{"mailto", "to", "from", "cc", "bcc", "reply-to", "sip", "sips", "xmpp", "acct", "npm", "jsr", "git", "file", "by"}) {
		return false
	}
	if bytes.HasPrefix(host, []byte("tcp(")) || bytes.HasPrefix(host, []byte("unix(")) { // of Go's drivers
		return true
	}
	n := 0
	letters, point := false, -1
	for n < len(host) && n < 256 && (wordByte(host[n]) || host[n] == '.') {
		if host[n] == '.' {
			point, letters = n, true
		} else if host[n] < 'A' {
			letters = false
		}
		n++
	}
	if string(host[:n]) == "localhost" {
		return true
	}
	ipv4 := bytes.Count(host[:n], []byte{'.'}) == 3 && len(bytes.Trim(host[:n], "0123456789.")) == 0
	return ipv4 || point > 0 && letters && n-point > 2
}
