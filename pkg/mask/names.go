package mask

import (
	"bytes"
	"strings"
)

// A nameKind is the meaning of a name for its value.
type nameKind int

const (
	public nameKind = iota
	weak            // a secret in a URL; elsewhere only if it looks like one: key=, code=
	loose           // auth and session, which name many other things as well
	strong          // password=
)

// secretParts has parts of names whose value is a secret, in lower case, without separators
// of words.
var secretParts = []string{"passw", "passphrase", "passcode", "pwd", "token", "secret", "apikey", "appkey", "applicationkey",
	"accesskey", "privatekey", "privkey", "signingkey", "encryptionkey", "masterkey", "sharedkey", "storagekey", "accountkey",
	"subscriptionkey", "functionskey", "licensekey", "deploykey", "servicekey", "adminkey", "seckey", "keybase64",
	"credential", "creds", "signature", "cookie", "jwt", "bearer", "csrf", "xsrf", "webhookurl",
	"samlresponse", "codeverifier", "devicecode", "connectionstring", "connstr", "mnemonic", "otpauth"}

// looseParts is like secretParts, but only for the last part of a dotted name.
var looseParts = []string{"auth", "session", "sessid"}

// secretNames has complete names whose value is a secret.
var secretNames = []string{"pw", "pass", "otp", "totp", "psk", "pin", "authz", "assertion", "sas"}

// weakNames has such names that often have another meaning outside of URLs.
var weakNames = []string{"key", "code", "sig", "sid", "ticket", "pat"}

// secretEnds has suffixes of names whose value is a secret.
var secretEnds = []string{"pass", "pw", "psk", "passkey"}

// publicEnds has suffixes of names that describe a secret, but whose value is none.
var publicEnds = []string{"file", "files", "path", "dir", "folder", "stdin", "fd", "env", "prompt", "url", "uri", "type", "method",
	"name", "names", "ttl", "timeout", "length", "len", "size", "policy", "mode", "expiry", "expires", "expiration", "expire",
	"lifetime", "enabled", "enable", "required", "disabled", "count", "limit", "max", "min", "age", "format", "version",
	"algorithm", "algo", "alg", "helper", "store", "manager", "jar", "sock", "socket", "endpoint", "audience", "issuer",
	"scope", "scopes", "provider", "generator", "rotation", "program", "hint", "encryption", "strength", "header", "field", "ref", "certhash",
	"flags", "bypass", "compass", "trespass", "twopass", "interval", "retries", "index", "position",
	"maxtokens", "numtokens", "mintokens", "newtokens", "outputtokens", "inputtokens", "ntokens"}

// loosePublicEnds has such suffixes for the names of looseParts.
var loosePublicEnds = []string{"database", "db", "source", "mechanism", "mechanisms", "plugin", "server", "host", "port", "scheme",
	"schema", "realm", "domain", "service", "level", "config", "module", "zone", "user", "username", "users", "group", "role",
	"noauth", "authentications", "desktopsession", "backend", "protocol", "profile", "region", "retry", "opts", "options", "flags", "class", "storage"}

// A nameSet finds the parts of names by their first byte.
type nameSet [256][]string

func newNameSet(parts []string) (s nameSet) {
	for _, p := range parts {
		s[p[0]] = append(s[p[0]], p)
	}
	return s
}

func (s *nameSet) prefixOf(text []byte) bool {
	for _, p := range s[text[0]] {
		if len(text) >= len(p) && string(text[:len(p)]) == p {
			return true
		}
	}
	return false
}

var secretSet, looseSet = newNameSet(secretParts), newNameSet(looseParts)

// kindOf returns the meaning of a name for its value.
func kindOf(name []byte) nameKind {
	var buf [64]byte
	n := fold(buf[:0], name)
	if len(n) < 2 {
		return public
	}
	kind := public
	for i := range n {
		switch rest := n[i:]; {
		case secretSet.prefixOf(rest):
			if !bytes.HasPrefix(rest, []byte("tokeniz")) {
				kind = strong
			}
		case kind < loose && looseSet.prefixOf(rest) && !author(rest):
			kind = loose
		}
	}
	// In a dotted name, only the last part counts for auth and session: auth.database=x.
	if i := bytes.LastIndexByte(name, '.'); i >= 0 && i+1 < len(name) && kind == loose {
		return kindOf(name[i+1:])
	}
	if kind == public && (among(n, secretNames) || endsIn(n, secretEnds)) {
		kind = strong
	}
	switch {
	case kind != public && endsIn(n, publicEnds) || kind == loose && endsIn(n, loosePublicEnds):
		return public
	case kind != public:
		return kind
	case among(n, weakNames) || bytes.HasSuffix(n, []byte("key")) && !bytes.Contains(n, []byte("pub")):
		return weak
	}
	return public
}

// author reports whether text begins with author or authority, not with authorization.
func author(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte("author"))
	return ok && !bytes.HasPrefix(rest, []byte("iza")) && !bytes.HasPrefix(rest, []byte("isa"))
}

func among(n []byte, list []string) bool {
	for _, s := range list {
		if string(n) == s {
			return true
		}
	}
	return false
}

func endsIn(n []byte, ends []string) bool {
	for _, e := range ends {
		if len(n) >= len(e) && string(n[len(n)-len(e):]) == e {
			return true
		}
	}
	return false
}

// fold appends a name in lower case, unescaped, without separators of words.
func fold(b, name []byte) []byte {
	for i := 0; i < len(name); i++ {
		c, n := unescape(name[i:])
		i += n - 1
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '-' || c == '_' || c == '.' || c == '[' || c == ']' || c == ' ' || c == '+':
			continue
		}
		b = append(b, c)
	}
	return b
}

// takesSecret returns the meaning of an option's name (--password) for the next argument.
func takesSecret(name []byte) nameKind {
	if len(name) < 2 || bytes.EqualFold(name, []byte("session")) || bytes.HasPrefix(name, []byte("no-")) ||
		len(name) > 3 && bytes.EqualFold(name[len(name)-3:], []byte("-id")) {
		return public
	}
	return kindOf(name)
}

// harmless has values of secret names that are not secrets.
var harmless = []string{"true", "false", "yes", "no", "on", "off", "none", "null", "nil", "auto", "always", "never", "required",
	"optional", "enabled", "disabled", "default", "ask", "prompt", "interactive", "basic", "digest", "ntlm", "negotiate",
	"pam", "ldap", "saml", "sso", "kerberos", "oauth", "oauth2", "publickey", "$"}

// secretValue reports whether the value of a name of this kind is to be hidden.
func secretValue(kind nameKind, name, value []byte) bool {
	switch {
	case kind == public || len(value) == 0 || among(value, harmless):
		return false
	case kind == weak:
		return random(value, 8)
	case number(value) && (len(value) < 2 || len(value) < 4 && !namesPassword(name) || len(value) < 10 && endsIn(name, []string{"tokens"})):
		return false // --pass 1, pin=13, n_tokens=4096
	}
	return !namesPath(kind, name, value)
}

// namesPassword reports whether a name is that of a password, which may be short.
func namesPassword(name []byte) bool {
	var buf [64]byte
	n := fold(buf[:0], name)
	return bytes.Contains(n, []byte("pass")) || bytes.Contains(n, []byte("pw"))
}

// number reports whether text is made of digits only.
func number(text []byte) bool { return len(bytes.Trim(text, "0123456789")) == 0 }

// namesPath reports whether a value is the name of a file that contains the secret, as for
// --private-key. Passwords and tokens can begin with a slash.
func namesPath(kind nameKind, name, value []byte) bool {
	if bytes.ContainsAny(value, "=+ \t\r\n") || len(value) < 2 {
		return false
	}
	if value[0] != '/' && value[0] != '~' && !bytes.HasPrefix(value, []byte("./")) && !bytes.HasPrefix(value, []byte("../")) &&
		!endsIn(value, []string{".pem", ".key", ".crt", ".json", ".p12", ".pfx", ".jks", ".asc", ".pub"}) {
		return false
	}
	if kind == loose {
		return true
	}
	var buf [64]byte
	n := fold(buf[:0], name)
	return endsIn(n, []string{"key", "keys", "credential", "credentials", "creds", "pwd", "cookies"})
}

// random reports whether text looks like a key: at least this many letters and digits, of
// both kinds, and otherwise only - _ + / =.
func random(text []byte, least int) bool {
	if len(text) < least || text[0] == '/' {
		return false
	}
	letters, digits := 0, 0
	for _, c := range text {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			letters++
		case c != '-' && c != '_' && c != '+' && c != '/' && c != '=':
			return false
		}
	}
	return letters > 1 && digits > 1
}

// uuid reports whether text is a UUID.
func uuid(text []byte) bool {
	return len(text) == 36 && bytes.Count(text, []byte{'-'}) == 4 && len(bytes.Trim(text, "0123456789abcdefABCDEF-")) == 0
}

// wordByte reports whether c is a letter, a digit, - or _.
func wordByte(c byte) bool { return classes[c]&inWord != 0 }

// nameByte reports whether c can be in the name of a NAME=VALUE.
func nameByte(c byte) bool { return classes[c]&(inWord|inName) != 0 }

const (
	inWord = 1 << iota
	inName // besides
	ends   // a word of a text in which there are quotes and commands
	blank
)

var classes = func() (t [256]byte) {
	for c := range t {
		switch b := byte(c); {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_':
			t[c] = inWord
		case b == '.' || b == '[' || b == ']' || b == '%':
			t[c] = inName
		case b == ' ' || b == '\t' || b == '\r' || b == '\n':
			t[c] = ends | blank
		case strings.IndexByte("\"'`()|<>", b) >= 0:
			t[c] = ends
		}
	}
	return t
}()
