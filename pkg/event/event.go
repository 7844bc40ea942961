// Package event is the catalogue of what viv can see a program do: one table,
// one entry per kind. Everything else derives from it: which keys an event
// carries in the stream, how a person reads it, and how severe it is.
package event

// Event is one thing that happened. The byte slices of an Event that came from
// a reader alias that reader's buffer: they are valid until its next record.
type Event struct {
	Kind *Kind  // nil for an event that this version does not know
	Name []byte // the event's name in the stream

	KtimeNS        uint64 // CLOCK_MONOTONIC, ns
	PID, TID       uint32 // of the root pid namespace
	UID, GID       uint32 // of the root user namespace
	Comm           []byte // at most 16 bytes
	TraceID        [16]byte
	SpanID         uint64 // before viv-spans the thread's, after it the effective span's
	ParentSpanID   uint64
	ThreadSpanID   uint64 // only after viv-spans: the thread's own span id
	Error          []byte // errno's name; empty: the call succeeded
	OutcomeUnknown bool   // the event was seen outside a watched system call
	Truncated      bool   // a value was cut
	Deleted        bool   // the file's name had been removed before; another file may have it
	Root           []byte // the thread's root directory as viv-probe sees it; empty: it is viv-probe's own
	Hidden         bool   // viv-filter refused it; kept because spans are rebuilt from it
	Origin         []byte // what another format needs to write the event again (stream.Format); nil: viv's own

	// Fields holds the kind's own values, at the same index as Kind.Fields.
	Fields [MaxFields]Value
}

// MaxFields bounds the number of own fields of a kind.
const MaxFields = 12

// Value is one own field's value. The zero Value means that the event does
// not have the field.
type Value struct {
	Type Type
	Num  uint64   // Uint, Int (two's complement), Bool (0 or 1)
	Text []byte   // Text
	List [][]byte // List
}

// Type says what a Value or a Field holds.
type Type uint8

// The types of values.
const (
	None Type = iota
	Uint      // unsigned integer
	Int       // signed integer
	Bool
	Text // bytes; a str in the stream when they are UTF-8, else a bin
	List // array of Text
)

// Severity is how much a reviewer should care.
type Severity uint8

// The severities that vivarium knows.
const (
	Medium Severity = iota
	High
)

func (s Severity) String() string {
	if s == High {
		return "high"
	}
	return "medium"
}

// Reset clears ev for reuse and keeps nothing of it but list storage.
func (ev *Event) Reset() {
	f := ev.Fields
	*ev = Event{}
	for i := range f {
		ev.Fields[i].List = f[i].List[:0]
	}
}

// Get returns the own field of that name, or a zero Value.
func (ev *Event) Get(name string) Value {
	if ev.Kind != nil {
		for i := range ev.Kind.Fields {
			if ev.Kind.Fields[i].Name == name {
				return ev.Fields[i]
			}
		}
	}
	return Value{}
}

// Severity is the kind's, or Medium for an unknown kind.
func (ev *Event) Severity() Severity {
	if ev.Kind == nil {
		return Medium
	}
	return ev.Kind.Severity
}

// Label is the kind's, or EVT for an unknown kind.
func (ev *Event) Label() string {
	if ev.Kind == nil {
		return "EVT"
	}
	return ev.Kind.Label
}
