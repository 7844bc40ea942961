package otlp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// setURL parses the endpoint's URL, and returns the user and password in it. It does
// not change escapes in the path and the query.
func (e *Endpoint) setURL(s Signal, at setting, insecure bool) (*url.Userinfo, error) {
	base, example := at.value, "http://localhost:4318"
	if e.Protocol == GRPC {
		example = "http://localhost:4317"
		if !strings.Contains(base, "://") { // as the specification allows
			scheme := "https://"
			if insecure {
				scheme = "http://"
			}
			base = scheme + base
		}
	}
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the endpoint is not a URL like %s", example)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("the endpoint's port is not between 1 and 65535")
		}
	}
	user := u.User
	if e.Protocol == GRPC {
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "4317")
		}
		e.URL = &url.URL{Scheme: u.Scheme, Host: u.Host}
		return user, nil
	}
	path := u.RawPath // set if it differs from the encoding of Go
	if path == "" {
		path = u.EscapedPath()
	}
	if at.rank != perSignal { // a signal's own variable has the whole URL
		path = strings.TrimRight(path, "/")
		for _, s := range []Signal{Traces, Logs} {
			path = strings.TrimRight(strings.TrimSuffix(path, "/v1/"+s.String()), "/")
		}
		path += "/v1/" + s.String()
	}
	e.URL = &url.URL{Scheme: u.Scheme, Host: u.Host, ForceQuery: u.ForceQuery, RawQuery: escapeInvalid(u.RawQuery)}
	// Go sends a RawPath only if all of it is valid.
	e.URL.RawPath = escapeInvalid(path)
	if e.URL.Path, err = url.PathUnescape(e.URL.RawPath); err != nil {
		return nil, fmt.Errorf("the endpoint is not a URL like %s", example)
	}
	return user, nil
}

// escapeInvalid escapes only the bytes that are not allowed in the path or query of
// a URL.
func escapeInvalid(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@/?%[]", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
