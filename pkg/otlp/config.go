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

// Endpoint is a receiver of one signal and how it is spoken to. It holds what
// is secret in headers, and nothing of it in the URL.
type Endpoint struct {
	Protocol string
	URL      *url.URL          // grpc: only scheme and host
	Headers  map[string]string // no two names differ in case only
	Gzip     bool
	Timeout  time.Duration // of an attempt
	TLS      *tls.Config   // nil: the connection is plain
	Proxy    *url.URL      // nil: there is none
}

// String is the URL without its query, which may hold a key.
func (e *Endpoint) String() string {
	return (&url.URL{Scheme: e.URL.Scheme, Host: e.URL.Host, Path: e.URL.Path, RawPath: e.URL.RawPath}).String()
}

const defaultTimeout = 10 * time.Second

// ErrNoEndpoint says that no receiver is named.
var ErrNoEndpoint = errors.New("no receiver is named")

// setting is the value of a variable, or of the command line.
type setting struct {
	value string
	from  string // for messages: the variable's name
	rank  int    // which of two settings that contradict each other wins: the higher
}

// ranks of settings
const (
	general  = iota // OTEL_EXPORTER_OTLP_*
	own             // OTEL_EXPORTER_OTLP_TRACES_*, OTEL_EXPORTER_OTLP_LOGS_*
	argument        // given on the command line
)

// settings reads a signal's variables.
type settings struct {
	signal Signal
	getenv func(string) string
}

// get is the value of the signal's own variable, else of the general one.
func (s settings) get(name string) setting {
	const prefix = "OTEL_EXPORTER_OTLP_"
	variable, rank := prefix+strings.ToUpper(s.signal.String())+"_"+name, own
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

// NewEndpoint is the receiver of a signal: base and protocol where they are
// not empty, and for all else the environment's OTEL_EXPORTER_OTLP_TRACES_*
// or _LOGS_* variables before the OTEL_EXPORTER_OTLP_* ones, and the proxy
// variables. The path of the signal is appended to a base URL as vivarium does
// it. No error repeats what may be secret.
func NewEndpoint(s Signal, base, protocol string, getenv func(string) string) (*Endpoint, error) {
	env := settings{s, getenv}
	e := &Endpoint{Protocol: protocol, Timeout: defaultTimeout}
	if e.Protocol == "" {
		p := env.get("PROTOCOL")
		if e.Protocol = p.value; e.Protocol == "" {
			e.Protocol = HTTPProtobuf
		}
		if e.Protocol != HTTPProtobuf && e.Protocol != HTTPJSON && e.Protocol != GRPC {
			return nil, fmt.Errorf("%s=%q: the protocols are %s, %s and %s", p.from, e.Protocol, HTTPProtobuf, HTTPJSON, GRPC)
		}
	}
	insecure := false
	if v := env.get("INSECURE"); v.value != "" {
		var err error
		if insecure, err = strconv.ParseBool(strings.ToLower(v.value)); err != nil {
			return nil, fmt.Errorf("%s=%q: want true or false", v.from, v.value)
		}
	}
	switch v := env.get("COMPRESSION"); v.value {
	case "", "none":
	case "gzip":
		e.Gzip = true
	default:
		return nil, fmt.Errorf("%s=%q: want gzip or none", v.from, v.value)
	}
	if v := env.get("TIMEOUT"); v.value != "" {
		ms, err := strconv.ParseInt(v.value, 10, 32)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s=%q: want milliseconds above 0", v.from, v.value)
		}
		e.Timeout = time.Duration(ms) * time.Millisecond
	}

	at := setting{strings.TrimSpace(base), "the argument", argument}
	if base == "" {
		at = env.get("ENDPOINT")
	}
	if at.value == "" {
		return nil, ErrNoEndpoint
	}
	user, err := e.setURL(s, at, insecure)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at.from, err)
	}
	if err := e.setHeaders(env.get("HEADERS"), user, at); err != nil {
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

// tlsConfig is how an https receiver is spoken to.
func tlsConfig(env settings) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := env.get("CERTIFICATE"); ca.value != "" {
		pem, err := os.ReadFile(ca.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ca.from, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in %s", ca.from, ca.value)
		}
	}
	cert, key := env.get("CLIENT_CERTIFICATE"), env.get("CLIENT_KEY")
	if cert.value != "" || key.value != "" {
		pair, err := tls.LoadX509KeyPair(cert.value, key.value)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", either(cert.from, "CLIENT_CERTIFICATE"), either(key.from, "CLIENT_KEY"), err)
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
