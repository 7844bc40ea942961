package otlp

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// client sends a batch once, and returns the result.
//
// Our clients are small: they send encoded OTLP with a POST of net/http or a unary
// gRPC call. We do not use OpenTelemetry's otlptracehttp: it does not retry when a
// connection is refused, follows redirects and so reports lost data as a success,
// hides the status, and supports neither JSON nor logs. The Collector's
// exporterhelper supports all this and a spool, but it adds 78 modules and 20 MB,
// and its queue is one file that never shrinks. Writing one file per batch is
// faster, and the file names show what is still to be sent.
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

// verdict tells what to do with a batch after an attempt.
type verdict uint8

const (
	delivered verdict = iota // perhaps except some rejected items
	retryable                // send it again later
	refused                  // do not send it again
	tooLarge                 // send it in smaller parts
)

// answer is the result of an attempt.
type answer struct {
	verdict  verdict
	after    time.Duration // retryable: wait that the receiver requested; 0: none
	rejected int           // delivered: number of items that the receiver rejected
	// retryable: the answer is not valid HTTP. A broken connection can cause this,
	// but a server that always answers like this may accept the batch each time.
	unreadable bool
	why        error
}

const maxRetryAfter = 24 * time.Hour

// partialSuccess decodes the response to an accepted request. A response that cannot
// be decoded counts as full success.
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
		a.why = fmt.Errorf("the receiver rejected a part of the batch: %s", message)
		if a.rejected == 0 {
			a.why = fmt.Errorf("the receiver warns: %s", message)
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
