// Package event is the catalogue of the events that viv can record: one table with
// one entry for each kind. The entry defines the keys of the event in the stream, its
// text, and its severity.
package event

// Event is one action of a watched program. The byte slices of an Event from a reader
// alias the reader's buffer: they are valid until its next record.
type Event struct {
	Kind *Kind  // nil: not in the catalogue
	Name []byte // the event's name in the stream

	KtimeNS        uint64 // CLOCK_MONOTONIC, ns
	PID, TID       uint32 // of the root pid namespace
	UID, GID       uint32 // of the root user namespace
	Comm           []byte // at most 16 bytes
	TraceID        [16]byte
	SpanID         uint64 // before viv-spans, of the thread; after it, of the innermost span around the event
	ParentSpanID   uint64
	ThreadSpanID   uint64 // after viv-spans: SpanID before it; else 0
	Error          []byte // name of the errno; empty: the call succeeded
	OutcomeUnknown bool   // the event was seen outside a watched system call
	Truncated      bool   // a value was cut
	Deleted        bool   // the file's name had been removed before; another file may have it
	Root           []byte // the thread's root directory as viv-probe sees it; empty: it is viv-probe's own
	Hidden         bool   // not selected by viv-filter, but needed by later programs
	Origin         []byte // what another format needs to write the event unchanged (stream.Format); nil: viv's own event

	// Fields has the values of the kind's fields, at the same index as Kind.Fields.
	Fields [MaxFields]Value
}

// MaxFields is the maximum number of fields of a kind.
const MaxFields = 12

// Value is the value of a field. The zero Value means that the event does not have
// the field.
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

// Severity is the importance of an event in a security review.
type Severity uint8

// The severities, as in vivarium.
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

// Reset clears ev for reuse. It keeps only the memory of lists.
func (ev *Event) Reset() {
	f := ev.Fields
	*ev = Event{}
	for i := range f {
		ev.Fields[i].List = f[i].List[:0]
	}
}

// Get returns the value of the kind's field with a name, or a zero Value.
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

// Is reports whether ev is of a kind.
func (ev *Event) Is(id ID) bool { return ev.Kind == &Kinds[id] }

// Severity returns that of the kind, or Medium for an unknown kind.
func (ev *Event) Severity() Severity {
	if ev.Kind == nil {
		return Medium
	}
	return ev.Kind.Severity
}

// Label returns that of the kind, or EVT for an unknown kind.
func (ev *Event) Label() string {
	if ev.Kind == nil {
		return "EVT"
	}
	return ev.Kind.Label
}
