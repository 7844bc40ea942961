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
var parts = []string{"passw", "passphrase", "passcode", "pwd", "token", "secret", "apikey", "accesskey", "privatekey", "signingkey",
	"encryptionkey", "masterkey", "sharedkey", "storagekey", "accountkey", "subscriptionkey", "functionskey",
	"auth", "credential", "creds", "signature", "session", "cookie", "jwt", "bearer", "csrf", "xsrf",
	"samlresponse", "codeverifier", "devicecode"}

// names whose value is a secret only when they are the whole name.
var names = []string{"pw", "sig", "sid", "otp", "totp", "psk", "pin", "code", "key", "pat", "authz", "assertion", "ticket"}

// harmless are names that a part above would hide in vain.
var harmless = []string{"author", "authority", "authors", "authorid", "authorname", "tokenizer", "authentic", "noauth"}

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
	// DB_PASS, -storepass
	return strings.HasSuffix(n, "pass") && !strings.HasSuffix(n, "bypass") && !strings.HasSuffix(n, "compass")
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
		case c == '-' || c == '_' || c == '.' || c == '[' || c == ']' || c == ' ' || c == '+':
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
		return append(b, hideText(value)...)
	}
	lower := bytes.ToLower(value)
	if i := bytes.Index(lower, []byte("%3f")); i >= 0 && bytes.Contains(lower[i:], []byte("%3d")) {
		return append(append(b, value[:i+3]...), Hidden...)
	}
	plain := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '%' && i+2 < len(value) {
			if h, l := hex(value[i+1]), hex(value[i+2]); h >= 0 && l >= 0 {
				c = byte(h<<4 | l)
				i += 2
			}
		}
		plain = append(plain, c)
	}
	if !bytes.Equal(hideText(plain), plain) {
		return append(b, Hidden...)
	}
	return appendShaped(b, value)
}

// hideText is text without its secrets.
func hideText(text []byte) []byte { return appendText(nil, text) }

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

// shapes are how some kinds of token begin; at least this many letters, digits,
// - and _ follow.
var shapes = []struct {
	prefix string
	follow int
}{
	{"ghp_", 20}, {"gho_", 20}, {"ghu_", 20}, {"ghs_", 20}, {"ghr_", 20}, {"github_pat_", 20}, {"glpat-", 16},
	{"xoxb-", 16}, {"xoxp-", 16}, {"xoxa-", 16}, {"xapp-", 16}, {"sk_live_", 16}, {"rk_live_", 16}, {"sk-", 32},
	{"npm_", 32}, {"pypi-", 32}, {"hvs.", 20}, {"hvb.", 20}, {"eyJ", 32}, {"AKIA", 16}, {"ASIA", 16}, {"ya29.", 20},
	{"AIza", 35}, {"xoxs-", 16}, {"xoxr-", 16}, {"xoxe-", 16}, {"sk_test_", 16}, {"rk_test_", 16}, {"whsec_", 24}, {"SG.", 22},
	{"hf_", 30}, {"glptt-", 20}, {"glrt-", 20}, {"gldt-", 20}, {"dop_v1_", 32}, {"shpat_", 32}, {"dckr_pat_", 20},
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
		for n < len(text) && (wordByte(text[n]) || text[n] == '.' && (s.prefix == "eyJ" || s.prefix == "SG.")) {
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

// tools are options (or words, without a -) by which well-known programs take a
// secret, in the same argument or in the next. A user:password keeps its user.
var tools = map[string][]string{
	"curl":          {"-u", "-U", "--user", "--proxy-user", "-b", "--pass", "--proxy-pass", "-E", "--cert"},
	"mysql":         {"-p"},
	"mysqldump":     {"-p"},
	"mysqladmin":    {"-p"},
	"mysqlimport":   {"-p"},
	"mysqlshow":     {"-p"},
	"mysqlcheck":    {"-p"},
	"mariadb":       {"-p"},
	"mariadb-dump":  {"-p"},
	"mariadb-admin": {"-p"},
	"sshpass":       {"-p"},
	"docker":        {"-p"},
	"podman":        {"-p"},
	"buildah":       {"-p"},
	"skopeo":        {"-p"},
	"nerdctl":       {"-p"},
	"helm":          {"-p"},
	"oc":            {"-p"},
	"az":            {"-p"},
	"redis-cli":     {"-a", "--pass"},
	"ldapsearch":    {"-w"},
	"ldapmodify":    {"-w"},
	"ldapadd":       {"-w"},
	"ldapdelete":    {"-w"},
	"ldapwhoami":    {"-w"},
	"ldappasswd":    {"-w", "-s", "-a"},
	"mosquitto_pub": {"-P"},
	"mosquitto_sub": {"-P"},
	"smbclient":     {"-U"},
	"rpcclient":     {"-U"},
	"lftp":          {"-u"},
	"7z":            {"-p"},
	"7za":           {"-p"},
	"7zz":           {"-p"},
	"rar":           {"-hp", "-p"},
	"unrar":         {"-p"},
	"zip":           {"-P"},
	"unzip":         {"-P"},
	"plink":         {"-pw"},
	"pscp":          {"-pw"},
	"mongo":         {"-p"},
	"mongosh":       {"-p"},
	"mongodump":     {"-p"},
	"mongorestore":  {"-p"},
	"mongoexport":   {"-p"},
	"mongoimport":   {"-p"},
	"cqlsh":         {"-p"},
	"sqlcmd":        {"-P"},
	"bcp":           {"-P"},
	"tsql":          {"-P"},
	"ipmitool":      {"-P"},
	"snmpget":       {"-A", "-X", "-c"},
	"snmpset":       {"-A", "-X", "-c"},
	"snmpwalk":      {"-A", "-X", "-c"},
	"ssh-keygen":    {"-N", "-P"},
	"useradd":       {"-p"},
	"usermod":       {"-p"},
	"gpg":           {"--passphrase"},
	"http":          {"-a"},
	"https":         {"-a"},
	"wget":          {"--user"},
	"xfreerdp":      {"/p:"},
	"openssl":       {"-k", "-K"},
	"nmcli":         {"password", "psk", "wifi-sec.psk", "802-11-wireless-security.psk"},
	"aws":           {"aws_secret_access_key", "aws_session_token"},
	"pdftk":         {"user_pw", "owner_pw", "input_pw"},
}

// joinedOnly are the tools whose option takes a secret only in the same word:
// alone it asks for it, and what follows is something else.
var joinedOnly = map[string]bool{"mysql": true, "mysqldump": true, "mysqladmin": true, "mysqlimport": true,
	"mysqlshow": true, "mysqlcheck": true, "mariadb": true, "mariadb-dump": true, "mariadb-admin": true,
	"7z": true, "7za": true, "7zz": true, "rar": true, "unrar": true}

// loginOnly are the tools whose option takes a secret only behind the word
// login.
var loginOnly = map[string]bool{"docker": true, "podman": true, "buildah": true, "skopeo": true, "nerdctl": true,
	"helm": true, "oc": true, "az": true}

// alone are the options of curl without a value, which may stand before another
// one in the same argument.
const alone = "012346aBfgGiIjJklLMnNOpqRsSvZ#"

// Args hides the secrets of a command's arguments, argv[0] first. Elements that
// have one are replaced in argv itself; their bytes are left alone.
func Args(argv [][]byte) {
	if len(argv) == 0 {
		return
	}
	tool := string(base(argv[0]))
	login := !loginOnly[tool]
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
		if login {
			if m, next, ok := toolOption(tool, arg); ok {
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
		m := hideText(arg)
		if takesURL[tool] && len(arg) > 0 && arg[0] != '-' && !bytes.ContainsAny(arg, " \"'{") && bytes.IndexByte(arg, '@') > bytes.IndexByte(arg, ':') {
			m = AppendTarget(nil, arg) // without a scheme
		}
		if !bytes.Equal(m, arg) {
			argv[i] = m
		}
	}
}

// takesURL are tools that take a URL without its scheme.
var takesURL = map[string]bool{"curl": true, "wget": true, "http": true, "https": true}

// base is the last part of a path.
func base(path []byte) []byte { return path[bytes.LastIndexByte(path, '/')+1:] }

// toolOption looks at an argument as one of the tool's own options: next says
// that the secret is the next argument.
func toolOption(tool string, arg []byte) (masked []byte, next, ok bool) {
	for _, opt := range tools[tool] {
		rest, is := bytes.CutPrefix(arg, []byte(opt))
		if !is && tool == "curl" && len(opt) == 2 && len(arg) > 2 && arg[0] == '-' && arg[1] != '-' {
			// Behind options without a value: -sSu.
			if n := len(arg) - len(bytes.TrimLeft(arg[1:], alone)); n > 1 && n < len(arg) && arg[n] == opt[1] {
				opt, rest, is = string(arg[:n+1]), arg[n+1:], true
			}
		}
		switch {
		case !is:
		case len(rest) == 0:
			return arg, !joinedOnly[tool], true
		case opt[0] == '/':
			return append([]byte(opt), Hidden...), false, true
		case opt[0] != '-' || tool == "openssl":
			// Only as a whole.
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
	case "smbclient", "rpcclient":
		sep = '%'
	case "lftp":
		sep = ','
	case "wget":
		return value // its --user is only a name; --password is known by its own
	default:
		return []byte(Hidden)
	}
	if i := bytes.IndexByte(value, sep); i >= 0 {
		return append(append([]byte{}, value[:i+1]...), Hidden...)
	}
	if sep != ':' {
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
// the words in it, the headers, and JSON.
func appendText(b, text []byte) []byte {
	after := false // a secret is next
	tool := ""     // the program whose options they are
	for i := 0; i < len(text); {
		if n := header(text[i:]); n > 0 && (i == 0 || !wordByte(text[i-1]) || bytes.HasSuffix(text[:i], []byte("-H"))) {
			// A header goes to its end: that of its quotes, or of the line.
			ends := "\"'\r\n\\"
			if i == 0 {
				ends = "\r\n"
			} else if q := text[i-1]; q == '"' || q == '\'' {
				ends = string(q) + "\r\n"
			}
			end := bytes.IndexAny(text[i+n:], ends)
			if end < 0 {
				end = len(text) - i - n
			}
			if len(bytes.TrimSpace(text[i+n:i+n+end])) > 0 {
				b = append(append(b, text[i:i+n]...), Hidden...)
				i += n + end
				continue
			}
		}
		if n, value := member(text[i:]); n > 0 {
			b = append(b, text[i:i+n]...)
			if value > 0 {
				b = append(b, Hidden...)
			}
			i += n + value
			continue
		}
		if rest := text[i:]; bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			if line, key, ok := bytes.Cut(rest, []byte("PRIVATE KEY-----")); ok && len(line) < 64 {
				b = append(append(b, rest[:len(rest)-len(key)]...), Hidden...)
				end := bytes.Index(key, []byte("-----END"))
				if end < 0 {
					return b
				}
				i = len(text) - len(key) + end
				continue
			}
		}
		n := bytes.IndexAny(text[i:], " \t\r\n\"'`()|<>")
		if n < 0 {
			n = len(text) - i
		} else if n > 1 && text[i+n-1] == '\\' {
			n-- // it belongs to the quote
		}
		if word := text[i : i+n]; n > 0 {
			// Not behind a header's name, which the next turn looks for.
			if h := headerIn(word); h > 0 {
				word, n = word[:h], h
			}
			quoted := i+n < len(text) && (text[i+n] == '"' || text[i+n] == '\'')
			was := after
			after = false
			if m, next, ok := toolOption(tool, word); ok && !was {
				b = append(b, m...)
				after = next || quoted // -p'...'
			} else if was {
				b = append(b, Hidden...)
			} else {
				b = appendWord(b, word)
			}
			name, isOption := option(word)
			lower := ""
			if n < 16 {
				lower = strings.ToLower(string(word))
			}
			switch {
			case was || after:
			case isOption:
				after = secretOption(name)
			case lower == "bearer" || lower == "basic" && i > 0:
				after = true
			case lower == "password" || lower == "by": // of SQL, where '...' follows
				rest := bytes.TrimLeft(text[i+n:], " ")
				after = len(rest) > 0 && rest[0] == '\''
			case bytes.HasSuffix(word, []byte{'='}) && i+n < len(text) && text[i+n] != ' ': // NAME='...'
				name := word[:n-1]
				after = plainName(name) && Secret(string(name))
			case tools[string(base(word))] != nil && !loginOnly[string(base(word))]:
				tool = string(base(word))
			}
			if c := word[n-1]; c == ';' || c == '&' {
				tool = ""
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
		if text[i] == '|' || text[i] == '\n' {
			tool = ""
		}
		b = append(b, text[i])
		i++
	}
	return b
}

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

// appendWord appends a word: NAME=VALUE, --NAME=VALUE, a URL, or other text.
func appendWord(b, word []byte) []byte {
	return appendPairs(b, word, bytes.Contains(word, []byte("://")))
}

// appendPairs is appendWord for a word in which there can be a URL.
func appendPairs(b, word []byte, url bool) []byte {
	if len(word) == 0 {
		return b
	}
	i := -1
	if url {
		i = bytes.Index(word, []byte("://"))
	}
	if i > 0 {
		// --url=https://..., or a URL alone.
		name, _, ok := bytes.Cut(word[:i], []byte{'='})
		if ok && Secret(string(bytes.TrimLeft(name, "-"))) {
			return append(append(append(b, name...), '='), Hidden...)
		}
		return AppendTarget(b, word)
	}
	if word[0] == '/' { // /password:...
		if n := header(word[1:]); n > 0 {
			return append(append(b, word[:1+n]...), Hidden...)
		}
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
				return appendPairs(append(b, '&'), value[i+1:], url)
			}
			return b
		}
		b = append(append(b, name...), '=')
		if i := bytes.IndexByte(value, '&'); i >= 0 {
			b = append(appendPairs(b, value[:i], url), '&')
			return appendPairs(b, value[i+1:], url)
		}
		return appendPairs(b, value, url)
	}
	if rest, ok := bytes.CutPrefix(word, []byte("pass:")); ok && len(rest) > 0 { // openssl's -passin pass:...
		return append(append(b, "pass:"...), Hidden...)
	}
	return appendShaped(b, word)
}
