// Package tree draws the streams of viv-spans for people: as a tree of
// processes, spans and events, as a table of events, or as JSON.
package tree

import (
	"io"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Result describes a stream that was drawn.
type Result struct {
	// Unspanned is the number of sessions with events that have no spans: they
	// did not go through viv-spans.
	Unspanned int
}

// Draw reads r to its end and writes the tree of each of its sessions to w. The
// error is w's or the Reader's last one, which is io.EOF after a complete
// stream: what came before has been drawn.
func Draw(w io.Writer, r *stream.Reader, color bool) (Result, error) {
	return draw(w, r, &text{color: color})
}

// DrawJSON is Draw for one JSON document per session, each on a line.
func DrawJSON(w io.Writer, r *stream.Reader) (Result, error) {
	return draw(w, r, document{})
}

// maxDepth is how deep a tree is drawn: deeper lines are counted. Without a limit
// a chain of forks, each line indented by all before it, would take space with
// the square of its length. JSON of this depth is still read by parsers that take
// 256 levels, as older versions of jq do.
const maxDepth = 120

// renderer is one format of the tree.
type renderer interface {
	// event appends the rendered event, which is kept until the session is drawn.
	event(b []byte, rec *stream.Record, ev *event.Event, p *stream.Policy) []byte
	// record does so for another record.
	record(b []byte, rec *stream.Record) []byte
	// session draws the complete session.
	session(w *output, s *session)
}

// output buffers what is written and keeps the first error.
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

// draw reads r to its end and has each session drawn.
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
