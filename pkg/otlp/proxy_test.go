package otlp

import (
	"bufio"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
)

func TestProxies(t *testing.T) {
	none := ""
	for _, test := range []struct {
		protocol, url string
		env           env
		want          string // the proxy, or the error's text
	}{
		{"", "http://h", nil, none},
		{"", "http://h", env{"HTTP_PROXY": "http://p:1"}, "http://p:1"},
		{"", "http://h", env{"http_proxy": "p:1"}, "http://p:1"},
		{"", "http://h", env{"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:1"}, "http://upper:1"},
		{"", "http://h", env{"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}, none},
		{"", "https://h", env{"HTTPS_PROXY": "http://p:1"}, "http://p:1"},
		{"", "https://h", env{"https_proxy": "https://me:pw@p"}, "https://me:pw@p"},
		{"", "https://h", env{"HTTPS_PROXY": "socks5://p:1"}, "socks5://p:1"},
		{"", "https://h", env{"HTTPS_PROXY": "socks5h://p:1"}, "socks5h://p:1"},
		{"", "https://h", env{"HTTP_PROXY": "http://p:1"}, none},
		// NO_PROXY, and the machine itself.
		{"", "http://h", env{"HTTP_PROXY": "http://p:1", "NO_PROXY": "h"}, none},
		{"", "http://h", env{"HTTP_PROXY": "http://p:1", "no_proxy": "*"}, none},
		{"", "http://a.h:4318", env{"HTTP_PROXY": "http://p:1", "NO_PROXY": "x, .h"}, none},
		{"", "http://a.h:4318", env{"HTTP_PROXY": "http://p:1", "NO_PROXY": "a.h:4317"}, "http://p:1"},
		{"", "http://10.1.2.3", env{"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, none},
		{"", "http://[fd00::1]", env{"HTTP_PROXY": "http://p:1", "NO_PROXY": "fd00::1"}, none},
		{"", "http://localhost", env{"HTTP_PROXY": "http://p:1"}, none},
		{"", "http://127.0.0.9:1", env{"HTTP_PROXY": "http://p:1"}, none},
		{"", "http://[::1]:1", env{"HTTP_PROXY": "nonsense://"}, none},
		// gRPC.
		{GRPC, "http://h", env{"HTTP_PROXY": "http://p:1"}, none},
		{GRPC, "http://h", env{"HTTPS_PROXY": "http://p:1"}, "http://p:1"},
		{GRPC, "https://h", env{"HTTPS_PROXY": "http://p:1"}, "http://p:1"},
		{GRPC, "https://h", env{"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h"}, none},
		{GRPC, "https://h", env{"HTTPS_PROXY": "socks5://p:1"}, "HTTPS_PROXY: the proxy's scheme is socks5, but gRPC supports only http"},
		// What makes no sense.
		{"", "http://h", env{"HTTP_PROXY": "http://me:secret@p:x"}, "HTTP_PROXY: the proxy is not a URL like http://proxy:3128"},
		{"", "https://h", env{"https_proxy": "http://"}, "https_proxy: the proxy is not a URL like http://proxy:3128"},
		{"", "http://h", env{"HTTP_PROXY": "ftp://p"}, "HTTP_PROXY: the proxy's scheme must be http, https, socks5 or socks5h"},
		{"", "http://h", env{"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "HTTP_PROXY: refusing to use HTTP_PROXY value in CGI environment"},
		// What may be secret.
		{"", "http://h", env{"HTTP_PROXY": "http://p:1", envHeaders: "k=secret"}, "HTTP_PROXY: the proxy could read the headers or the query sent to http://h/v1/traces"},
		{"", "http://me:secret@h", env{"HTTP_PROXY": "socks5://p:1"}, "the proxy could read"},
		{"", "http://h?key=secret", env{"HTTP_PROXY": "http://p:1"}, "the proxy could read"},
		{"", "http://h", env{"HTTP_PROXY": "https://p:1", envTracesHeaders: "k=secret"}, "the proxy could read"},
		{GRPC, "http://h", env{"HTTPS_PROXY": "http://p:1", envHeaders: "k=secret"}, "HTTPS_PROXY: the proxy could read"},
		{GRPC, "https://h", env{"HTTPS_PROXY": "http://p:1", envHeaders: "k=secret"}, "http://p:1"},
		{"", "https://me:secret@h?key=secret", env{"HTTPS_PROXY": "http://p:1"}, "http://p:1"},
		{"", "http://me:secret@h", env{"HTTP_PROXY": "http://p:1", "NO_PROXY": "h"}, none},
		{"", "http://me:secret@localhost", env{"HTTP_PROXY": "http://p:1"}, none},
	} {
		e, err := NewEndpoint(Traces, test.url, test.protocol, test.env.get)
		got := none
		if err != nil {
			got = err.Error()
		} else if e.Proxy != nil {
			got = e.Proxy.String()
		}
		if !strings.HasPrefix(got, test.want) && !(err != nil && strings.Contains(got, test.want)) || test.want == none && got != none {
			t.Errorf("%v: %s", test, got)
		}
		if err != nil && strings.Contains(got, "secret@") {
			t.Errorf("the error tells the password: %s", got)
		}
	}
}

// proxyServer is an HTTP proxy that keeps the headers of what passes through
// in clear.
type proxyServer struct {
	*httptest.Server
	refuse int // status of every CONNECT, 0: it is done
	mu     sync.Mutex
	heads  []string
}

func startProxy(t *testing.T, refuse int) *proxyServer {
	p := &proxyServer{refuse: refuse}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head, _ := httputil.DumpRequest(r, false)
	p.mu.Lock()
	p.heads = append(p.heads, string(head))
	p.mu.Unlock()
	if p.refuse != 0 {
		w.WriteHeader(p.refuse)
		return
	}
	if r.Method != http.MethodConnect {
		http.Error(w, "not tested", http.StatusTeapot)
		return
	}
	// All names are this machine.
	_, port, _ := net.SplitHostPort(r.Host)
	to, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		w.WriteHeader(502)
		return
	}
	defer to.Close()
	c, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	go io.Copy(to, io.MultiReader(io.LimitReader(buf, int64(buf.Reader.Buffered())), c))
	io.Copy(c, to)
}

func (p *proxyServer) saw() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.heads, "")
}

// A proxy gets its own password and nothing that is meant for the receiver.
func TestProxyTunnel(t *testing.T) {
	var got http.Header
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	defer receiver.Close()
	ca := t.TempDir() + "/ca.pem"
	writeCertificate(t, ca, receiver.Certificate().Raw)
	_, port, _ := net.SplitHostPort(receiver.Listener.Addr().String())
	p := startProxy(t, 0)
	through := *mustURL(t, p.URL)
	through.User = url.UserPassword("proxy", "pw")
	vars := env{"HTTPS_PROXY": through.String(), envHeaders: "x-key=secret", "OTEL_EXPORTER_OTLP_CERTIFICATE": ca}
	d := startDelivery(t, "", func(o *DeliveryOptions, _ *bounds) {
		o.Endpoint = func(s Signal) (*Endpoint, error) {
			return NewEndpoint(s, "https://me:secret@example.com:"+port, "", vars.get)
		}
	})
	d.Put(testBatch(t, "a"))
	same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
	same(t, "what the receiver gets", []string{"secret", "Basic bWU6c2VjcmV0", ""}, []string{got.Get("x-key"), got.Get("authorization"), got.Get("proxy-authorization")})
	if saw := p.saw(); !strings.HasPrefix(saw, "CONNECT example.com:"+port) || strings.Contains(saw, "secret") || strings.Contains(saw, "bWU6c2VjcmV0") ||
		!strings.Contains(saw, "Proxy-Authorization: Basic cHJveHk6cHc=") {
		t.Errorf("the proxy sees %q", saw)
	}
}

// What a proxy refuses is not sent again, and what it cannot do for now is.
func TestProxyRefuses(t *testing.T) {
	for status, want := range map[int]Counts{407: {Rejected: 1}, 403: {Rejected: 1}, 503: {Undelivered: 1}} {
		for _, to := range []string{"http://example.com:1", "https://example.com:1"} {
			p := startProxy(t, status)
			d := startDelivery(t, "", func(o *DeliveryOptions, b *bounds) {
				if status == 503 {
					o.Deadline = firstWait * 3
				}
				o.Endpoint = func(s Signal) (*Endpoint, error) {
					return NewEndpoint(s, to, "", env{"HTTP_PROXY": p.URL, "HTTPS_PROXY": p.URL}.get)
				}
			})
			d.Put(testBatch(t, "a"))
			same(t, to, [2]Counts{want}, d.Close())
			if n := strings.Count(p.saw(), "HTTP/1.1\r\n"); status != 503 && n != 1 || status == 503 && n < 2 {
				t.Errorf("%s, %d: %d requests", to, status, n)
			}
		}
	}
}

// A SOCKS proxy is told the receiver's name.
func TestSOCKS(t *testing.T) {
	v := startReceiver(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go socks(c, v.Listener.Addr().String(), asked)
		}
	}()
	d := startDelivery(t, "", func(o *DeliveryOptions, _ *bounds) {
		o.Endpoint = func(s Signal) (*Endpoint, error) {
			return NewEndpoint(s, "http://example.com:4318", "", env{"HTTP_PROXY": "socks5h://" + l.Addr().String()}.get)
		}
	})
	d.Put(testBatch(t, "a"))
	same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
	same(t, "asked for", "example.com", <-asked)
}

// socks serves a connection of SOCKS 5 (RFC 1928) without authentication.
func socks(c net.Conn, to string, asked chan<- string) {
	defer c.Close()
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return
	}
	r.Discard(int(head[1]))
	c.Write([]byte{5, 0})
	head = make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil || head[3] != 3 { // 3: a name
		return
	}
	name := make([]byte, int(head[4])+2)
	if _, err := io.ReadFull(r, name); err != nil {
		return
	}
	asked <- string(name[:len(name)-2])
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer d.Close()
	c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	go io.Copy(d, r)
	io.Copy(c, d)
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func writeCertificate(t *testing.T, file string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
