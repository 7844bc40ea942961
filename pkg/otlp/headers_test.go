package otlp

import (
	"strings"
	"testing"
)

const (
	envHeaders       = "OTEL_EXPORTER_OTLP_HEADERS"
	envTracesHeaders = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
	envEndpoint      = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envOwnEndpoint   = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// One value of a header is sent, whatever case its name is given in and
// wherever it is given; and always the same.
func TestHeaderNames(t *testing.T) {
	const user, basic = "http://me:secret@h:1", "Basic bWU6c2VjcmV0"
	for _, test := range []struct {
		base string
		env  env
		want map[string]string
	}{
		{"http://h", env{envHeaders: "X-Scope-OrgID=a,x-scope-orgid=b"}, map[string]string{"x-scope-orgid": "b"}},
		{"http://h", env{envHeaders: "x-scope-orgid=b,X-Scope-OrgID=a,X-SCOPE-ORGID=c"}, map[string]string{"X-SCOPE-ORGID": "c"}},
		{"http://h", env{envHeaders: "k=a,k=b,K=b"}, map[string]string{"K": "b"}},
		{"http://h", env{envHeaders: "k=a,k="}, map[string]string{"k": ""}},
		{"http://h", env{envHeaders: "K=general,l=1", envTracesHeaders: "k=own"}, map[string]string{"k": "own"}},
		// The argument is nearer than a variable.
		{user, nil, map[string]string{"Authorization": basic}},
		{user, env{envHeaders: "authorization=Bearer abc,k=1"}, map[string]string{"Authorization": basic, "k": "1"}},
		{user, env{envTracesHeaders: "AUTHORIZATION=Bearer abc"}, map[string]string{"Authorization": basic}},
		// A signal's own variable is nearer than the general one.
		{"", env{envOwnEndpoint: user, envHeaders: "authorization=Bearer abc"}, map[string]string{"Authorization": basic}},
		{"", env{envEndpoint: user, envTracesHeaders: "authorization=Bearer abc"}, map[string]string{"authorization": "Bearer abc"}},
		// The same twice is no contradiction.
		{"", env{envEndpoint: user, envHeaders: "authorization=Basic%20bWU6c2VjcmV0"}, map[string]string{"Authorization": basic}},
		{"", env{envEndpoint: user, envHeaders: "authorization=x,Authorization=Basic bWU6c2VjcmV0"}, map[string]string{"Authorization": basic}},
		// User and password are percent-encoded.
		{"http://m%40e:p%3A%2F%25@h", nil, map[string]string{"Authorization": "Basic bUBlOnA6LyU="}},
		{"http://token@h", nil, map[string]string{"Authorization": "Basic dG9rZW46"}},
		// What viv-otlp sends itself may be named, if it is the same.
		{"http://h", env{envHeaders: "Content-Type=application/x-protobuf,content-encoding=identity,k=1"}, map[string]string{"k": "1"}},
	} {
		for _, p := range []string{HTTPProtobuf, GRPC} {
			for range 20 { // maps have no order
				e, err := NewEndpoint(Traces, test.base, p, test.env.get)
				if err != nil {
					if p == GRPC && strings.Contains(err.Error(), "Content-Type") {
						continue
					}
					t.Fatal(test, err)
				}
				same(t, test.base, test.want, e.Headers)
			}
		}
	}
}

func TestHeadersRefused(t *testing.T) {
	for _, test := range []struct {
		protocol, base string
		env            env
		want           string
	}{
		{"", "", env{envEndpoint: "http://me:secret@h", envHeaders: "authorization=secret"},
			"OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS conflict"},
		{"", "", env{envOwnEndpoint: "http://me:secret@h", envTracesHeaders: "Authorization=secret"},
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_HEADERS conflict"},
		{GRPC, "", env{envEndpoint: "http://me:secret@h", envHeaders: "AUTHORIZATION=secret"}, "_HEADERS conflict: "},
		{"", "http://h", env{envHeaders: "k=1,content-type=secret"}, "OTEL_EXPORTER_OTLP_HEADERS: header 2, content-type, conflicts"},
		{HTTPJSON, "http://h", env{envHeaders: "Content-Type=application/x-protobuf"}, "header 1, Content-Type, conflicts"},
		{"", "http://h", env{envHeaders: "Content-Encoding=gzip"}, "header 1, Content-Encoding, conflicts"},
		{"", "http://h", env{envHeaders: "Accept-Encoding=gzip"}, "header 1, Accept-Encoding, conflicts"},
		{"", "http://h", env{envHeaders: "Transfer-Encoding=chunked"}, "conflicts"},
		{"", "http://h", env{envHeaders: "content-length=1"}, "conflicts"},
		{GRPC, "http://h", env{envHeaders: "grpc-timeout=1S"}, "conflicts"},
		{GRPC, "http://h", env{envHeaders: "a!=secret"}, "header 1 is not a valid key=value"},
		{GRPC, "http://h", env{envHeaders: "a=secret%C3%A9"}, "header 1 is not a valid key=value"},
	} {
		e, err := NewEndpoint(Traces, test.base, test.protocol, test.env.get)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v %v", test, e, err)
		}
	}
}
