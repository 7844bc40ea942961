package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// The protocols of OTLP.
const (
	HTTPProtobuf = "http/protobuf"
	HTTPJSON     = "http/json"
	GRPC         = "grpc"
)

// Endpoint is a receiver of one signal and how it is spoken to. It holds what
// is secret in headers, and nothing of it in the URL.
type Endpoint struct {
	Protocol string
	URL      *url.URL // grpc: only scheme and host
	Headers  map[string]string
	Gzip     bool
	Timeout  time.Duration // of an attempt
	TLS      *tls.Config   // nil: the connection is plain
}

// String is the URL without its query, which may hold a key.
func (e *Endpoint) String() string {
	return (&url.URL{Scheme: e.URL.Scheme, Host: e.URL.Host, Path: e.URL.Path}).String()
}

const defaultTimeout = 10 * time.Second

// ErrNoEndpoint says that no receiver is named.
var ErrNoEndpoint = errors.New("no receiver is named")

// NewEndpoint is the receiver of a signal: base and protocol where they are
// not empty, and for all else the environment's OTEL_EXPORTER_OTLP_TRACES_*
// or _LOGS_* variables before the OTEL_EXPORTER_OTLP_* ones. The path of the
// signal is appended to a base URL as vivarium does it.
func NewEndpoint(signal Signal, base, protocol string, getenv func(string) string) (*Endpoint, error) {
	env := func(name string) (value, variable string) {
		for _, prefix := range []string{"OTEL_EXPORTER_OTLP_" + strings.ToUpper(signal.String()) + "_", "OTEL_EXPORTER_OTLP_"} {
			if v := strings.TrimSpace(getenv(prefix + name)); v != "" {
				return v, prefix + name
			}
		}
		return "", ""
	}
	e := &Endpoint{Protocol: protocol, Headers: map[string]string{}, Timeout: defaultTimeout}
	var variable string
	if e.Protocol == "" {
		if e.Protocol, variable = env("PROTOCOL"); e.Protocol == "" {
			e.Protocol = HTTPProtobuf
		}
	}
	if e.Protocol != HTTPProtobuf && e.Protocol != HTTPJSON && e.Protocol != GRPC {
		return nil, fmt.Errorf("%s=%q: the protocols are %s, %s and %s", variable, e.Protocol, HTTPProtobuf, HTTPJSON, GRPC)
	}

	insecure := false
	if v, variable := env("INSECURE"); v != "" {
		var err error
		if insecure, err = strconv.ParseBool(strings.ToLower(v)); err != nil {
			return nil, fmt.Errorf("%s=%q: want true or false", variable, v)
		}
	}
	whole := false // the URL is the signal's own, path and all
	if variable = "the argument"; base == "" {
		base, variable = env("ENDPOINT")
		whole = strings.Contains(variable, "_"+strings.ToUpper(signal.String())+"_")
	}
	if base == "" {
		return nil, ErrNoEndpoint
	}
	if err := e.setURL(signal, strings.TrimSpace(base), whole, insecure); err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}

	if v, variable := env("HEADERS"); v != "" {
		if err := e.addHeaders(v); err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
	}
	switch v, variable := env("COMPRESSION"); v {
	case "", "none":
	case "gzip":
		e.Gzip = true
	default:
		return nil, fmt.Errorf("%s=%q: want gzip or none", variable, v)
	}
	if v, variable := env("TIMEOUT"); v != "" {
		ms, err := strconv.ParseInt(v, 10, 32)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s=%q: want milliseconds above 0", variable, v)
		}
		e.Timeout = time.Duration(ms) * time.Millisecond
	}
	if e.URL.Scheme == "https" {
		e.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		ca, caVar := env("CERTIFICATE")
		cert, certVar := env("CLIENT_CERTIFICATE")
		key, keyVar := env("CLIENT_KEY")
		if ca != "" {
			pem, err := os.ReadFile(ca)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", caVar, err)
			}
			e.TLS.RootCAs = x509.NewCertPool()
			if !e.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s: no certificate in %s", caVar, ca)
			}
		}
		if cert != "" || key != "" {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", either(certVar, "CLIENT_CERTIFICATE"), either(keyVar, "CLIENT_KEY"), err)
			}
			e.TLS.Certificates = []tls.Certificate{pair}
		}
	}
	return e, nil
}

func either(variable, name string) string {
	if variable == "" {
		return "OTEL_EXPORTER_OTLP_" + name
	}
	return variable
}

// setURL understands base. Its errors do not repeat it: it may hold a password.
func (e *Endpoint) setURL(signal Signal, base string, whole, insecure bool) error {
	example := "http://localhost:4318"
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
		return fmt.Errorf("the endpoint is no URL like %s", example)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		e.Headers["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		u.User = nil
	}
	if e.Protocol == GRPC {
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "4317")
		}
		u = &url.URL{Scheme: u.Scheme, Host: u.Host}
	} else if !whole {
		path := strings.TrimSuffix(u.Path, "/")
		for _, s := range []Signal{Traces, Logs} {
			path = strings.TrimSuffix(path, "/v1/"+s.String())
		}
		u.Path, u.RawPath = path+"/v1/"+signal.String(), ""
	}
	e.URL = u
	return nil
}

// addHeaders understands `key=value,key=value` with percent-encoded values.
// Its errors do not repeat them.
func (e *Endpoint) addHeaders(list string) error {
	for i, pair := range strings.Split(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if s, err := url.PathUnescape(v); err == nil {
			v = s
		}
		if !ok || !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v) {
			return fmt.Errorf("header %d is not like key=value", i+1)
		}
		e.Headers[k] = v
	}
	return nil
}

// ResourceFromEnv returns the attributes that OTEL_RESOURCE_ATTRIBUTES and,
// before it, OTEL_SERVICE_NAME give.
func ResourceFromEnv(getenv func(string) string) map[string]string {
	attrs := map[string]string{}
	for _, pair := range strings.Split(getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		k, v, ok := strings.Cut(pair, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			continue
		}
		v = strings.TrimSpace(v)
		if s, err := url.PathUnescape(v); err == nil {
			v = s
		}
		attrs[k] = v
	}
	if name := getenv("OTEL_SERVICE_NAME"); name != "" {
		attrs["service.name"] = name
	}
	return attrs
}
