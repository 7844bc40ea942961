package otlp

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// grpcReceiver answers by the name of the first span.
type grpcReceiver struct {
	ptraceotlp.UnimplementedGRPCServer
	mu     sync.Mutex
	names  []string
	header metadata.MD
	answer func(n int) error
	tries  int
}

func (g *grpcReceiver) Export(ctx context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.header, _ = metadata.FromIncomingContext(ctx)
	g.tries++
	res := ptraceotlp.NewExportResponse()
	if err := g.answer(g.tries - 1); err != nil {
		return res, err
	}
	b, _ := r.MarshalProto()
	names, _ := namesOf(b, false)
	g.names = append(g.names, names...)
	return res, nil
}

func TestGRPCAnswers(t *testing.T) {
	retryInfo, err := status.New(codes.ResourceExhausted, "full").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		first error
		want  Counts
		least time.Duration
	}{
		"good":                {nil, Counts{Delivered: 2}, 0},
		"unavailable":         {status.Error(codes.Unavailable, "x"), Counts{Delivered: 2}, firstWait / 2},
		"aborted":             {status.Error(codes.Aborted, "x"), Counts{Delivered: 2}, firstWait / 2},
		"full":                {status.Error(codes.ResourceExhausted, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
		"full for a while":    {retryInfo.Err(), Counts{Delivered: 2}, time.Second},
		"invalid":             {status.Error(codes.InvalidArgument, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
		"not authenticated":   {status.Error(codes.Unauthenticated, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
		"nothing implemented": {status.Error(codes.Unimplemented, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := &grpcReceiver{answer: func(n int) error {
				if n == 0 {
					return test.first
				}
				return nil
			}}
			s := grpc.NewServer()
			ptraceotlp.RegisterGRPCServer(s, g)
			go s.Serve(l)
			defer s.Stop()
			d := startDelivery(t, "", func(o *DeliveryOptions, _ *bounds) {
				o.UserAgent = "viv-test"
				o.Endpoint = func(s Signal) (*Endpoint, error) {
					env := map[string]string{
						"OTEL_EXPORTER_OTLP_ENDPOINT":    l.Addr().String(),
						"OTEL_EXPORTER_OTLP_INSECURE":    "TRUE",
						"OTEL_EXPORTER_OTLP_HEADERS":     "X-Key=a%20b",
						"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
					}
					return NewEndpoint(s, "", GRPC, func(k string) string { return env[k] })
				}
			})
			begun := time.Now()
			d.Put(testBatch(t, "a"))
			d.Put(testBatch(t, "b"))
			same(t, "counts", [2]Counts{test.want}, d.Close())
			if took := time.Since(begun); took < test.least {
				t.Errorf("it took %v, want %v at least", took, test.least)
			}
			same(t, "header", []string{"a b"}, g.header.Get("x-key"))
			if a := g.header.Get("user-agent"); len(a) != 1 || !strings.HasPrefix(a[0], "viv-test ") {
				t.Errorf("agent %q", a)
			}
		})
	}
}
