package mask

import "bytes"

// AppendTarget appends the target of an HTTP request (a path with its query, a
// URL, or HOST:PORT) without its secrets.
func AppendTarget(b, target []byte) []byte {
	if i := bytes.Index(target, []byte("://")); i >= 0 {
		end := i + 3
		b = append(b, target[:end]...)
		target = target[end:]
		host := authority(target)
		b = appendUserinfo(b, host)
		target = target[len(host):]
	} else if i := bytes.IndexAny(target, "/?#"); i != 0 {
		host := target // of CONNECT, or an :authority
		if i > 0 {
			host = target[:i]
		}
		b = appendUserinfo(b, host)
		target = target[len(host):]
	}
	i := bytes.IndexAny(target, "?#;")
	if i < 0 {
		return appendShaped(b, target)
	}
	b = appendShaped(b, target[:i])
	for target = target[i:]; len(target) > 0; {
		// target[0] separates; a parameter follows.
		b = append(b, target[0])
		target = target[1:]
		param := target
		if j := bytes.IndexAny(target, "?&;#"); j >= 0 {
			param = target[:j]
		}
		target = target[len(param):]
		name, value, ok := bytes.Cut(param, []byte{'='})
		switch {
		case ok && len(value) > 0 && Secret(string(name)):
			b = appendHidden(b, name, '=')
		case ok:
			b = append(append(b, name...), '=')
			b = appendNested(b, value)
		default:
			b = appendShaped(b, param)
		}
	}
	return b
}

// authority is the HOST or USER:PASSWORD@HOST that text begins with. A password
// may hold what should have been escaped; a port is a number.
func authority(text []byte) []byte {
	i := bytes.IndexAny(text, "/?#")
	if i < 0 {
		return text
	}
	if _, port, ok := bytes.Cut(text[:i], []byte{':'}); ok && text[0] != '[' && bytes.IndexByte(text[:i], '@') < 0 &&
		len(bytes.Trim(port, "0123456789")) > 0 {
		if at := bytes.LastIndexByte(text, '@'); at > i {
			return text[:at+len(authority(text[at:]))]
		}
	}
	return text[:i]
}

// appendNested appends the value of a parameter. One that is a URL of its own,
// escaped, may carry secrets of its own: its query goes, or all of it.
func appendNested(b, value []byte) []byte {
	if bytes.IndexByte(value, '%') < 0 {
		return append(b, maskText(value)...)
	}
	lower := bytes.ToLower(value)
	if i := bytes.Index(lower, []byte("%3f")); i >= 0 && bytes.Contains(lower[i:], []byte("%3d")) {
		return append(append(b, value[:i+3]...), Hidden...)
	}
	plain := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		c, n := unescape(value[i:])
		i += n - 1
		plain = append(plain, c)
	}
	if !bytes.Equal(maskText(plain), plain) {
		return append(b, Hidden...)
	}
	return appendShaped(b, value)
}

// appendUserinfo appends HOST, or USER:PASSWORD@HOST without the password.
func appendUserinfo(b, host []byte) []byte {
	at := bytes.LastIndexByte(host, '@')
	if at < 0 {
		return append(b, host...)
	}
	user, password, ok := bytes.Cut(host[:at], []byte{':'})
	if ok && (len(password) == 0 || string(password) == "x-oauth-basic") {
		// The user is the secret.
		b = append(append(append(b, Hidden...), ':'), password...)
	} else if ok {
		b = append(append(appendShaped(b, user), ':'), Hidden...)
	} else {
		b = appendShaped(b, user)
	}
	return append(b, host[at:]...)
}

// unescape is the first byte of text, of which %XX is one, and its length there.
func unescape[T string | []byte](text T) (c byte, n int) {
	if text[0] == '%' && len(text) > 2 {
		if h, l := hex(text[1]), hex(text[2]); h >= 0 && l >= 0 {
			return byte(h<<4 | l), 3
		}
	}
	return text[0], 1
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
