package filter

import (
	"io"

	"vivarium/pkg/stream"
)

// Sink writes the records that are kept.
type Sink interface {
	// Write writes rec with the changes of set.
	Write(rec *stream.Record, set []stream.Set) error
	// Flush writes buffered records, because the input has no more for now.
	Flush() error
	// Close writes the rest at the end of the input, also if that was cut short.
	Close() error
}

// Discard is a Sink that writes nothing.
type Discard struct{}

// Write does nothing.
func (Discard) Write(*stream.Record, []stream.Set) error { return nil }

// Flush does nothing.
func (Discard) Flush() error { return nil }

// Close does nothing.
func (Discard) Close() error { return nil }

type msgpackSink struct{ w *stream.Writer }

// Msgpack returns a Sink that writes a stream. Unchanged keys and records are
// copied byte for byte.
func Msgpack(w io.Writer) Sink { return msgpackSink{stream.NewWriter(w)} }

func (s msgpackSink) Write(rec *stream.Record, set []stream.Set) error {
	if len(set) == 0 {
		return s.w.Raw(rec.Raw)
	}
	return s.w.Splice(rec, set...)
}

func (s msgpackSink) Flush() error { return s.w.Flush() }
func (s msgpackSink) Close() error { return s.w.Flush() }
