package mask

import (
	"bytes"
	"strings"
)

// secretParts are parts of a name that make its value a secret, in lower case, without - and _.
var secretParts = []string{"passw", "passphrase", "passcode", "pwd", "token", "secret", "apikey", "accesskey", "privatekey", "signingkey",
	"encryptionkey", "masterkey", "sharedkey", "storagekey", "accountkey", "subscriptionkey", "functionskey",
	"auth", "credential", "creds", "signature", "session", "cookie", "jwt", "bearer", "csrf", "xsrf",
	"samlresponse", "codeverifier", "devicecode"}

// secretNames are names whose value is a secret only when they are the whole name.
var secretNames = []string{"pw", "sig", "sid", "otp", "totp", "psk", "pin", "code", "key", "pat", "authz", "assertion", "ticket"}

// publicNames are names whose value is no secret, although they contain one of secretParts.
var publicNames = []string{"author", "authority", "authors", "authorid", "authorname", "tokenizer", "authentic", "noauth"}

// Secret reports whether a name says that its value is a secret.
func Secret(name string) bool {
	n := fold(name)
	for _, h := range publicNames {
		if n == h {
			return false
		}
	}
	for _, w := range secretNames {
		if n == w {
			return true
		}
	}
	for _, p := range secretParts {
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
	return string(b)
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

// plainName reports whether name is made of letters, digits, - and _ only.
func plainName(name []byte) bool {
	for _, c := range name {
		if !wordByte(c) {
			return false
		}
	}
	return len(name) > 0
}

func wordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
