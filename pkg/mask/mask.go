// Package mask hides secrets in what viv shows of other programs: passwords,
// tokens and the like in URLs, in headers and in arguments. It goes by names
// (token=, --password, Authorization:), by the places where well-known programs
// take a secret, and by the shape of a few kinds of token. It cannot know every
// secret; where it is in doubt it hides.
package mask

import (
	"bytes"
	"strings"
)

// Hidden stands for what was hidden.
const Hidden = "***"

// parts of a name that make its value a secret, in lower case, without - and _.
var parts = []string{"passw", "passphrase", "pwd", "token", "secret", "apikey", "accesskey", "privatekey", "signingkey",
	"auth", "credential", "signature", "session", "cookie", "jwt", "bearer", "csrf", "xsrf"}

// names whose value is a secret only when they are the whole name.
var names = []string{"pass", "sig", "sid", "otp", "pin", "code", "key", "pat", "authz"}

// harmless are names that a part above would hide in vain.
var harmless = []string{"author", "authority", "authors", "tokenizer", "authentic", "noauth"}

// Secret reports whether a name says that its value is a secret.
func Secret(name string) bool {
	n := fold(name)
	for _, h := range harmless {
		if n == h {
			return false
		}
	}
	for _, w := range names {
		if n == w {
			return true
		}
	}
	for _, p := range parts {
		if strings.Contains(n, p) {
			return true
		}
	}
	return false
}

// fold is a name in lower case, unescaped, without what only separates its
// words.
func fold(name string) string {
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' && i+2 < len(name) {
			if h, l := hex(name[i+1]), hex(name[i+2]); h >= 0 && l >= 0 {
				c = byte(h<<4 | l)
				i += 2
			}
		}
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '-' || c == '_' || c == '.' || c == '[' || c == ']':
			continue
		}
		b = append(b, c)
	}
	return string(b)
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

// AppendTarget appends the target of an HTTP request (a path with its query, a
// URL, or HOST:PORT) without its secrets.
func AppendTarget(b, target []byte) []byte {
	if i := bytes.Index(target, []byte("://")); i >= 0 {
		end := i + 3
		b = append(b, target[:end]...)
		target = target[end:]
		host := target
		if j := bytes.IndexAny(target, "/?#"); j >= 0 {
			host = target[:j]
		}
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
			b = append(append(append(b, name...), '='), Hidden...)
		case ok:
			b = append(append(b, name...), '=')
			b = appendNested(b, value)
		default:
			b = appendShaped(b, param)
		}
	}
	return b
}

// appendNested appends the value of a parameter. One that is a URL of its own,
// escaped, may carry secrets of its own: its query goes.
func appendNested(b, value []byte) []byte {
	lower := bytes.ToLower(value)
	if i := bytes.Index(lower, []byte("%3f")); i >= 0 && bytes.Contains(lower[i:], []byte("%3d")) {
		return append(append(b, value[:i+3]...), Hidden...)
	}
	return appendShaped(b, value)
}

// appendUserinfo appends HOST, or USER:PASSWORD@HOST without the password.
func appendUserinfo(b, host []byte) []byte {
	at := bytes.LastIndexByte(host, '@')
	if at < 0 {
		return append(b, host...)
	}
	user, _, ok := bytes.Cut(host[:at], []byte{':'})
	if ok {
		b = append(append(appendShaped(b, user), ':'), Hidden...)
	} else {
		b = appendShaped(b, user)
	}
	return append(b, host[at:]...)
}

// shapes are how some kinds of token begin; at least this many letters, digits,
// - and _ follow.
var shapes = []struct {
	prefix string
	follow int
}{
	{"ghp_", 20}, {"gho_", 20}, {"ghu_", 20}, {"ghs_", 20}, {"ghr_", 20}, {"github_pat_", 20}, {"glpat-", 16},
	{"xoxb-", 16}, {"xoxp-", 16}, {"xoxa-", 16}, {"xapp-", 16}, {"sk_live_", 16}, {"rk_live_", 16}, {"sk-", 32},
	{"npm_", 32}, {"pypi-", 32}, {"hvs.", 20}, {"eyJ", 32}, {"AKIA", 16}, {"ya29.", 20},
}

// appendShaped appends text without what has a token's shape.
func appendShaped(b, text []byte) []byte {
	for i := 0; i < len(text); {
		n := 0
		if i == 0 || !wordByte(text[i-1]) {
			n = shaped(text[i:])
		}
		if n > 0 {
			b = append(b, Hidden...)
			i += n
			continue
		}
		b = append(b, text[i])
		i++
	}
	return b
}

// shaped is the length of the token that text begins with, or 0.
func shaped(text []byte) int {
	for _, s := range shapes {
		if len(text) < len(s.prefix)+s.follow || string(text[:len(s.prefix)]) != s.prefix {
			continue
		}
		n := len(s.prefix)
		for n < len(text) && (wordByte(text[n]) || text[n] == '.' && s.prefix == "eyJ") {
			n++
		}
		if n >= len(s.prefix)+s.follow {
			return n
		}
	}
	return 0
}

func wordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// tools are options of one letter (or more, where a program has such) by which
// well-known programs take a secret. A user:password keeps its user.
var tools = map[string][]string{
	"curl":          {"-u", "-U", "--user", "--proxy-user", "-b", "--pass", "--proxy-pass", "-E", "--cert"},
	"mysql":         {"-p"},
	"mysqldump":     {"-p"},
	"mysqladmin":    {"-p"},
	"mysqlimport":   {"-p"},
	"mariadb":       {"-p"},
	"mariadb-dump":  {"-p"},
	"mariadb-admin": {"-p"},
	"sshpass":       {"-p"},
	"docker":        {"-p"},
	"podman":        {"-p"},
	"redis-cli":     {"-a", "--pass"},
	"ldapsearch":    {"-w"},
	"ldapmodify":    {"-w"},
	"ldapadd":       {"-w"},
	"mosquitto_pub": {"-P"},
	"mosquitto_sub": {"-P"},
	"smbclient":     {"-U"},
	"7z":            {"-p"},
	"7za":           {"-p"},
	"zip":           {"-P"},
	"unzip":         {"-P"},
	"plink":         {"-pw"},
	"mongo":         {"-p"},
	"mongosh":       {"-p"},
	"mongodump":     {"-p"},
	"sqlcmd":        {"-P"},
	"ipmitool":      {"-P"},
	"gpg":           {"--passphrase"},
	"http":          {"-a"},
	"https":         {"-a"},
	"wget":          {"--user"},
}

// joinedOnly are the tools whose option takes a secret only in the same word:
// alone it asks for it, and what follows is something else.
var joinedOnly = map[string]bool{"mysql": true, "mysqldump": true, "mysqladmin": true, "mysqlimport": true,
	"mariadb": true, "mariadb-dump": true, "mariadb-admin": true, "7z": true, "7za": true}

// Args hides the secrets of a command's arguments, argv[0] first. Elements that
// have one are replaced in argv itself; their bytes are left alone.
func Args(argv [][]byte) {
	if len(argv) == 0 {
		return
	}
	tool := string(argv[0][bytes.LastIndexByte(argv[0], '/')+1:])
	login := tool != "docker" && tool != "podman"
	after := false // the argument before said that this one is a secret
	for i, arg := range argv {
		if i == 0 {
			continue
		}
		switch {
		case after && len(arg) > 0:
			argv[i] = secretValue(tool, arg)
			after = false
			continue
		case string(arg) == "login":
			login = true
		}
		after = false
		if opts := tools[tool]; opts != nil && login && len(arg) > 1 && arg[0] == '-' {
			if m, next, ok := toolOption(tool, opts, arg); ok {
				argv[i], after = m, next
				continue
			}
		}
		if name, ok := option(arg); ok {
			after = secretOption(name)
			continue
		}
		if name, _, ok := bytes.Cut(arg, []byte{'='}); ok && string(argv[i-1]) != "-c" && plainName(name) && Secret(string(name)) {
			// Also with blanks in it. Only a shell's -c has more commands behind.
			argv[i] = append(append(append([]byte{}, name...), '='), Hidden...)
			continue
		}
		if m := appendText(nil, arg); !bytes.Equal(m, arg) {
			argv[i] = m
		}
	}
}

// toolOption looks at an argument as one of the tool's own options.
func toolOption(tool string, opts []string, arg []byte) (masked []byte, next, ok bool) {
	for _, opt := range opts {
		rest, is := bytes.CutPrefix(arg, []byte(opt))
		switch {
		case !is:
		case len(rest) == 0:
			return arg, !joinedOnly[tool], true
		case strings.HasPrefix(opt, "--"):
			if value, is := bytes.CutPrefix(rest, []byte{'='}); is {
				return append([]byte(opt+"="), secretValue(tool, value)...), false, true
			}
		default:
			return append([]byte(opt), secretValue(tool, rest)...), false, true
		}
	}
	return nil, false, false
}

// secretValue is what is shown of a secret: the user of user:password, which
// only some programs take.
func secretValue(tool string, value []byte) []byte {
	sep := byte(':')
	switch tool {
	case "curl", "http", "https":
	case "smbclient":
		sep = '%'
	case "wget":
		return value // its --user is only a name; --password is known by its own
	default:
		return []byte(Hidden)
	}
	if i := bytes.IndexByte(value, sep); i >= 0 {
		return append(append([]byte{}, value[:i+1]...), Hidden...)
	}
	if sep == '%' {
		return value
	}
	return []byte(Hidden)
}

// option is the name of an argument of the form --name or -name, without a
// value.
func option(arg []byte) (string, bool) {
	if len(arg) < 3 || arg[0] != '-' || bytes.ContainsAny(arg, "= \t\n:/?") {
		return "", false
	}
	return strings.TrimLeft(string(arg), "-"), true
}

// secretOption reports whether the argument behind an option of that name is a
// secret.
func secretOption(name string) bool {
	if !Secret(name) || fold(name) == "key" || fold(name) == "code" || fold(name) == "session" {
		return false // most programs take a file, or no value at all
	}
	n := strings.ToLower(name)
	for _, end := range []string{"-file", "-stdin", "-path", "-fd", "-env", "-prompt", "-dir", "file", "-url", "-type", "-method", "-id", "-name", "-ttl", "-timeout"} {
		if strings.HasSuffix(n, end) {
			return false
		}
	}
	return !strings.HasPrefix(n, "no-")
}

// appendText appends an argument that may be a whole command line of its own:
// the words in it, and the headers.
func appendText(b, text []byte) []byte {
	after := false
	for i := 0; i < len(text); {
		if n := header(text[i:]); n > 0 && (i == 0 || !wordByte(text[i-1]) || bytes.HasSuffix(text[:i], []byte("-H"))) {
			// A header goes to its end: that of its quotes, or of the line.
			end := bytes.IndexAny(text[i+n:], "\"'\r\n\\")
			if end < 0 {
				end = len(text) - i - n
			}
			if len(bytes.TrimSpace(text[i+n:i+n+end])) > 0 {
				b = append(append(b, text[i:i+n]...), Hidden...)
				i += n + end
				continue
			}
		}
		n := bytes.IndexAny(text[i:], " \t\r\n\"'`()|<>")
		if n < 0 {
			n = len(text) - i
		}
		if word := text[i : i+n]; n > 0 {
			// Not behind a header's name, which the next turn looks for.
			if h := headerIn(word); h > 0 {
				word, n = word[:h], h
			}
			if after {
				b = append(b, Hidden...)
			} else {
				b = appendWord(b, word)
			}
			after = false
			if name, ok := option(word); ok {
				after = secretOption(name)
			} else if w := strings.ToLower(string(word)); w == "bearer" || w == "basic" && i > 0 {
				after = true
			} else if name, is := bytes.CutSuffix(word, []byte{'='}); is && i+n < len(text) && text[i+n] != ' ' {
				after = plainName(name) && Secret(string(name)) // NAME='...'
			}
			i += n
			continue
		}
		if q := text[i]; after && (q == '"' || q == '\'') {
			end := bytes.IndexByte(text[i+1:], q)
			if end < 0 {
				end = len(text) - i - 1
			}
			b = append(b, q)
			if end > 0 {
				b = append(b, Hidden...)
			}
			i += 1 + end
			after = false
			continue
		}
		b = append(b, text[i])
		i++
	}
	return b
}

// plainName reports whether name is made of letters, digits, - and _ only.
func plainName(name []byte) bool {
	for _, c := range name {
		if !wordByte(c) {
			return false
		}
	}
	return len(name) > 0
}

// header is the length of the NAME: that text begins with, with the blanks
// behind it, of a header that carries a secret; or 0.
func header(text []byte) int {
	n := 0
	for n < len(text) && wordByte(text[n]) {
		n++
	}
	if n < 3 || n+1 >= len(text) || text[n] != ':' || !Secret(string(text[:n])) {
		return 0
	}
	if text[n+1] == '/' { // a URL's scheme
		return 0
	}
	n++
	for n < len(text) && text[n] == ' ' {
		n++
	}
	return n
}

// headerIn is where a header begins inside a word, such as -HCookie: or
// --header=Cookie:; 0: nowhere, or at the start.
func headerIn(word []byte) int {
	for i := 1; i < len(word); i++ {
		if (word[i-1] == '=' || i == 2 && word[0] == '-' && word[1] == 'H') && header(append(word[i:len(word):len(word)], ' ')) > 0 {
			return i
		}
	}
	return 0
}

// appendWord appends a word: NAME=VALUE, --NAME=VALUE, a URL, or other text.
func appendWord(b, word []byte) []byte {
	if i := bytes.Index(word, []byte("://")); i > 0 {
		// --url=https://..., or a URL alone.
		name, _, ok := bytes.Cut(word[:i], []byte{'='})
		if ok && Secret(string(bytes.TrimLeft(name, "-"))) {
			return append(append(append(b, name...), '='), Hidden...)
		}
		return AppendTarget(b, word)
	}
	name, value, ok := bytes.Cut(word, []byte{'='})
	if ok && len(value) > 0 {
		bare := bytes.TrimLeft(name, "-")
		if i := bytes.LastIndexAny(bare, "?&;,{["); i >= 0 {
			bare = bare[i+1:]
		}
		if Secret(string(bare)) && !bytes.ContainsAny(bare, "/") {
			b = append(append(append(b, name...), '='), Hidden...)
			// Only in a form's data does something follow.
			if i := bytes.IndexByte(value, '&'); i >= 0 {
				return appendWord(append(b, '&'), value[i+1:])
			}
			return b
		}
		b = append(append(b, name...), '=')
		if i := bytes.IndexByte(value, '&'); i >= 0 {
			b = append(appendWord(b, value[:i]), '&')
			return appendWord(b, value[i+1:])
		}
		return appendWord(b, value)
	}
	for _, p := range []string{"pass:", "env:PASS"} { // openssl's -passin pass:...
		if p == "pass:" && bytes.HasPrefix(word, []byte(p)) && len(word) > len(p) {
			return append(append(b, p...), Hidden...)
		}
	}
	return appendShaped(b, word)
}
