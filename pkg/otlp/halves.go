package otlp

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// halves splits a batch of more than one item in two.
func (b Batch) halves() ([2]Batch, error) {
	first := b.Items / 2
	parts := [2]Batch{{Signal: b.Signal, Items: first}, {Signal: b.Signal, Items: b.Items - first}}
	for i := range parts {
		n := 0
		// other reports, for each item in order, whether it belongs to the other part.
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
			return parts, fmt.Errorf("split %d %s: %w", b.Items, b.Signal.itemName(), err)
		}
	}
	return parts, nil
}
