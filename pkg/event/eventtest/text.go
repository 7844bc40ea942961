package eventtest

import (
	"testing"
	"unicode"
	"unicode/utf8"
)

// CheckText fails a test unless text is one line of printable UTF-8.
func CheckText(t *testing.T, text []byte) {
	t.Helper()
	if !utf8.Valid(text) {
		t.Errorf("not UTF-8: %q", text)
	}
	for _, r := range string(text) {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("%U in %q", r, text)
			return
		}
	}
}
