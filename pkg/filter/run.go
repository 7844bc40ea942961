package filter

import (
	"bytes"
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

// Run filters what r reads into out. Its error is one of out, ErrNoSpans, or
// else the one that r.Next returned last.
func Run(r *stream.Reader, f *Filter, out Sink) error {
	for {
		rec, err := r.Next()
		if err != nil {
			if cerr := out.Close(); cerr != nil {
				return cerr
			}
			return err
		}
		keep, set, err := f.Apply(rec)
		if err == nil && keep {
			err = out.Write(rec, set)
		}
		if err == nil && !r.Pending() {
			err = out.Flush()
		}
		if err != nil {
			return err
		}
	}
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

// jsonSink writes a record per line. A record that changes is written as msgpack
// first and read again, so that there is one way only to change a record.
type jsonSink struct {
	w       io.Writer
	b       []byte
	changed bytes.Buffer
	splice  *stream.Writer
	again   *stream.Reader
}

// jsonSize is how much a JSON sink gathers before it writes.
const jsonSize = 64 << 10

// JSON returns a Sink that writes one JSON object per record and line.
func JSON(w io.Writer) Sink {
	s := &jsonSink{w: w}
	s.splice = stream.NewWriter(&s.changed)
	s.again = stream.NewReader(&s.changed)
	return s
}

func (s *jsonSink) Write(rec *stream.Record, set []stream.Set) error {
	if len(set) > 0 || rec.Type == stream.TypeSession { // without which a Reader takes nothing
		if err := s.splice.Splice(rec, set...); err != nil {
			return err
		}
		if err := s.splice.Flush(); err != nil {
			return err
		}
		var err error
		if rec, err = s.again.Next(); err != nil {
			return err
		}
	}
	s.b = append(stream.AppendJSON(s.b, rec), '\n')
	if len(s.b) >= jsonSize {
		return s.Flush()
	}
	return nil
}

func (s *jsonSink) Flush() error {
	_, err := s.w.Write(s.b)
	s.b = s.b[:0]
	return err
}

func (s *jsonSink) Close() error { return s.Flush() }
