package filter

import (
	"bytes"
	"io"

	"vivarium/pkg/stream"
)

// jsonSink writes a record per line. A changed record is first written as msgpack
// and read again, so that only Splice changes records.
type jsonSink struct {
	w       io.Writer
	b       []byte
	changed bytes.Buffer
	splice  *stream.Writer
	again   *stream.Reader
}

// jsonSize is the number of bytes that a JSON sink buffers.
const jsonSize = 64 << 10

// JSON returns a Sink that writes one JSON object per record and line.
func JSON(w io.Writer) Sink {
	s := &jsonSink{w: w}
	s.splice = stream.NewWriter(&s.changed)
	s.again = stream.NewReader(&s.changed)
	return s
}

func (s *jsonSink) Write(rec *stream.Record, set []stream.Set) error {
	if len(set) > 0 || rec.Type == stream.TypeSession { // a Reader needs the session record first
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
