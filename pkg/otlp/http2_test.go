package otlp

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// http2Receiver serves HTTP/2 without TLS, as gRPC receivers do.
func http2Receiver(t *testing.T, l net.Listener, h http.HandlerFunc) {
	t.Helper()
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// frame is a gRPC message.
func frame(compressed byte, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(b))), b...)
}

func deliverGRPC(t *testing.T, addr string, change func(*Endpoint)) *delivery {
	return startDelivery(t, "", func(o *DeliveryOptions, _ *bounds) {
		o.Endpoint = func(s Signal) (*Endpoint, error) {
			e, err := NewEndpoint(s, "http://"+addr, GRPC, env{}.get)
			if err == nil && change != nil {
				change(e)
			}
			return e, err
		}
	})
}

// Answers of broken or hostile gRPC receivers: each is dealt with once, and
// within a request's timeout.
func TestOddGRPCAnswers(t *testing.T) {
	partial := partialAnswer(t, 2, false)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(partial)
	z.Close()
	answer := func(encoding string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/grpc")
			if encoding != "" {
				w.Header().Set("Grpc-Encoding", encoding)
			}
			w.Header().Set("Trailer", "Grpc-Status")
			w.Write(body)
			w.Header().Set("Grpc-Status", "0")
		}
	}
	all, none := Counts{Delivered: 3}, Counts{Rejected: 3}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    Counts
		said    string
	}{
		"good":               {answer("", frame(0, nil)), all, ""},
		"partial success":    {answer("", frame(0, partial)), Counts{Delivered: 1, Rejected: 2}, "the receiver rejected a part of the batch: why"},
		"gzip":               {answer("gzip", frame(1, zipped.Bytes())), Counts{Delivered: 1, Rejected: 2}, "the receiver rejected a part of the batch: why"},
		"gzip that is none":  {answer("gzip", frame(1, []byte("no gzip"))), none, "Internal: "},
		"deflate":            {answer("deflate", frame(1, partial)), none, "deflate"},
		"no protobuf":        {answer("", frame(0, []byte("<html>"))), all, ""},
		"huge":               {answer("", frame(0, make([]byte, 5<<20))), none, "ResourceExhausted: "},
		"no gRPC":            {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, none, "Unknown: "},
		"404":                {http.NotFound, none, "Unimplemented: "},
		"a redirect":         {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) }, none, "302"},
		"a message too many": {answer("", append(frame(0, nil), frame(0, nil)...)), none, "Internal: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			l := listen(t)
			http2Receiver(t, l, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); test.handler(w, r) })
			d := deliverGRPC(t, l.Addr().String(), nil)
			d.Put(testBatch(t, "a", "b", "c"))
			same(t, "counts", [2]Counts{test.want}, d.Close())
			same(t, "requests", int32(1), tries.Load())
			if s := d.warnings(); !strings.Contains(s, test.said) || test.said == "" && s != "" {
				t.Errorf("said %q, want %q", s, test.said)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		var tries atomic.Int32
		l := listen(t)
		http2Receiver(t, l, func(w http.ResponseWriter, r *http.Request) {
			if tries.Add(1) == 1 {
				<-r.Context().Done()
			}
			answer("", frame(0, nil))(w, r)
		})
		d := deliverGRPC(t, l.Addr().String(), func(e *Endpoint) { e.Timeout = 2 * time.Second })
		d.Put(testBatch(t, "a"))
		same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
		if s := d.warnings(); !strings.Contains(s, "no answer within 2s: trying again") {
			t.Errorf("said %q", s)
		}
	})
}

// goAway is a listener whose first connection is told, when it has sent a
// request, to go away; the others are served.
type goAway struct {
	net.Listener
	conns atomic.Int32
	wrap  func(net.Conn) net.Conn
}

func (g *goAway) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || g.conns.Add(1) > 1 {
			return c, err
		}
		go func() {
			c := g.wrap(c)
			defer c.Close()
			io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
			f := http2.NewFramer(c, c)
			f.WriteSettings()
			for {
				head, err := f.ReadFrame()
				if err != nil {
					return
				}
				if _, ok := head.(*http2.HeadersFrame); ok {
					f.WriteGoAway(0, http2.ErrCodeNo, nil)
					return
				}
			}
		}()
	}
}

func TestGoAway(t *testing.T) {
	t.Run("grpc", func(t *testing.T) {
		g := &goAway{Listener: listen(t), wrap: func(c net.Conn) net.Conn { return c }}
		http2Receiver(t, g, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			w.Write(frame(0, nil))
			w.Header().Set("Grpc-Status", "0")
		})
		d := deliverGRPC(t, g.Addr().String(), nil)
		d.Put(testBatch(t, "a"))
		same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
	})
	t.Run("https", func(t *testing.T) {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
		g := &goAway{Listener: s.Listener}
		s.Listener, s.EnableHTTP2 = g, true
		g.wrap = func(c net.Conn) net.Conn { return tls.Server(c, s.TLS) }
		s.StartTLS()
		defer s.Close()
		ca := t.TempDir() + "/ca.pem"
		writeCertificate(t, ca, s.Certificate().Raw)
		d := startDelivery(t, "", func(o *DeliveryOptions, _ *bounds) {
			o.Endpoint = func(sig Signal) (*Endpoint, error) {
				return NewEndpoint(sig, s.URL, "", env{"OTEL_EXPORTER_OTLP_CERTIFICATE": ca}.get)
			}
		})
		d.Put(testBatch(t, "a"))
		same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
		if n := g.conns.Load(); n < 2 {
			t.Errorf("%d connections", n)
		}
	})
}
