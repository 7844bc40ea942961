package event

import "strconv"

const hexLower = "0123456789abcdef"

// AppendText appends what ev says, as viv-tree shows it behind the arrow: its
// base text, then the fields that this does not have as ` key=value` in
// catalogue order, then ` outcome=unknown`, ` root=R`, ` deleted=true`, ` truncated=true` and ` error=E`
// where they apply. The text is harmless on a terminal whatever the event holds,
// and empty for an unknown event.
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
				b = appendValue(b, v)
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

// AppendBaseText appends the part of AppendText that vivarium prints, too.
func AppendBaseText(b []byte, ev *Event) []byte {
	if ev.Kind == nil {
		return b
	}
	return ev.Kind.text(b, ev)
}

// extra is a field that vivarium's text does not have.
type extra struct {
	field int                            // index in Kind.Fields
	show  func(b []byte, v Value) []byte // nil: by the value's type
	cut   bool                           // shown only when a value was cut
}

func appendKey(b []byte, at int, name string) []byte {
	if len(b) > at {
		b = append(b, ' ')
	}
	return append(b, name...)
}

func appendValue(b []byte, v Value) []byte {
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
		return appendList(b, v.List)
	}
	return b
}

func appendList(b []byte, list [][]byte) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = AppendQuote(b, s)
	}
	return append(b, ']')
}

func showQuoted(b []byte, v Value) []byte { return AppendQuote(b, v.Text) }

func showSpanID(b []byte, v Value) []byte {
	for i := 60; i >= 0; i -= 4 {
		b = append(b, hexLower[v.Num>>i&15])
	}
	return b
}

// What the texts of the kinds are made of: a key and a field.

func (ev *Event) quote(b []byte, key string, field int) []byte {
	return AppendQuote(append(b, key...), ev.Fields[field].Text)
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
