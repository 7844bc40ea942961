package mask

import "bytes"

// target finds the secrets in the target of an HTTP request, b[i:end].
func (m *masker) target(b []byte, i, end int) {
	if n := bytes.Index(b[i:end], []byte("://")); n >= 0 {
		m.url(b, i, i+n+3, end)
		return
	}
	n := bytes.IndexAny(b[i:end], "/?#")
	if n < 0 {
		n = end - i // of CONNECT, or an :authority
	}
	if n > 0 {
		m.userinfo(b, i, i+n, false)
	}
	m.pathAndQuery(b, i+n, end, false)
}

// url finds the secrets in a URL whose scheme begins at i and whose host begins at host.
func (m *masker) url(b []byte, i, host, end int) {
	n := host + len(authority(b[host:end]))
	scheme := b[i : host-3]
	m.userinfo(b, host, n, bytes.HasSuffix(scheme, []byte("http")) || bytes.HasSuffix(scheme, []byte("https")))
	m.pathAndQuery(b, n, end, bytes.Contains(b[host:n], []byte("hook")))
}

// authority returns the HOST or USER:PASSWORD@HOST at the beginning of text. A password can
// have characters that should have been escaped; a port is a number.
func authority(text []byte) []byte {
	i := bytes.IndexAny(text, "/?#;")
	if i < 0 {
		return text
	}
	if _, port, ok := bytes.Cut(text[:i], []byte{':'}); ok && text[0] != '[' && bytes.IndexByte(text[:i], '@') < 0 &&
		len(bytes.Trim(port, "0123456789")) > 0 {
		if at := bytes.LastIndexByte(text, '@'); at > i {
			if n := bytes.IndexAny(text[at:], "/?#;"); n >= 0 {
				return text[:at+n]
			}
			return text
		}
	}
	return text[:i]
}

// userinfo finds the password of USER:PASSWORD@HOST. In HTTP, a user without a password can
// be a token.
func (m *masker) userinfo(b []byte, i, end int, http bool) {
	at := bytes.LastIndexByte(b[i:end], '@')
	if at < 0 {
		m.findTokens(b, i, end)
		return
	}
	at += i
	colon := bytes.IndexByte(b[i:at], ':')
	switch {
	case colon < 0 && http && random(b[i:at], 10):
		m.hide(i, at)
	case colon < 0:
		m.findTokens(b, i, at)
	case i+colon+1 == at || string(b[i+colon+1:at]) == "x-oauth-basic":
		m.hide(i, i+colon) // the user is the secret
	default:
		m.findTokens(b, i, i+colon)
		m.hide(i+colon+1, at)
	}
}

// hooks has the beginnings of URL paths that are secrets: whoever knows the path can write.
// This many segments are shown after the beginning; digit means that the next byte is a
// digit.
var hooks = []struct {
	begin string
	shown int
	digit bool
}{
	{"/services/T", 0, false}, {"/workflows/T", 0, false}, {"/triggers/T", 0, false}, // Slack
	{"/webhooks/", 1, true},                      // Discord
	{"/webhookb2/", 0, false}, {"/bot", 0, true}, // Teams, Telegram
	{"/hooks/catch/", 1, true}, {"/with/key/", 0, false}, {"/bot/v2/hook/", 0, false}, // Zapier, IFTTT, Feishu
	{"/generic/20131114/alert/", 0, false}, // VictorOps
}

// hookBegins has the first byte after the slash of each.
const hookBegins = "swthbg"

// path finds the secrets in the path of a URL: webhooks, and long keys after a segment or a
// host whose name is that of a hook.
func (m *masker) path(b []byte, i, end int, hook bool) {
	first := true
	for i < end {
		if b[i] != '/' {
			i++ // of a target such as *
			continue
		}
		next := end
		if n := bytes.IndexByte(b[i+1:end], '/'); n >= 0 {
			next = i + 1 + n
		}
		segment := b[i+1 : next]
		if from, to := webhook(b[i:end]); to > 0 {
			m.hide(i+from, i+to)
			i += to
			continue
		}
		version := first && among(segment, []string{"v2", "v3"}) // of Alchemy and Infura, before the key
		first = false
		if hook && (random(segment, 8) || len(segment) >= 32) {
			m.hide(i+1, next)
		} else {
			m.findTokens(b, i+1, next)
		}
		if len(segment) < 16 && (bytes.Contains(segment, []byte("hook")) || string(segment) == "integration") {
			hook = true
		}
		i = next
		if version {
			to := i + 1
			for to < end && b[to] != '/' {
				to++
			}
			if i < end && random(b[i+1:to], 28) {
				m.hide(i+1, to)
				i = to
			}
		}
	}
}

// webhook returns the secret in text, the rest of a path, if it begins with a hook.
func webhook(text []byte) (from, to int) {
	if len(text) < 2 || bytes.IndexByte([]byte(hookBegins), text[1]) < 0 {
		return 0, 0
	}
	for _, h := range hooks {
		if len(text) <= len(h.begin) || string(text[:len(h.begin)]) != h.begin {
			continue
		}
		from = len(h.begin)
		if c := text[from]; h.digit && (c < '0' || c > '9') || 'a' <= c && c <= 'z' && h.begin[from-1] == 'T' {
			continue
		}
		for from > 0 && text[from-1] != '/' {
			from-- // the first letter is one of the secret
		}
		if h.begin == "/bot" {
			n := bytes.IndexByte(text[1:], '/')
			if n < 0 {
				n = len(text) - 1
			}
			colon := bytes.IndexByte(text[:1+n], ':')
			if colon < 0 {
				continue
			}
			return colon + 1, 1 + n
		}
		for range h.shown {
			n := bytes.IndexByte(text[from:], '/')
			if n < 0 {
				return 0, 0
			}
			from += n + 1
		}
		return from, len(text)
	}
	return 0, 0
}

// pathAndQuery finds the secrets after the host of a URL. hook: the host has the name of a
// hook.
func (m *masker) pathAndQuery(b []byte, i, end int, hook bool) {
	n := bytes.IndexAny(b[i:end], "?#;")
	if n < 0 {
		m.path(b, i, end, hook)
		return
	}
	m.path(b, i, i+n, hook)
	m.query(b, i+n+1, end)
}

// query finds the secrets in NAME=VALUE&NAME=VALUE...
func (m *masker) query(b []byte, i, end int) {
	for i < end {
		next := end
		if n := bytes.IndexAny(b[i:end], "?&;#"); n >= 0 {
			next = i + n
		}
		eq := bytes.IndexByte(b[i:next], '=')
		switch {
		case eq < 0:
			m.findTokens(b, i, next)
		case secretParam(b[i:i+eq], b[i+eq+1:next]):
			m.hide(i+eq+1, next)
		default:
			m.param(b, i+eq+1, next)
		}
		i = next + 1
	}
}

// secretParam reports whether a parameter of a query is a secret. The code of
// OAuth and the key of many services are, but not key=5.
func secretParam(name, value []byte) bool {
	kind := kindOf(name)
	if kind == weak {
		var buf [64]byte
		if n := fold(buf[:0], name); among(n, weakNames) {
			return len(value) > 5
		}
	}
	return secretValue(kind, name, value)
}

// param finds the secrets in the value of a parameter. If it is an escaped URL with secrets,
// its query or all of it is hidden.
func (m *masker) param(b []byte, i, end int) {
	value := b[i:end]
	if bytes.IndexByte(value, '%') < 0 {
		m.find(b, i, end)
		return
	}
	if n := escaped(value, '?'); n >= 0 && escaped(value[n:], '=') >= 0 {
		m.hide(i+n+3, end)
		return
	}
	plain := make([]byte, 0, len(value))
	for n := 0; n < len(value); {
		c, size := unescape(value[n:])
		plain = append(plain, c)
		n += size
	}
	inner := masker{depth: m.depth - 1}
	if inner.depth > 0 {
		inner.find(plain, 0, len(plain))
	}
	if inner.depth <= 0 || len(inner.hidden) > 0 {
		m.hide(i, end)
		return
	}
	m.findTokens(b, i, end)
}

// escaped returns the index of the first escaped c in text, or -1.
func escaped(text []byte, c byte) int {
	for i := range text {
		if text[i] == '%' {
			if got, n := unescape(text[i:]); n > 1 && got == c {
				return i
			}
		}
	}
	return -1
}

// unescape returns the first byte of text, which may be written as %XX, and its length in
// text.
func unescape(text []byte) (c byte, n int) {
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
