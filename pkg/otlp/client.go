package otlp

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// client sends a batch once, and says what came of it.
//
// The clients are our own, and small: a POST with net/http, a unary gRPC call,
// of bytes that are already OTLP. OpenTelemetry's otlptracehttp does not send
// again when a connection is refused, follows redirects and so loses data as a
// success, hides the status, and knows neither JSON nor logs. The Collector's
// exporterhelper can all that and spools, but brings 78 modules and 20 MB, and
// keeps its queue in one file that never shrinks; a file per batch is written in
// less time and says by its name what is still to be sent.
type client interface {
	send(ctx context.Context, b Batch) answer
	close()
}

func newClient(e *Endpoint, agent string) (client, error) {
	if e.Protocol == GRPC {
		return newGRPCClient(e, agent)
	}
	return newHTTPClient(e, agent), nil
}

// verdict is what shall become of a batch.
type verdict uint8

const (
	delivered verdict = iota // perhaps not all of it
	again                    // it shall be sent again, later
	refused                  // it must not be sent again
	tooLarge                 // it may be sent in smaller parts
)

// answer is what came of an attempt.
type answer struct {
	verdict  verdict
	after    time.Duration // again: the receiver wants this wait; 0: it does not say
	rejected int           // delivered: items that the receiver did not take
	why      error
}

const maxRetryAfter = 24 * time.Hour

// partialSuccess reads the response to a request that was taken. One that
// cannot be read says nothing.
func (s Signal) partialSuccess(text []byte, json bool) answer {
	var rejected int64
	var message string
	if s == Logs {
		r := plogotlp.NewExportResponse()
		if unmarshal(&r, text, json) {
			rejected, message = r.PartialSuccess().RejectedLogRecords(), r.PartialSuccess().ErrorMessage()
		}
	} else {
		r := ptraceotlp.NewExportResponse()
		if unmarshal(&r, text, json) {
			rejected, message = r.PartialSuccess().RejectedSpans(), r.PartialSuccess().ErrorMessage()
		}
	}
	a := answer{rejected: int(max(rejected, 0))}
	if a.rejected > 0 || message != "" {
		a.why = fmt.Errorf("it took a part only: %s", message)
		if a.rejected == 0 {
			a.why = fmt.Errorf("it says: %s", message)
		}
	}
	return a
}

func unmarshal(r interface {
	UnmarshalJSON([]byte) error
	UnmarshalProto([]byte) error
}, text []byte, json bool) bool {
	if json {
		return r.UnmarshalJSON(text) == nil
	}
	return r.UnmarshalProto(text) == nil
}

// items is what a signal's batches hold.
func (s Signal) items() string {
	if s == Logs {
		return "log records"
	}
	return "spans"
}

// halves splits a batch of more than one item.
func (b Batch) halves() ([2]Batch, error) {
	first := b.Items / 2
	parts := [2]Batch{{Signal: b.Signal, Items: first}, {Signal: b.Signal, Items: b.Items - first}}
	for i := range parts {
		n := 0
		// other says of each item whether it belongs to the other part.
		other := func() bool { n++; return (n <= first) != (i == 0) }
		var err error
		if b.Signal == Logs {
			r := plogotlp.NewExportRequest()
			if err = r.UnmarshalProto(b.Body); err == nil {
				r.Logs().ResourceLogs().RemoveIf(func(rl plog.ResourceLogs) bool {
					rl.ScopeLogs().RemoveIf(func(sl plog.ScopeLogs) bool {
						sl.LogRecords().RemoveIf(func(plog.LogRecord) bool { return other() })
						return sl.LogRecords().Len() == 0
					})
					return rl.ScopeLogs().Len() == 0
				})
				parts[i].Body, err = r.MarshalProto()
			}
		} else {
			r := ptraceotlp.NewExportRequest()
			if err = r.UnmarshalProto(b.Body); err == nil {
				r.Traces().ResourceSpans().RemoveIf(func(rs ptrace.ResourceSpans) bool {
					rs.ScopeSpans().RemoveIf(func(ss ptrace.ScopeSpans) bool {
						ss.Spans().RemoveIf(func(ptrace.Span) bool { return other() })
						return ss.Spans().Len() == 0
					})
					return rs.ScopeSpans().Len() == 0
				})
				parts[i].Body, err = r.MarshalProto()
			}
		}
		if err != nil {
			return parts, fmt.Errorf("split %d %s: %w", b.Items, b.Signal.items(), err)
		}
	}
	return parts, nil
}
