package stream

import "vivarium/pkg/event"

// The keys of Origin, by type of record. They are those that vivarium-raw had
// before there were Formats.
const (
	keySessionOrigin = "header"
	keyEventOrigin   = "payload"
	keyEndOrigin     = "tail"
)

// Format is a way to store sessions other than the stream. A Reader that knows
// it recognises such a session by its first byte and returns it as records of
// the stream.
//
// What only the format itself understands, and needs to write the session again
// as it was, travels as Origin of its session, event and end records. Everything
// else treats an Origin as opaque.
type Format struct {
	// FirstByte is what a session of the format begins with, and also the
	// Origin of its session record. It is not the first byte of a msgpack map.
	FirstByte byte
	// Open takes a session from in. A *FormatError says that it is none of the
	// format's; any other error is in's.
	Open func(in *Input) (Source, error)
	// Policy is how the records of a session with this Origin are to be read.
	Policy func(origin []byte) Policy
}

// Source is a session of another format.
type Source struct {
	// Next returns the records of the session one by one, each valid until the
	// call after the next one, and then io.EOF. The first is a session record
	// and the last an end record.
	Next func() ([]byte, error)
	// Cut says in which way the session was cut short; empty: it was not.
	Cut string
	// Ends says why the session ends where it does, if it says so itself: for the
	// error when something else follows. Empty: the input ended.
	Ends string
}

// Input is what a Reader has still to read.
type Input struct{ r *Reader }

// Bytes returns what was read and not taken. It is valid until More.
func (in *Input) Bytes() []byte { return in.r.buf[in.r.pos:] }

// Take takes the first n of Bytes away.
func (in *Input) Take(n int) { in.r.pos += n }

// More reads more behind Bytes. It returns io.EOF when there is no more.
func (in *Input) More() error { return in.r.read() }

// Policy says how a session that comes from another format differs from viv's
// own. Whoever draws, filters or exports a session asks its Policy instead of
// the format. The zero Policy is that of viv's own sessions.
type Policy struct {
	// Text appends the text of an event; nil: event.AppendText. Use AppendText.
	Text func(b []byte, ev *event.Event) []byte
	// Name appends the name of a program or method; nil: event.AppendName. Use
	// AppendName.
	Name func(b, name []byte) []byte
	// Times are the session's times in the words of its format; nil: those of
	// its session and end records.
	Times *Times
	// Command is the name of the targets' program, as long as no event tells it.
	Command string
	// MainThreadStays says that the exit of the main thread (main_tid) does not
	// end its span, which lasts to the end of the session.
	MainThreadStays bool
	// MethodsEndKtimeNS is when method spans end that are open at the exit of
	// their thread and have no stop after it, ns; 0: at the exit.
	MethodsEndKtimeNS uint64
	// LossAtPreviousEvent says that a loss is shown with the time of the event
	// before it, not with its own.
	LossAtPreviousEvent bool
}

// Times are when a session began and ended as another format writes it.
type Times struct {
	StartISO, StartKtime string
	StopISO, StopKtime   string
	DurationNS           int64
}

// AppendText appends what ev, an event of the session, says to a person.
func (p *Policy) AppendText(b []byte, ev *event.Event) []byte {
	if p.Text != nil {
		return p.Text(b, ev)
	}
	return event.AppendText(b, ev)
}

// AppendName appends the name of a program, method or file of the session, as it
// is shown to a person outside quotes.
func (p *Policy) AppendName(b, name []byte) []byte {
	if p.Name != nil {
		return p.Name(b, name)
	}
	return event.AppendName(b, name)
}

// format returns the format that begins with c, or nil.
func (r *Reader) format(c byte) *Format {
	for i := range r.formats {
		if r.formats[i].FirstByte == c {
			return &r.formats[i]
		}
	}
	return nil
}

// openSource opens the session of another format at the Reader's position.
func (r *Reader) openSource(f *Format) error {
	s, err := f.Open(&Input{r})
	if err != nil {
		if _, malformed := err.(*FormatError); malformed && r.begun {
			err = incompletef("the stream is broken at byte %d: %v", r.off+int64(r.pos), err)
		}
		return err
	}
	r.source, r.cutHow, r.ends = &s, s.Cut, s.Ends
	return nil
}

// policy is that of a session with this Origin.
func policy(formats []Format, origin []byte) Policy {
	for i := range formats {
		if len(origin) > 0 && formats[i].FirstByte == origin[0] {
			return formats[i].Policy(origin)
		}
	}
	return Policy{}
}
