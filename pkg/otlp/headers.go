package otlp

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// setHeaders parses `key=value,key=value` with percent-encoded values, and adds the
// user and password of the endpoint's URL. If a name occurs twice, in any case, the
// last value is sent. Its errors do not contain values.
func (e *Endpoint) setHeaders(list setting, user *url.Userinfo, endpoint setting) error {
	e.Headers = map[string]string{}
	for i, pair := range strings.Split(list.value, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if s, err := url.PathUnescape(v); err == nil {
			v = s
		}
		if !ok || !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v) || e.Protocol == GRPC && !validMetadata(k, v) {
			return fmt.Errorf("%s: header %d is not a valid key=value", list.from, i+1)
		}
		if required, reserved := e.reserved(strings.ToLower(k)); reserved {
			if !strings.EqualFold(v, required) {
				return fmt.Errorf("%s: header %d, %s, conflicts with the value that the protocol needs; remove it", list.from, i+1, k)
			}
			continue
		}
		e.setHeader(k, v)
	}
	if user == nil {
		return nil
	}
	password, _ := user.Password()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
	if given, ok := e.header("Authorization"); ok && given != basic {
		if list.rank > endpoint.rank {
			return nil
		}
		if list.rank == endpoint.rank {
			return fmt.Errorf("%s and %s conflict: the URL has a user and password, and there is an authorization header; remove one of them", endpoint.from, list.from)
		}
	}
	e.setHeader("Authorization", basic)
	return nil
}

// header returns the value of a header. Case in names is ignored.
func (e *Endpoint) header(name string) (value string, ok bool) {
	for k, v := range e.Headers {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

// setHeader sets or replaces a header. Case in names is ignored.
func (e *Endpoint) setHeader(name, value string) {
	for k := range e.Headers {
		if strings.EqualFold(k, name) {
			delete(e.Headers, k)
		}
	}
	e.Headers[name] = value
}

// contentType returns the Content-Type of requests.
func (e *Endpoint) contentType() string {
	switch e.Protocol {
	case GRPC:
		return "application/grpc"
	case HTTPJSON:
		return "application/json"
	}
	return "application/x-protobuf"
}

// reserved reports whether the protocol itself sets a header, and returns its value
// if that is fixed.
func (e *Endpoint) reserved(name string) (value string, ok bool) {
	switch name {
	case "content-type":
		return e.contentType(), true
	case "content-encoding":
		if e.Gzip {
			return "gzip", true
		}
		return "identity", true
	case "accept-encoding", "connection", "content-length", "expect", "keep-alive", "proxy-authorization", "proxy-connection",
		"te", "trailer", "transfer-encoding", "upgrade", "user-agent":
		return "", true
	}
	return "", e.Protocol == GRPC && (name == "host" || strings.HasPrefix(name, "grpc-"))
}

// validMetadata reports whether a header is valid in gRPC, which allows less than
// HTTP.
func validMetadata(name, value string) bool {
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; (c < 0x20 || c > 0x7e) && !strings.HasSuffix(strings.ToLower(name), "-bin") {
			return false
		}
	}
	return true
}
