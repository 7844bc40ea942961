package otlp

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

type env map[string]string

func (e env) get(name string) string { return e[name] }

// honoured are the variables, each with a check that it does what the README's
// table says, under its own name and under a signal's.
var honoured = map[string]func(t *testing.T, name string, s Signal, own bool){
	"OTEL_EXPORTER_OTLP_ENDPOINT": func(t *testing.T, name string, s Signal, own bool) {
		e := endpoint(t, s, "", env{name: "https://h:1/x/"})
		want := "https://h:1/x/v1/" + s.String()
		if own {
			want = "https://h:1/x/"
		}
		same(t, "URL", want, e.URL.String())
		same(t, "URL", "http://given/v1/"+s.String(), endpoint(t, s, "http://given", env{name: "https://h:1/x/"}).URL.String())
	},
	"OTEL_EXPORTER_OTLP_PROTOCOL": func(t *testing.T, name string, s Signal, own bool) {
		for _, p := range []string{HTTPProtobuf, HTTPJSON, GRPC} {
			same(t, "protocol", p, endpoint(t, s, "http://h", env{name: p}).Protocol)
		}
		same(t, "default", HTTPProtobuf, endpoint(t, s, "http://h", nil).Protocol)
		wrong(t, s, env{name: "thrift"}, name)
	},
	"OTEL_EXPORTER_OTLP_HEADERS": func(t *testing.T, name string, s Signal, own bool) {
		e := endpoint(t, s, "http://h", env{name: " a=b%20c%2C, D = e=f ,"})
		same(t, "headers", map[string]string{"a": "b c,", "D": "e=f"}, e.Headers)
		for _, bad := range []string{"secret", "a b=secret", "a=secret%0d%0a", "=secret"} {
			if err := wrong(t, s, env{name: bad}, name); strings.Contains(err, "secret") {
				t.Errorf("the error tells what the header is: %s", err)
			}
		}
	},
	"OTEL_EXPORTER_OTLP_COMPRESSION": func(t *testing.T, name string, s Signal, own bool) {
		same(t, "gzip", true, endpoint(t, s, "http://h", env{name: "gzip"}).Gzip)
		same(t, "none", false, endpoint(t, s, "http://h", env{name: "none"}).Gzip)
		same(t, "default", false, endpoint(t, s, "http://h", nil).Gzip)
		wrong(t, s, env{name: "zip"}, name)
	},
	"OTEL_EXPORTER_OTLP_TIMEOUT": func(t *testing.T, name string, s Signal, own bool) {
		same(t, "timeout", 250*time.Millisecond, endpoint(t, s, "http://h", env{name: "250"}).Timeout)
		same(t, "default", 10*time.Second, endpoint(t, s, "http://h", nil).Timeout)
		for _, bad := range []string{"10s", "0", "-1"} {
			wrong(t, s, env{name: bad}, name)
		}
	},
	// That these are used is tested with a server that wants them, by the program.
	"OTEL_EXPORTER_OTLP_CERTIFICATE": func(t *testing.T, name string, s Signal, own bool) {
		wrong(t, s, env{name: "/nonexistent"}, name)
		wrong(t, s, env{name: "/dev/null"}, name)
	},
	"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": func(t *testing.T, name string, s Signal, own bool) {
		wrong(t, s, env{name: "/nonexistent"}, name)
	},
	"OTEL_EXPORTER_OTLP_CLIENT_KEY": func(t *testing.T, name string, s Signal, own bool) {
		wrong(t, s, env{name: "/nonexistent"}, name)
	},
	"OTEL_EXPORTER_OTLP_INSECURE": func(t *testing.T, name string, s Signal, own bool) {
		grpc := func(e env, url string) *Endpoint {
			e["OTEL_EXPORTER_OTLP_PROTOCOL"] = GRPC
			return endpoint(t, s, url, e)
		}
		same(t, "true", true, grpc(env{name: "true"}, "h:1").TLS == nil)
		same(t, "false", false, grpc(env{name: "false"}, "h:1").TLS == nil)
		same(t, "default", false, grpc(env{}, "h:1").TLS == nil)
		same(t, "scheme", false, grpc(env{name: "true"}, "https://h:1").TLS == nil)
		wrong(t, s, env{name: "maybe"}, name)
	},
	"OTEL_RESOURCE_ATTRIBUTES": func(t *testing.T, name string, s Signal, own bool) {
		got := ResourceFromEnv(env{name: "a=b%20c, service.name = x ,no,=y", "OTEL_SERVICE_NAME": ""}.get)
		same(t, "attributes", map[string]string{"a": "b c", "service.name": "x"}, got)
	},
	"OTEL_SERVICE_NAME": func(t *testing.T, name string, s Signal, own bool) {
		got := ResourceFromEnv(env{name: "y", "OTEL_RESOURCE_ATTRIBUTES": "service.name=x"}.get)
		same(t, "attributes", map[string]string{"service.name": "y"}, got)
	},
}

func endpoint(t *testing.T, s Signal, url string, e env) *Endpoint {
	t.Helper()
	got, err := NewEndpoint(s, url, "", e.get)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wrong checks that an environment is refused, and that the error names the variable.
func wrong(t *testing.T, s Signal, e env, name string) string {
	t.Helper()
	_, err := NewEndpoint(s, "https://h", "", e.get)
	if err == nil {
		t.Errorf("%v is taken", e)
		return ""
	}
	if !strings.Contains(err.Error(), name) {
		t.Errorf("the error does not name the variable: %v", err)
	}
	return err.Error()
}

// TestVariables checks what the README's table says, row by row, and that it
// has a row for everything that is honoured.
func TestVariables(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(OTEL_\\w+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(readme), -1) {
		name, check := row[1], honoured[row[1]]
		rows = append(rows, name)
		if check == nil {
			t.Errorf("the README promises %s", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, s := range []Signal{Traces, Logs} {
				check(t, name, s, false)
				if own := strings.ToUpper(s.String()) + "_"; strings.Contains(row[2], "`"+own+"`") {
					check(t, strings.Replace(name, "OTLP_", "OTLP_"+own, 1), s, true)
				} else if strings.Contains(name, "OTLP_") {
					t.Errorf("the README has no %s form", own)
				}
			}
		})
	}
	slices.Sort(rows)
	same(t, "rows", slices.Sorted(maps.Keys(honoured)), rows)
}

func TestEndpoints(t *testing.T) {
	both := env{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://all:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://own:2"}
	for _, test := range []struct {
		signal         Signal
		base, protocol string
		env            env
		want           string // or the error's text
	}{
		{Traces, "http://h:4318", "", nil, "http://h:4318/v1/traces"},
		{Logs, "http://h:4318/", "", nil, "http://h:4318/v1/logs"},
		{Traces, " http://h/v1/traces ", "", nil, "http://h/v1/traces"},
		{Logs, "http://h/x/v1/traces/", "", nil, "http://h/x/v1/logs"},
		{Traces, "https://h/x?key=k", "", nil, "https://h/x/v1/traces?key=k"},
		{Traces, "http://[::1]:4318", HTTPJSON, nil, "http://[::1]:4318/v1/traces"},
		{Traces, "", "", both, "http://own:2"},
		{Logs, "", "", both, "http://all:1/v1/logs"},
		{Traces, "http://h/ignored", GRPC, nil, "http://h:4317"},
		{Traces, "h:1", GRPC, nil, "https://h:1"},
		{Traces, "[::1]:1", GRPC, nil, "https://[::1]:1"},
		{Traces, "", "", nil, "no receiver is given"},
		{Logs, "", "", env{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://own:2"}, "no receiver is given"},
		{Traces, "127.0.0.1:4318", "", nil, "the argument: the endpoint is not a URL like http://localhost:4318"},
		{Traces, "localhost:4318", "", nil, "the argument: the endpoint is not a URL like http://localhost:4318"},
		{Traces, "http://", "", nil, "the argument: the endpoint is not a URL like http://localhost:4318"},
		{Traces, "http://u:secret@h:x", "", nil, "the argument: the endpoint is not a URL like http://localhost:4318"},
	} {
		e, err := NewEndpoint(test.signal, test.base, test.protocol, test.env.get)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = e.URL.String()
		}
		same(t, test.base, test.want, got)
	}
	// User and password go into a header, and a query is not shown.
	for _, p := range []string{HTTPProtobuf, GRPC} {
		e, err := NewEndpoint(Traces, "http://me:secret@h:1/x?key=secret", p, env{}.get)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "header", "Basic bWU6c2VjcmV0", e.Headers["Authorization"])
		if strings.Contains(e.String(), "secret") || strings.Contains(e.String(), "me") {
			t.Errorf("shown as %s", e)
		}
	}
}
