package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// ErrIncomplete matches (errors.Is) the error of Next if the input ended inside a
// record, a session had no end record, or the stream was damaged. Every complete
// record before that has been returned.
var ErrIncomplete = errors.New("the stream is incomplete")

// FormatError is the error for an input that is neither a stream nor a session of
// another format that this version can read. Its text is one line.
type FormatError struct{ msg string }

func (e *FormatError) Error() string { return e.msg }

// FormatErrorf returns a FormatError. Its text must be one line.
func FormatErrorf(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// incomplete is an error that matches ErrIncomplete.
type incomplete struct{ msg string }

func (e *incomplete) Error() string        { return e.msg }
func (e *incomplete) Is(target error) bool { return target == ErrIncomplete }

func incompletef(format string, args ...any) error {
	return &incomplete{fmt.Sprintf(format, args...)}
}

const readSize = 128 << 10

// Reader reads a stream record by record. It recognises sessions of its other
// formats by their first byte. Such sessions and streams can follow each other in
// any order.
//
// A Reader buffers one record of at most 16 MiB and the rest of one read. A session
// of another format may need more memory: its Format decides.
type Reader struct {
	r   io.Reader
	buf []byte // what was read; buf[pos:] is still to be parsed
	pos int
	off int64 // of buf[0] in the input
	eof bool

	recs  [2]Record // the current one, and the next one if Pending has parsed it
	cur   int
	ahead bool // recs[1-cur] is the next record
	scan  scanner
	err   error // last error of Next; it stays

	formats []Format
	source  *Source // session of another format that is being read, else nil

	begun    bool // a session was seen
	open     bool // the end record of the session was not read yet
	sessions int
	unended  int    // the first session without an end; 0: none
	cut      bool   // an end record said that its capture was cut
	cutHow   string // Cut of the last Source
	ends     string // Ends of the last Source; empty after a session of the stream
	lost     uint64
	events   uint64 // event records of the session
	outside  string // message about the first record after an end record, in no session
	badCount string // message about the first session whose end record has a wrong number of events
}

// NewReader returns a Reader of r, which may hold sessions of other formats.
func NewReader(r io.Reader, formats ...Format) *Reader {
	reader := &Reader{r: r, formats: formats}
	for i := range reader.recs {
		reader.recs[i].formats = formats
	}
	return reader
}

// Next returns the next record, which is valid until Next is called again. It
// also returns records that belong to no session, after an end record, so that a
// filter passes this fault on.
//
// The error tells how the input ended:
//   - io.EOF: the stream is complete.
//   - ErrIncomplete (by errors.Is): the stream ended too early, is damaged, has
//     records in no session, or an end record has a wrong number of events.
//   - *FormatError: the input is not a stream.
//   - Any other error is from the io.Reader.
func (r *Reader) Next() (*Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	for !r.ahead {
		err := r.parseNext()
		if err == errShort {
			if err = r.fill(); err == nil {
				continue
			}
			if err == io.EOF {
				err = r.end()
			}
		}
		if err != nil {
			r.err = err
			return nil, err
		}
	}
	r.ahead = false
	r.cur = 1 - r.cur
	rec := &r.recs[r.cur]
	if err := r.track(rec); err != nil {
		r.err = err
		return nil, err
	}
	return rec, nil
}

// Pending reports whether Next can return without blocking. A filter flushes its
// Writer when it cannot. The current record stays valid.
func (r *Reader) Pending() bool {
	if r.err == nil && !r.ahead {
		if err := r.parseNext(); err != nil && err != errShort {
			return true // Next returns it without blocking
		}
	}
	return r.ahead
}

// Lost returns the number of lost events, as counted by the lost records so far.
func (r *Reader) Lost() uint64 { return r.lost }

// parseNext parses the next record if it is wholly in the buffer.
func (r *Reader) parseNext() error {
	rec := &r.recs[1-r.cur]
	if r.source != nil {
		b, err := r.source.Next()
		if err == nil {
			err = rec.parse(b)
			r.ahead = err == nil
			return err
		}
		r.source = nil
		if err != io.EOF {
			return err
		}
	}
	b := r.buf[r.pos:]
	if len(b) == 0 {
		return errShort
	}
	switch c := b[0]; {
	case r.format(c) != nil:
		return errShort // fill opens it
	case !msgpcode.IsFixedMap(c) && c != msgpcode.Map16 && c != msgpcode.Map32:
		return r.formatError(fmt.Sprintf("%s is not the beginning of a record", quoteStart(b)))
	}
	// If the record was incomplete, continue the scan where it stopped last time,
	// so that a long record that arrives slowly is not scanned again and again.
	var err error
	if r.scan.pos > 0 {
		err = r.scan.run(b)
	}
	if err == nil {
		err = rec.parse(b)
		if err == errShort {
			r.scan.reset(0)
			err = r.scan.run(b)
		} else {
			r.scan.pos = 0
		}
	}
	if err == errShort && len(b) < MaxRecord {
		return errShort
	}
	if err == errShort {
		err = errTooLong
	}
	if err != nil {
		return r.formatError(err.Error())
	}
	r.pos += len(rec.Raw)
	r.ahead = true
	return nil
}

// formatError returns the error for bytes that are not a record.
func (r *Reader) formatError(what string) error {
	if !r.begun {
		return FormatErrorf("the input is not a viv stream: %s", what)
	}
	return incompletef("the stream is broken at byte %d: %s%s", r.off+int64(r.pos), what, r.sourceEnd())
}

// sourceEnd returns the reason why a session of another format ends at the
// Reader's position, for the error about what follows it.
func (r *Reader) sourceEnd() string {
	if r.open || r.ends == "" {
		return ""
	}
	return "; the session before it ends there because " + r.ends
}

// quoteStart quotes the first bytes of b for a message.
func quoteStart(b []byte) string {
	if len(b) > 16 {
		b = b[:16]
	}
	return fmt.Sprintf("%+q", b)
}

// fill reads more of the input, or opens a session of another format. It returns
// io.EOF at the end of the input. It discards the bytes before pos.
func (r *Reader) fill() error {
	if r.pos < len(r.buf) {
		if f := r.format(r.buf[r.pos]); f != nil {
			return r.openSource(f)
		}
	}
	return r.read()
}

func (r *Reader) read() error {
	if r.eof {
		return io.EOF
	}
	if r.pos > 0 {
		r.off += int64(r.pos)
		r.buf = r.buf[:copy(r.buf, r.buf[r.pos:])]
		r.pos = 0
	}
	if r.buf == nil {
		r.buf = make([]byte, 0, readSize)
	} else if len(r.buf) == cap(r.buf) {
		// Grow by what was really read, never by a length field.
		r.buf = append(make([]byte, 0, 2*cap(r.buf)), r.buf...)
	}
	for range 100 {
		n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if err == io.EOF {
			r.eof = true
		}
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// end returns the error for the end of the input.
func (r *Reader) end() error {
	switch {
	case r.pos < len(r.buf):
		// The beginning of the first record can show that this is a stream.
		if b := r.buf[r.pos:]; !r.begun && !bytes.Contains(b[:min(len(b), 64)], []byte("\xa7session")) {
			return FormatErrorf("the input is not a viv stream: %s ends inside its first record", quoteStart(b))
		}
		return incompletef("the stream is cut inside a record: the capture was cut short")
	case r.off == 0 && len(r.buf) == 0:
		return FormatErrorf("the input is empty")
	case !r.begun:
		return FormatErrorf("the input is not a viv stream: it has no session")
	case r.open:
		return incompletef("the stream has no end record: the capture was cut short")
	case r.unended > 0:
		return incompletef("session %d of the stream has no end record: its capture was cut short", r.unended)
	case r.outside != "":
		return incompletef("%s", r.outside)
	case r.cut:
		if r.cutHow != "" {
			return incompletef("the capture was cut short: %s", r.cutHow)
		}
		return incompletef("the capture was cut short")
	case r.badCount != "":
		return incompletef("%s", r.badCount)
	}
	return io.EOF
}

// track counts sessions, events and losses, and checks their order.
func (r *Reader) track(rec *Record) error {
	if !r.begun && rec.Type != TypeSession && rec.Type != Unknown {
		return FormatErrorf("the input is not a viv stream: it does not begin with a session record")
	}
	if r.begun && !r.open && rec.Type != TypeSession && r.outside == "" {
		at := r.off + int64(r.pos-len(rec.Raw))
		r.outside = fmt.Sprintf("the stream is broken at byte %d: a record after the end of session %d belongs to no session%s", at, r.sessions, r.sourceEnd())
	}
	switch rec.Type {
	case TypeSession:
		s, err := rec.Session()
		if err == nil && s.Version != Version {
			err = FormatErrorf("the stream has version %d, this program reads version %d", s.Version, Version)
		}
		if err != nil {
			if r.begun {
				err = incompletef("the stream is broken before byte %d: %v", r.off+int64(r.pos), err)
			}
			return err
		}
		if r.open && r.unended == 0 {
			r.unended = r.sessions
		}
		r.sessions++
		r.begun, r.open, r.events = true, true, 0
		if r.source == nil {
			r.ends = ""
		}
	case TypeEvent:
		r.events++
	case TypeEnd:
		if n, ok := rec.Uint("events"); ok && r.open && n > 0 && n != r.events && r.badCount == "" {
			r.badCount = fmt.Sprintf("the end of session %d counts %d events, but %d were read", r.sessions, n, r.events)
		}
		e, _ := rec.End()
		r.open = false
		r.cut = r.cut || e.Cut
	case TypeLost:
		l, _ := rec.Lost()
		r.lost = AddCounts(r.lost, l.Count)
	}
	return nil
}
