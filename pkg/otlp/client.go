package otlp

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
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
	// again: what it answered is not HTTP. A connection that was cut may look so,
	// but one that always answers so perhaps takes the batch each time.
	unreadable bool
	why        error
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
