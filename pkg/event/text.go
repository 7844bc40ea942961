package event

import "strconv"

const hexLower = "0123456789abcdef"

// AppendText appends the text of ev, as viv-tree shows it after the arrow: the base text,
// then the other fields as ` key=value` in catalogue order, then ` outcome=unknown`,
// ` root=R`, ` deleted=true`, ` truncated=true` and ` error=E` if they apply. The text is safe on a terminal,
// whatever the event contains, and empty for an unknown event.
func AppendText(b []byte, ev *Event) []byte {
	at := len(b)
	b = AppendBaseText(b, ev)
	if k := ev.Kind; k != nil {
		for _, x := range k.extra {
			v := ev.Fields[x.field]
			if v.Type == None || x.cut && !ev.Truncated {
				continue
			}
			b = append(appendKey(b, at, k.Fields[x.field].Name), '=')
			if x.show != nil {
				b = x.show(b, v)
			} else {
				b = appendValue(b, ev, v)
			}
		}
	}
	if ev.OutcomeUnknown {
		b = append(appendKey(b, at, "outcome"), "=unknown"...)
	}
	if len(ev.Root) > 0 {
		b = AppendQuote(append(appendKey(b, at, "root"), '='), ev.Root)
	}
	if ev.Deleted {
		b = append(appendKey(b, at, "deleted"), "=true"...)
	}
	if ev.Truncated {
		b = append(appendKey(b, at, "truncated"), "=true"...)
	}
	if len(ev.Error) > 0 {
		b = appendWord(append(appendKey(b, at, "error"), '='), ev.Error)
	}
	return b
}

// AppendBaseText appends the part of AppendText that vivarium also prints.
func AppendBaseText(b []byte, ev *Event) []byte {
	if ev.Kind == nil {
		return b
	}
	return ev.Kind.text(b, ev)
}

// extra is a field that is not in vivarium's text.
type extra struct {
	field int                            // index in Kind.Fields
	show  func(b []byte, v Value) []byte // nil: by the type of the value
	cut   bool                           // shown only when a value was cut
}

func appendKey(b []byte, at int, name string) []byte {
	if len(b) > at {
		b = append(b, ' ')
	}
	return append(b, name...)
}

// appendValue appends a field that is not in vivarium's text.
func appendValue(b []byte, ev *Event, v Value) []byte {
	switch v.Type {
	case Uint:
		return strconv.AppendUint(b, v.Num, 10)
	case Int:
		return strconv.AppendInt(b, int64(v.Num), 10)
	case Bool:
		return strconv.AppendBool(b, v.Num != 0)
	case Text:
		return appendWord(b, v.Text)
	case List:
		return ev.list(b, v.List)
	}
	return b
}

func (ev *Event) list(b []byte, list [][]byte) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = ev.quoted(b, s)
	}
	return append(b, ']')
}

func showQuoted(b []byte, v Value) []byte { return appendQuoted(b, v.Text) }

func showSpanID(b []byte, v Value) []byte { return AppendSpanID(b, v.Num) }

// AppendSpanID appends a span id as 16 lower-case hexadecimal digits.
func AppendSpanID(b []byte, id uint64) []byte {
	for i := 60; i >= 0; i -= 4 {
		b = append(b, hexLower[id>>i&15])
	}
	return b
}

// The parts of the texts of kinds. Events of captures are escaped like in vivarium.

func (ev *Event) isCaptured() bool { return len(ev.Origin) > 0 }

func (ev *Event) quoted(b, s []byte) []byte {
	if ev.isCaptured() {
		return AppendQuote(b, s)
	}
	return appendQuoted(b, s)
}

func (ev *Event) unquoted(b, s []byte) []byte {
	if ev.isCaptured() {
		return AppendSafe(b, s)
	}
	return appendReadable(b, s, inLine)
}

// folded is unquoted with runs of blanks reduced to one, and no blanks at the ends.
func (ev *Event) folded(b, s []byte) []byte {
	if !ev.isCaptured() {
		return appendReadable(b, s, inLine)
	}
	return appendFolded(b, s)
}

// A key and a field:

func (ev *Event) quote(b []byte, key string, field int) []byte {
	return ev.quoted(append(b, key...), ev.Fields[field].Text)
}

func (ev *Event) dec(b []byte, key string, field int) []byte {
	return strconv.AppendUint(append(b, key...), ev.Fields[field].Num, 10)
}

func (ev *Event) hex(b []byte, key string, field int) []byte {
	return appendHex(append(append(b, key...), "0x"...), ev.Fields[field].Num, hexLower)
}

func appendNamed(b []byte, key string, v uint64, name string) []byte {
	if name == "" {
		name = "UNKNOWN"
	}
	b = strconv.AppendUint(append(b, key...), v, 10)
	b = append(append(b, '('), name...)
	return append(b, ')')
}
