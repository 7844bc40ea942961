package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// ErrIncomplete is wrapped by the error of Next when the input was cut inside
// a record, or a session had no end record, or the stream broke in its middle.
// Every whole record before that has been returned.
var ErrIncomplete = errors.New("the stream is incomplete")

// FormatError says that the input is no stream and no session of another format
// that this version can read. Its text is one line.
type FormatError struct{ msg string }

func (e *FormatError) Error() string { return e.msg }

// FormatErrorf returns a FormatError. Its text must be one line.
func FormatErrorf(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// incomplete is an error that reads well alone and is ErrIncomplete.
type incomplete struct{ msg string }

func (e *incomplete) Error() string        { return e.msg }
func (e *incomplete) Is(target error) bool { return target == ErrIncomplete }

func incompletef(format string, args ...any) error {
	return &incomplete{fmt.Sprintf(format, args...)}
}

const readSize = 128 << 10

// Reader reads a stream record by record. Sessions of the formats that it was
// given are recognised by their first byte; those and streams may follow each
// other in any order.
//
// A Reader holds one record of at most 16 MiB and what else one read gave it.
// How much of its input another format holds is that format's business.
type Reader struct {
	r   io.Reader
	buf []byte // what was read; buf[pos:] is still to be parsed
	pos int
	off int64 // of buf[0] in the input
	eof bool

	recs  [2]Record // the current one and the one that Pending looked ahead to
	cur   int
	ahead bool // recs[1-cur] is the next record
	scan  scanner
	err   error // what Next returned last

	formats []Format
	source  *Source // records come from it while it has some

	begun    bool // a session was seen
	open     bool // a session is open: its end is still to come
	sessions int
	unended  int    // the first session without an end; 0: none
	cut      bool   // an end record said that its capture was cut
	cutHow   string // Cut of the last Source
	ends     string // Ends of the last Source; empty after a session of the stream
	lost     uint64
	events   uint64 // event records of the session
	outside  string // about the first record behind an end record, in no session
	badCount string // about the first session whose end counts other events than were read
}

// NewReader returns a Reader of r, which may hold sessions of other formats.
func NewReader(r io.Reader, formats ...Format) *Reader {
	reader := &Reader{r: r, formats: formats}
	for i := range reader.recs {
		reader.recs[i].formats = formats
	}
	return reader
}

// Next returns the next record, which is valid until Next is called again.
// Records that stand in no session, behind an end record, are returned too: what
// passes them on passes the fault on.
//
// At the end of a stream whose sessions all have their end record the error is
// io.EOF. An error that is ErrIncomplete says that the stream ended too early, has
// records in no session, or not the number of events that an end record counts;
// a *FormatError that the input is none; any other error is the reader's.
func (r *Reader) Next() (*Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	for !r.ahead {
		err := r.look()
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

// Pending says whether Next has a whole record at hand and will not block. A
// filter flushes its Writer when there is none. The current record stays valid.
func (r *Reader) Pending() bool {
	if r.err == nil && !r.ahead {
		if err := r.look(); err != nil && err != errShort {
			return true // Next returns it without blocking
		}
	}
	return r.ahead
}

// Lost is the number of events that the lost records so far have counted.
func (r *Reader) Lost() uint64 { return r.lost }

// look parses the next record if it is wholly in the buffer.
func (r *Reader) look() error {
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
		return r.broken(fmt.Sprintf("%s where a record should begin", sight(b)))
	}
	// A record that is not wholly here yet is scanned where the scan stopped last
	// time, so that a slow giant is not parsed over and over.
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
		return r.broken(err.Error())
	}
	r.pos += len(rec.Raw)
	r.ahead = true
	return nil
}

// broken is the error for bytes that are no record.
func (r *Reader) broken(what string) error {
	if !r.begun {
		return FormatErrorf("this is no viv stream: %s", what)
	}
	return incompletef("the stream is broken at byte %d: %s%s", r.off+int64(r.pos), what, r.sourceEnd())
}

// sourceEnd says why a session of another format ends at the Reader's position,
// for the error about what follows it.
func (r *Reader) sourceEnd() string {
	if r.open || r.ends == "" {
		return ""
	}
	return "; the session before it ends there because " + r.ends
}

// sight shows the first bytes of b to a person.
func sight(b []byte) string {
	if len(b) > 16 {
		b = b[:16]
	}
	return fmt.Sprintf("%+q", b)
}

// fill reads more, or io.EOF when there is no more. The bytes before pos go.
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
		// Twice what is really there, never what a length promises.
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

// end is the error for the end of the input.
func (r *Reader) end() error {
	switch {
	case r.pos < len(r.buf):
		// Of its first record there may be enough to see what it is.
		if b := r.buf[r.pos:]; !r.begun && !bytes.Contains(b[:min(len(b), 64)], []byte("\xa7session")) {
			return FormatErrorf("this is no viv stream: %s ends inside its first record", sight(b))
		}
		return incompletef("the stream is cut inside a record: the capture was cut short")
	case r.off == 0 && len(r.buf) == 0:
		return FormatErrorf("the input is empty")
	case !r.begun:
		return FormatErrorf("this is no viv stream: it has no session")
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

// track keeps account of sessions and losses.
func (r *Reader) track(rec *Record) error {
	if !r.begun && rec.Type != TypeSession && rec.Type != Unknown {
		return FormatErrorf("this is no viv stream: it does not begin with a session record")
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
