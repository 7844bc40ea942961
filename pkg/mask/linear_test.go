package mask

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestLinear: a text of 64 KiB, made to be read again and again by a reader
// that goes back, takes moments. Quadratic work would take minutes.
func TestLinear(t *testing.T) {
	for _, unit := range []string{
		"a=", "key=", "key:", "auth=/x,", "password=/", "privatekey:~", "key=\"", "\"key\":\"", "'token':", "\\\"key\\\":\\\"", "key=a&", "token=;",
		"http://", "http://a:b@", "x://a:b?", "a:b@", "@", ":", "://", "%3F", "%3f%3d", "?a=%", "/hooks/", "/webhooks/1", "/bot1", "eyJ.", "eyJa.", "sk-",
		"AKIA", "1234567:", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "bearer ", "by '", "password for ", "identified by ", "auth('", "thin:@", "<token>",
		"x-auth: /a ", "token: ", "mysql -p", "sudo ", "sh -c '", "sh -c \"", "env A=b ", "echo x | passwd ", "'", "\"", "\\", "`", "$(", "a b ", "- ", "--password ", "=", "&", ";", ",",
		"htpasswd -b ", "docker run ", "vault kv put ", "PRIVATE KEY", "authorization: ", "-u a:b ", "curl -u ", "\n",
	} {
		text := []byte(strings.Repeat(unit, 1<<16/len(unit)))
		for _, argv := range [][][]byte{
			{[]byte("x"), text}, {[]byte("curl"), []byte("-d"), text}, append([][]byte{[]byte("env")}, bytes.Fields(text)...),
		} {
			begun := time.Now()
			Args(argv)
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("%q in %s: %v", unit, argv[0], took)
			}
		}
		begun := time.Now()
		AppendTarget(nil, text)
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%q as target: %v", unit, took)
		}
	}
}
