package mask

import "bytes"

// member is the length of the "NAME": that text begins with, a name of JSON
// whose value is a secret, and of that value, if it has no members of its own;
// or 0. The quotes may be escaped.
func member(text []byte) (name, value int) {
	var quote []byte
	switch {
	case text[0] == '"' || text[0] == '\'':
		quote = text[:1]
	case bytes.HasPrefix(text, []byte("\\\"")):
		quote = text[:2]
	default:
		return 0, 0
	}
	n := len(quote)
	for n < len(text) && wordByte(text[n]) {
		n++
	}
	key := string(text[len(quote):n])
	rest, ok := bytes.CutPrefix(text[n:], quote)
	if !ok || key == "" {
		return 0, 0
	}
	rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte{':'})
	if !ok || !Secret(key) {
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
		return name, min(value, len(s))
	}
	if len(rest) > 0 && (rest[0] == '{' || rest[0] == '[') {
		return name, 0
	}
	if value = bytes.IndexAny(rest, ",}] \t\r\n'\""); value < 0 {
		value = len(rest)
	}
	return name, value
}

// header is the length of the NAME: that text begins with, with the blanks
// behind it, of a header that carries a secret; or 0.
func header(text []byte) int {
	n := headerName(text)
	if n == 0 || n == len(text) || text[n] == '/' { // a URL's scheme
		return 0
	}
	for n < len(text) && text[n] == ' ' {
		n++
	}
	return n
}

// headerName is the length of the NAME: that text begins with, of a header that
// carries a secret; or 0.
func headerName(text []byte) int {
	n := 0
	for n < len(text) && wordByte(text[n]) {
		n++
	}
	if n < 3 || n == len(text) || text[n] != ':' || !Secret(string(text[:n])) {
		return 0
	}
	return n + 1
}

// headerIn is where a header begins inside a word, such as -HCookie: or
// --header=Cookie:; 0: nowhere, or at the start.
func headerIn(word []byte) int {
	for i := 1; i < len(word); i++ {
		if (word[i-1] == '=' || i == 2 && word[0] == '-' && word[1] == 'H') && headerName(word[i:]) > 0 {
			return i
		}
	}
	return 0
}
