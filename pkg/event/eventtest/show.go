// Package eventtest makes, shows and checks events in tests.
package eventtest

import (
	"bytes"
	"strconv"

	"vivarium/pkg/event"
)

// Show returns an event as one line: its kind and its fields, without the values that
// differ from run to run.
func Show(ev *event.Event) string {
	b := []byte(ev.Kind.Name)
	for i, f := range ev.Kind.Fields {
		v := ev.Fields[i]
		if v.Type == event.None || f.Name == "child_span_id" {
			continue
		}
		b = append(append(append(b, ' '), f.Name...), '=')
		switch v.Type {
		case event.Text:
			b = AppendQuoted(b, v.Text)
		case event.List:
			b = append(b, '[')
			for j, e := range v.List {
				if j > 0 {
					b = append(b, ' ')
				}
				b = AppendQuoted(b, e)
			}
			b = append(b, ']')
		case event.Int:
			b = strconv.AppendInt(b, int64(v.Num), 10)
		default:
			b = strconv.AppendUint(b, v.Num, 10)
		}
	}
	if len(ev.Error) > 0 {
		b = append(append(b, " error="...), ev.Error...)
	}
	if len(ev.Root) > 0 {
		b = AppendQuoted(append(b, " root="...), ev.Root)
	}
	if ev.Deleted {
		b = append(b, " deleted"...)
	}
	if ev.Truncated {
		b = append(b, " truncated"...)
	}
	if ev.OutcomeUnknown {
		b = append(b, " outcome=unknown"...)
	}
	if ev.Hidden {
		b = append(b, " hidden"...)
	}
	return string(b)
}

// AppendQuoted appends text, quoted only if it would be ambiguous otherwise.
func AppendQuoted(b, text []byte) []byte {
	if q := strconv.QuoteToASCII(string(text)); len(text) == 0 || len(q) != len(text)+2 || bytes.ContainsAny(text, " []") {
		return append(b, q...)
	}
	return append(b, text...)
}
