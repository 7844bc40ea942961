package otlp

import (
	"fmt"
	"io"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// JSON returns the batch's request as OTLP/JSON.
func (b Batch) JSON() ([]byte, error) {
	if b.Signal == Logs {
		r := plogotlp.NewExportRequest()
		if err := r.UnmarshalProto(b.Body); err != nil {
			return nil, fmt.Errorf("encode logs: %w", err)
		}
		return r.MarshalJSON()
	}
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(b.Body); err != nil {
		return nil, fmt.Errorf("encode traces: %w", err)
	}
	return r.MarshalJSON()
}

// WriteJSON writes the batch's request as one line of OTLP/JSON.
func WriteJSON(w io.Writer, b Batch) error {
	line, err := b.JSON()
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
