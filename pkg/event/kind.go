package event

// Kind is one row of the catalogue: the definition of a kind of event. A file per family
// (files.go, network.go, ...) has the rows.
type Kind struct {
	ID       ID
	Name     string
	Label    string // what viv-tree prints before the name
	Severity Severity
	Fields   []Field // in the order of the stream and of the text
	Doc      string  // one sentence for docs/events.md

	text   func(b []byte, ev *Event) []byte // appends the text, without the fields of extra
	extra  []extra                          // fields that vivarium's text does not have, in catalogue order
	derive func(ev *Event, raw *Raw)        // sets the Derived fields; nil: there are none, or the reader sets them
}

// Field is a field of a kind. Its index in Kind.Fields and Event.Fields
// has a constant: PathOpenFlags is the index of the flags of a path_open.
type Field struct {
	Name string
	Type Type
	// Wire is the place of the field in a record of the BPF programs.
	Wire Wire
	// Doc is the meaning, with the unit.
	Doc string
	// Example is a value for docs/events.md: an int, a string or a []string; nil: none.
	Example any
}

// Wire is the place of a field in the record that a BPF program writes
// (struct record in bpf/lib/record.h): one of its numbers or one of its texts.
type Wire uint8

// The places in a record.
const (
	Derived Wire = iota // not in the record: computed by Event.Derive, or by the reader
	Num0
	Num1
	Num2
	Num3
	Text0
	Text1
	Args0 // text 0, NUL-separated: a List
	Args1
	Addr0 // text 0, 4 or 16 bytes of an IP address: becomes its text form
	Addr1
)

// Raw is the input of Event.Derive besides the event's fields: parts of a record of the
// BPF programs that are not fields. For events from elsewhere, only Buf is used.
type Raw struct {
	Num  [4]uint64 // the record's numbers; 0 for an absent one
	Text [2][]byte // the record's texts
	Call string    // env_caccess: the name of the function that was called

	// Buf is memory for the texts that Derive appends; the event's fields alias it.
	// The caller empties it before each event and reuses it, so that events do not
	// allocate.
	Buf []byte

	dns dnsQuestions // of a dns_req
}

// Derive computes the fields of ev that depend on its other fields and on raw: names of
// numbers, and texts that a record has in another form. Fields that cannot be derived
// stay unchanged. Derive also shortens fields that a record combines with other data: the
// class of a span_raise, and the path of a sock_connect.
func (ev *Event) Derive(raw *Raw) {
	if ev.Kind != nil && ev.Kind.derive != nil {
		ev.Kind.derive(ev, raw)
	}
}

// setText sets a field unless text is empty.
func (ev *Event) setText(field int, text []byte) {
	if len(text) > 0 {
		ev.Fields[field].Type, ev.Fields[field].Text = Text, text
	}
}

// setName sets a field to a copy of name in raw.Buf, unless it is empty.
func (ev *Event) setName(field int, name string, raw *Raw) {
	at := len(raw.Buf)
	raw.Buf = append(raw.Buf, name...)
	ev.setText(field, raw.since(at))
}

// since returns what was appended to Buf since it was at bytes long.
func (raw *Raw) since(at int) []byte { return raw.Buf[at:len(raw.Buf):len(raw.Buf)] }
