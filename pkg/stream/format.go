package stream

import "vivarium/pkg/event"

// The keys of Origin, by type of record. They are those of vivarium-raw captures.
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
	// FirstByte is the first byte of a session of the format, and also of the
	// Origin of its session record. No msgpack map begins with it.
	FirstByte byte
	// Open reads the beginning of a session from in. It returns a *FormatError if
	// the input is not of this format; any other error is from the input.
	Open func(in *Input) (Source, error)
	// Policy returns the differences of a session with this Origin.
	Policy func(origin []byte) Policy
}

// Source is a session of another format.
type Source struct {
	// Next returns the records of the session one by one, each valid until the
	// call after the next one, and then io.EOF. The first is a session record
	// and the last an end record.
	Next func() ([]byte, error)
	// Cut describes how the session was cut short; empty: it is complete.
	Cut string
	// Ends is the reason why the session ends where it does, if its own data
	// determine the end. It is for the error if something else follows. Empty: the
	// session ends with the input.
	Ends string
}

// Input is the input of a Reader, from its position on.
type Input struct{ r *Reader }

// Bytes returns the buffered bytes. They are valid until the next call of More.
func (in *Input) Bytes() []byte { return in.r.buf[in.r.pos:] }

// Take removes the first n bytes of Bytes.
func (in *Input) Take(n int) { in.r.pos += n }

// More reads more bytes and appends them to Bytes. It returns io.EOF at the end of
// the input.
func (in *Input) More() error { return in.r.read() }

// Policy describes how a session from another format differs from viv's own
// sessions. Programs that draw, filter or export a session use its Policy and do
// not know the format. The zero Policy is that of viv's own sessions.
type Policy struct {
	// Text appends the text of an event; nil: event.AppendText. Use AppendText.
	Text func(b []byte, ev *event.Event) []byte
	// Name appends the name of a program or method; nil: event.AppendName. Use
	// AppendName.
	Name func(b, name []byte) []byte
	// Times are the session's times as its format writes them; nil: use the times
	// of the session and end records.
	Times *Times
	// Command is the name of the targets' program until an event has another one.
	Command string
	// MainThreadStays says that the exit of the main thread (main_tid) does not
	// end its span, which lasts to the end of the session.
	MainThreadStays bool
	// MethodsEndKtimeNS is the end time, ns, of method spans that are open at the
	// exit of their thread and get no stop after it; 0: the time of the exit.
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

// AppendText appends the text of an event of the session, as viv-tree shows it.
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

// policy returns the Policy of a session with this Origin.
func policy(formats []Format, origin []byte) Policy {
	for i := range formats {
		if len(origin) > 0 && formats[i].FirstByte == origin[0] {
			return formats[i].Policy(origin)
		}
	}
	return Policy{}
}
