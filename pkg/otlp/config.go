package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// The protocols of OTLP.
const (
	HTTPProtobuf = "http/protobuf"
	HTTPJSON     = "http/json"
	GRPC         = "grpc"
)

// Endpoint is a receiver of one signal, with the parameters of its protocol. A
// user and password are in Headers, not in URL; the query may hold a key.
type Endpoint struct {
	Protocol string
	URL      *url.URL          // grpc: only scheme and host
	Headers  map[string]string // no two names differ in case only
	Gzip     bool
	Timeout  time.Duration // of one attempt
	TLS      *tls.Config   // nil: no TLS
	Proxy    *url.URL      // nil: no proxy
}

// String returns the URL without its query, which may hold a key.
func (e *Endpoint) String() string {
	return (&url.URL{Scheme: e.URL.Scheme, Host: e.URL.Host, Path: e.URL.Path, RawPath: e.URL.RawPath}).String()
}

const defaultTimeout = 10 * time.Second

// ErrNoEndpoint is the error of NewEndpoint if neither the argument nor a variable
// has a URL.
var ErrNoEndpoint = errors.New("no receiver is given")

// setting is a value from a variable or from the command line.
type setting struct {
	value string
	from  string // for messages: the variable's name
	rank  int    // if two settings conflict, the one with the higher rank is used
}

// ranks of settings
const (
	general   = iota // OTEL_EXPORTER_OTLP_*
	perSignal        // OTEL_EXPORTER_OTLP_TRACES_*, OTEL_EXPORTER_OTLP_LOGS_*
	argument         // given on the command line
)

// settings reads a signal's variables.
type settings struct {
	signal Signal
	getenv func(string) string
}

// lookup returns the value of the signal's own variable, else of the general one.
func (s settings) lookup(name string) setting {
	const prefix = "OTEL_EXPORTER_OTLP_"
	variable, rank := prefix+strings.ToUpper(s.signal.String())+"_"+name, perSignal
	v := strings.TrimSpace(s.getenv(variable))
	if v == "" {
		variable, rank = prefix+name, general
		v = strings.TrimSpace(s.getenv(variable))
	}
	if v == "" {
		return setting{}
	}
	return setting{v, variable, rank}
}

// NewEndpoint returns the receiver of a signal. base (a URL) and protocol are used
// if they are not empty. All other settings are from the environment: the variables
// OTEL_EXPORTER_OTLP_TRACES_* or _LOGS_*, else OTEL_EXPORTER_OTLP_*, and the proxy
// variables. The path of the signal is appended to a base URL as in vivarium. No
// error contains a value that may be secret.
func NewEndpoint(s Signal, base, protocol string, getenv func(string) string) (*Endpoint, error) {
	env := settings{s, getenv}
	e := &Endpoint{Protocol: protocol, Timeout: defaultTimeout}
	if e.Protocol == "" {
		p := env.lookup("PROTOCOL")
		if e.Protocol = p.value; e.Protocol == "" {
			e.Protocol = HTTPProtobuf
		}
		if e.Protocol != HTTPProtobuf && e.Protocol != HTTPJSON && e.Protocol != GRPC {
			return nil, fmt.Errorf("%s=%q: must be %s, %s or %s", p.from, e.Protocol, HTTPProtobuf, HTTPJSON, GRPC)
		}
	}
	insecure := false
	if v := env.lookup("INSECURE"); v.value != "" {
		var err error
		if insecure, err = strconv.ParseBool(strings.ToLower(v.value)); err != nil {
			return nil, fmt.Errorf("%s=%q: must be true or false", v.from, v.value)
		}
	}
	switch v := env.lookup("COMPRESSION"); v.value {
	case "", "none":
	case "gzip":
		e.Gzip = true
	default:
		return nil, fmt.Errorf("%s=%q: must be gzip or none", v.from, v.value)
	}
	if v := env.lookup("TIMEOUT"); v.value != "" {
		ms, err := strconv.ParseInt(v.value, 10, 32)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s=%q: must be a number of milliseconds above 0", v.from, v.value)
		}
		e.Timeout = time.Duration(ms) * time.Millisecond
	}

	at := setting{strings.TrimSpace(base), "the argument", argument}
	if base == "" {
		at = env.lookup("ENDPOINT")
	}
	if at.value == "" {
		return nil, ErrNoEndpoint
	}
	user, err := e.setURL(s, at, insecure)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at.from, err)
	}
	if err := e.setHeaders(env.lookup("HEADERS"), user, at); err != nil {
		return nil, err
	}
	if err := e.setProxy(getenv); err != nil {
		return nil, err
	}
	if e.URL.Scheme == "https" {
		if e.TLS, err = tlsConfig(env); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// tlsConfig returns the TLS configuration for an https receiver.
func tlsConfig(env settings) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := env.lookup("CERTIFICATE"); ca.value != "" {
		pem, err := os.ReadFile(ca.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ca.from, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in %s", ca.from, ca.value)
		}
	}
	cert, key := env.lookup("CLIENT_CERTIFICATE"), env.lookup("CLIENT_KEY")
	if cert.value != "" || key.value != "" {
		pair, err := tls.LoadX509KeyPair(cert.value, key.value)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", either(cert.from, "CLIENT_CERTIFICATE"), either(key.from, "CLIENT_KEY"), err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func either(variable, name string) string {
	if variable == "" {
		return "OTEL_EXPORTER_OTLP_" + name
	}
	return variable
}

// ResourceFromEnv returns the attributes in OTEL_RESOURCE_ATTRIBUTES.
// OTEL_SERVICE_NAME overrides service.name.
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
