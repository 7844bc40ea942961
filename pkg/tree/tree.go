// Package tree draws streams of viv-spans: as a tree of processes, spans and events, as a
// table of events, or as JSON.
package tree

import (
	"io"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Result describes a stream that was drawn.
type Result struct {
	// Unspanned is the number of sessions with events but without spans: they did not
	// go through viv-spans.
	Unspanned int
}

// Draw reads r to its end and writes the tree of each session to w, in colour if color is
// set. The error is one of w, or the last one of r.Next, which is io.EOF after a complete
// stream. Sessions before the error have been drawn.
func Draw(w io.Writer, r *stream.Reader, color bool) (Result, error) {
	return draw(w, r, &text{color: color})
}

// DrawJSON is Draw for one JSON document per session, each on a line.
func DrawJSON(w io.Writer, r *stream.Reader) (Result, error) {
	return draw(w, r, document{})
}

// maxDepth is the maximum depth of a tree: deeper lines are only counted. Without a limit,
// the size of the output would grow with the square of the length of a chain of forks.
// JSON of this depth can be read by parsers with a limit of 256 levels, such as older
// versions of jq.
const maxDepth = 120

// renderer writes a format of the tree.
type renderer interface {
	// event appends the rendered event, which is kept until the session is drawn.
	event(b []byte, rec *stream.Record, ev *event.Event, p *stream.Policy) []byte
	// record appends another rendered record.
	record(b []byte, rec *stream.Record) []byte
	// session draws the complete session.
	session(w *output, s *session)
}

// output buffers the output and keeps the first error.
type output struct {
	w   io.Writer
	b   []byte
	err error
}

// flushFull flushes a buffer of 64 KiB or more.
func (o *output) flushFull() {
	if len(o.b) > 1<<16 {
		o.flush()
	}
}

func (o *output) flush() {
	if o.err == nil && len(o.b) > 0 {
		_, o.err = o.w.Write(o.b)
	}
	o.b = o.b[:0]
}

// draw reads r to its end and draws each session.
func draw(w io.Writer, r *stream.Reader, to renderer) (res Result, err error) {
	var s *session // nil: outside a session
	out := output{w: w}
	finish := func() error {
		if s == nil {
			return nil
		}
		s.finish()
		if s.unspanned && !s.spanned {
			res.Unspanned++
		}
		to.session(&out, s)
		out.flush()
		s = nil
		return out.err
	}
	for {
		rec, err := r.Next()
		if err != nil {
			if werr := finish(); werr != nil {
				err = werr
			}
			return res, err
		}
		if rec.Type == stream.TypeSession {
			if err := finish(); err != nil {
				return res, err
			}
			head, err := rec.Session()
			if err != nil {
				continue
			}
			s = newSession(head, to)
			s.headText = s.renderRecord(rec)
		}
		if s == nil {
			continue
		}
		if s.add(rec); rec.Type == stream.TypeEnd {
			if err := finish(); err != nil {
				return res, err
			}
		}
	}
}
