package otlp

import (
	"fmt"
	"io"
	"os"
	"syscall"

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

// WriteJSON writes the batch's request as a line of OTLP/JSON.
func WriteJSON(w io.Writer, b Batch) error {
	line, err := b.JSON()
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// CreateFile opens a file to write: a new one can be read by its owner only, an
// old one is emptied, a symbolic link is refused.
func CreateFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
}
