package otlp

import (
	"net/http"
	"testing"
)

// What is requested of a receiver is what was written.
func TestURLs(t *testing.T) {
	for _, test := range []struct{ url, base, own string }{
		{"http://h", "/v1/traces", "/"},
		{"http://h/", "/v1/traces", "/"},
		{"http://h//", "/v1/traces", "//"},
		{"http://h///", "/v1/traces", "///"},
		{"http://h/a%2Fb", "/a%2Fb/v1/traces", "/a%2Fb"},
		{"http://h/a%2fb/", "/a%2fb/v1/traces", "/a%2fb/"},
		{"http://h/a%3Fb", "/a%3Fb/v1/traces", "/a%3Fb"},
		{"http://h/a%23b", "/a%23b/v1/traces", "/a%23b"},
		{"http://h/a%25b", "/a%25b/v1/traces", "/a%25b"},
		{"http://h/t%20x/", "/t%20x/v1/traces", "/t%20x/"},
		{"http://h/t x", "/t%20x/v1/traces", "/t%20x"},
		{"http://h/a%2Fb|c^", "/a%2Fb%7Cc%5E/v1/traces", "/a%2Fb%7Cc%5E"},
		{"http://h/a%2F\u00e9", "/a%2F%C3%A9/v1/traces", "/a%2F%C3%A9"},
		{"http://h/%C3%A9", "/%C3%A9/v1/traces", "/%C3%A9"},
		{"http://h/a%41", "/a%41/v1/traces", "/a%41"},
		{"http://h/a//b/", "/a//b/v1/traces", "/a//b/"},
		{"http://h/a/../b", "/a/../b/v1/traces", "/a/../b"},
		{"http://h/a;v=1,2/b", "/a;v=1,2/b/v1/traces", "/a;v=1,2/b"},
		{"http://h/a:b@c!$&'()*+=~", "/a:b@c!$&'()*+=~/v1/traces", "/a:b@c!$&'()*+=~"},
		{"http://h/v1/traces", "/v1/traces", "/v1/traces"},
		{"http://h/v1/traces/", "/v1/traces", "/v1/traces/"},
		{"http://h//v1/traces//", "/v1/traces", "//v1/traces//"},
		{"http://h/x/v1/logs", "/x/v1/traces", "/x/v1/logs"},
		{"http://h/xv1/traces", "/xv1/traces/v1/traces", "/xv1/traces"},
		{"http://h/api?key=1&b=%2F", "/api/v1/traces?key=1&b=%2F", "/api?key=1&b=%2F"},
		{"http://h/api/?q=a b", "/api/v1/traces?q=a%20b", "/api/?q=a%20b"},
		{"http://h?q=/x//", "/v1/traces?q=/x//", "/?q=/x//"},
		{"http://h/a?", "/a/v1/traces?", "/a?"},
		{"http://h/a%2Fb?x=%20y#f", "/a%2Fb/v1/traces?x=%20y", "/a%2Fb?x=%20y"},
		{"http://h/a#f?x", "/a/v1/traces", "/a"},
		{"http://[::1]:4318/a", "/a/v1/traces", "/a"},
	} {
		for variable, want := range map[string]string{"": test.base, envEndpoint: test.base, envOwnEndpoint: test.own} {
			base, e := "", env{variable: test.url}
			if variable == "" {
				base = test.url
			}
			got, err := NewEndpoint(Traces, base, "", e.get)
			if err != nil {
				t.Errorf("%s: %v", test.url, err)
				continue
			}
			r, err := http.NewRequest(http.MethodPost, got.URL.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			same(t, variable+" "+test.url, want, r.URL.RequestURI())
		}
	}
}

func TestHosts(t *testing.T) {
	for _, test := range []struct{ protocol, url, host, shown string }{
		{HTTPProtobuf, "http://[::1]", "[::1]", "http://[::1]/v1/traces"},
		{HTTPProtobuf, "http://[fe80::1%25eth0]:4318/", "[fe80::1%eth0]:4318", "http://[fe80::1%25eth0]:4318/v1/traces"},
		{HTTPProtobuf, "https://H.Example:1/a%2Fb?key=k", "H.Example:1", "https://H.Example:1/a%2Fb/v1/traces"},
		{GRPC, "http://[::1]", "[::1]:4317", "http://[::1]:4317"},
		{GRPC, "http://[::1]:1", "[::1]:1", "http://[::1]:1"},
		{GRPC, "http://h:", "h:4317", "http://h:4317"},
		{GRPC, "http://[fe80::1%25lo]:1", "[fe80::1%lo]:1", "http://[fe80::1%25lo]:1"},
		{GRPC, "http://u:p@h/x?key=k", "h:4317", "http://h:4317"},
	} {
		e, err := NewEndpoint(Traces, test.url, test.protocol, env{}.get)
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		same(t, test.url, []string{test.host, test.shown}, []string{e.URL.Host, e.String()})
	}
	for _, bad := range []string{"http://h:0", "http://h:65536", "http://h:99999999999", "http://[::1", "http://h/%zz", "http://h/%2", "ftp://h", "http:h", "http:///x"} {
		for _, p := range []string{HTTPProtobuf, GRPC} {
			if e, err := NewEndpoint(Traces, bad, p, env{}.get); err == nil {
				t.Errorf("%s is taken as %s", bad, e)
			}
		}
	}
}
