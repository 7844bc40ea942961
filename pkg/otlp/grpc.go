package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// grpcClient sends requests to an OTLP/gRPC receiver.
type grpcClient struct {
	*Endpoint
	conn *grpc.ClientConn
	opts []grpc.CallOption
}

func newGRPCClient(e *Endpoint, agent string) (*grpcClient, error) {
	creds := insecure.NewCredentials()
	if e.TLS != nil {
		creds = credentials.NewTLS(e.TLS)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds), grpc.WithUserAgent(agent),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithConnectParams(grpc.ConnectParams{
			// The sender decides about waits between attempts.
			Backoff:           backoff.Config{BaseDelay: firstWait / 2, Multiplier: 2, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: e.Timeout,
		})}
	if e.Proxy == nil { // else gRPC finds the same proxy by itself
		options = append(options, grpc.WithNoProxy())
	}
	target := url.URL{Scheme: "dns", Path: "/" + e.URL.Host} // the host may contain a %, of an IPv6 zone
	conn, err := grpc.NewClient(target.String(), options...)
	if err != nil {
		return nil, err
	}
	c := &grpcClient{e, conn, []grpc.CallOption{grpc.ForceCodecV2(rawCodec{})}}
	if e.Gzip {
		c.opts = append(c.opts, grpc.UseCompressor(gzip.Name))
	}
	return c, nil
}

var grpcMethods = [...]string{
	Traces: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
	Logs:   "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}

func (c *grpcClient) send(ctx context.Context, b Batch) answer {
	for k, v := range c.Headers {
		ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(k), v)
	}
	var reply []byte
	err := c.conn.Invoke(ctx, grpcMethods[b.Signal], b.Body, &reply, c.opts...)
	if err == nil {
		return b.Signal.partialSuccess(reply, false)
	}
	s := status.Convert(err)
	a := answer{verdict: refused, why: fmt.Errorf("%s: %s", s.Code(), s.Message())}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		a.why = fmt.Errorf("no answer within %v", c.Timeout)
	}
	for _, d := range s.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			a.verdict, a.after = retryable, min(max(r.GetRetryDelay().AsDuration(), 0), maxRetryAfter)
		}
	}
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		a.verdict = retryable
	case codes.ResourceExhausted: // retryable only with RetryInfo
	default:
		a.verdict = refused
	}
	return a
}

func (c *grpcClient) close() { c.conn.Close() }

// rawCodec sends bytes that are already an encoded protobuf message.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
