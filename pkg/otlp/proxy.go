package otlp

import (
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// setProxy finds the proxy for the endpoint in HTTP_PROXY, HTTPS_PROXY and
// NO_PROXY, which are also read in lower case. gRPC uses HTTPS_PROXY alone, for
// plain connections too. Through a proxy nothing that may be secret is sent but
// within TLS to the receiver.
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
	// httpproxy says whether a proxy is to be used. It takes one that makes no
	// sense for none.
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
	if err != nil || u.Hostname() == "" { // it may have a password in it
		return fmt.Errorf("%s: the proxy is no URL like http://proxy:3128", variable)
	}
	switch u.Scheme {
	case "http":
	case "https", "socks5", "socks5h":
		if e.Protocol == GRPC {
			return fmt.Errorf("%s: the proxy's scheme is %s; for gRPC only http is supported", variable, u.Scheme)
		}
	default:
		return fmt.Errorf("%s: the proxy's scheme is none of http, https, socks5 and socks5h", variable)
	}
	if e.URL.Scheme == "http" && (len(e.Headers) > 0 || e.URL.RawQuery != "") {
		return fmt.Errorf("%s: the proxy would read the headers or the query of what is sent to %s, which may be secret; use an https endpoint, or name its host in NO_PROXY", variable, e)
	}
	e.Proxy = u
	return nil
}
