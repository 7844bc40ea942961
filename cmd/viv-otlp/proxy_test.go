package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// grpcReceiver counts spans and keeps the newest request's metadata.
type grpcReceiver struct {
	ptraceotlp.UnimplementedGRPCServer
	mu    sync.Mutex
	spans int
	head  metadata.MD
}

func (g *grpcReceiver) Export(ctx context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spans += r.Traces().SpanCount()
	g.head, _ = metadata.FromIncomingContext(ctx)
	return ptraceotlp.NewExportResponse(), nil
}

// gRPC goes through HTTPS_PROXY, unless NO_PROXY says otherwise, and each header
// is sent once.
func TestGRPCProxy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &grpcReceiver{}
	s := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(s, g)
	go s.Serve(l)
	defer s.Stop()

	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.Host)
		mu.Unlock()
		to, err := net.Dial("tcp", l.Addr().String()) // whatever the name is
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		c, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(to, buf)
		io.Copy(c, to)
	}))
	defer proxy.Close()

	v := startViv(t, []string{"HTTPS_PROXY=" + proxy.URL}, "--protocol", "grpc", "http://collector.example:4317")
	v.in.Write(testStream(1, 1))
	if status := v.end(); status != 0 {
		t.Errorf("status %d, %s", status, &v.msg)
	}
	if g.spans != 3 || strings.Join(asked, " ") != "CONNECT collector.example:4317" {
		t.Errorf("%d spans, the proxy was asked for %q", g.spans, asked)
	}

	v = startViv(t, []string{"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=127.0.0.1", "OTEL_EXPORTER_OTLP_HEADERS=Authorization=a,authorization=b"},
		"--protocol", "grpc", "http://"+l.Addr().String())
	v.in.Write(testStream(1, 1))
	if status := v.end(); status != 0 {
		t.Errorf("status %d, %s", status, &v.msg)
	}
	if got := g.head.Get("authorization"); g.spans != 6 || len(asked) != 1 || strings.Join(got, " ") != "b" {
		t.Errorf("%d spans, the proxy was asked for %q, authorization %q", g.spans, asked, got)
	}

	v = startViv(t, []string{"HTTPS_PROXY=" + proxy.URL, "OTEL_EXPORTER_OTLP_HEADERS=Authorization=secret"}, "--protocol", "grpc", "http://collector.example:4317")
	if status := v.end(); status != 2 || !strings.Contains(v.msg.String(), "HTTPS_PROXY: the proxy could read") || strings.Contains(v.msg.String(), "=secret") {
		t.Errorf("status %d, %s", status, &v.msg)
	}
}
