package otlp

import (
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// setProxy finds the proxy for the endpoint in HTTP_PROXY, HTTPS_PROXY and
// NO_PROXY, whose names can also be in lower case. gRPC uses only HTTPS_PROXY, also
// for connections without TLS. It returns an error if a proxy could read something
// that may be secret.
func (e *Endpoint) setProxy(getenv func(string) string) error {
	first := func(names ...string) (value, name string) {
		for _, name = range names {
			if value = getenv(name); value != "" {
				break
			}
		}
		return value, name
	}
	to := url.URL{Scheme: e.URL.Scheme, Host: e.URL.Host}
	if e.Protocol == GRPC {
		to.Scheme = "https"
	}
	proxy, variable := first(strings.ToUpper(to.Scheme)+"_PROXY", to.Scheme+"_proxy")
	if proxy == "" {
		return nil
	}
	// httpproxy only decides whether to use a proxy: it ignores an invalid proxy URL,
	// which must be an error here.
	const some = "http://proxy.invalid"
	c := httpproxy.Config{HTTPProxy: some, HTTPSProxy: some, CGI: getenv("REQUEST_METHOD") != ""}
	c.NoProxy, _ = first("NO_PROXY", "no_proxy")
	if use, err := c.ProxyFunc()(&to); err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	} else if use == nil {
		return nil
	}
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Hostname() == "" { // err may contain a password
		return fmt.Errorf("%s: the proxy is not a URL like http://proxy:3128", variable)
	}
	switch u.Scheme {
	case "http":
	case "https", "socks5", "socks5h":
		if e.Protocol == GRPC {
			return fmt.Errorf("%s: the proxy's scheme is %s, but gRPC supports only http", variable, u.Scheme)
		}
	default:
		return fmt.Errorf("%s: the proxy's scheme must be http, https, socks5 or socks5h", variable)
	}
	if e.URL.Scheme == "http" && (len(e.Headers) > 0 || e.URL.RawQuery != "") {
		return fmt.Errorf("%s: the proxy could read the headers or the query sent to %s, which may be secret; use an https endpoint, or list its host in NO_PROXY", variable, e)
	}
	e.Proxy = u
	return nil
}
