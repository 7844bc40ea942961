package filter

import (
	"io"

	"vivarium/pkg/stream"
)

// Sink takes the records that stay.
type Sink interface {
	// Write takes rec with the changes of set.
	Write(rec *stream.Record, set []stream.Set) error
	// Flush writes out what it can: nothing else is to be had for now.
	Flush() error
	// Close is for the end of the input, also where it is cut short.
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

// Msgpack returns a Sink that writes the stream itself: records that do not
// change byte for byte, of others only what changes anew.
func Msgpack(w io.Writer) Sink { return msgpackSink{stream.NewWriter(w)} }

func (s msgpackSink) Write(rec *stream.Record, set []stream.Set) error {
	if len(set) == 0 {
		return s.w.Raw(rec.Raw)
	}
	return s.w.Splice(rec, set...)
}

func (s msgpackSink) Flush() error { return s.w.Flush() }
func (s msgpackSink) Close() error { return s.w.Flush() }
