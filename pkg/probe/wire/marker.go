package wire

import (
	"bytes"
	"strconv"

	"vivarium/bpf"
	"vivarium/pkg/event"
)

// markerRecord makes the event that a marker says.
func (m *Message) markerRecord(raw []byte) error {
	r, texts, err := split(raw)
	if err != nil {
		return err
	}
	m.raw.Buf = m.raw.Buf[:0]
	m.Event.Truncated = r.Head.Flags&uint8(bpf.VivFlagVIV_TRUNCATED) != 0
	if entry, ok := found(texts[0]); ok {
		m.Type, m.Entry = FoundMarker, entry
	} else if !m.marker(texts[0]) {
		m.Type = BadMarker
	}
	return nil
}

// found reads what pkg/probe/spans/ruby/spans.rb says of the list.
func found(raw []byte) (entry uint32, ok bool) {
	rest, ok := bytes.CutPrefix(raw, []byte("found"))
	if !ok || len(rest) == 0 {
		return 0, ok
	}
	digits, ok := bytes.CutPrefix(rest, []byte{'/'})
	n, err := strconv.ParseUint(string(digits), 10, 31)
	return uint32(n), ok && err == nil && n > 0
}

// marker makes the event that a marker says: raw is what follows viv:// in the
// path that the program asked for (docs/markers.md). It reports false for what
// is no marker.
func (m *Message) marker(raw []byte) bool {
	path, query, _ := bytes.Cut(raw, []byte{'?'})
	verb, name, named := bytes.Cut(path, []byte{'/'})
	switch string(verb) {
	case "start":
		m.ID = event.SpanStart
	case "stop":
		m.ID = event.SpanStop
	case "raise":
		m.ID = event.SpanRaise
	default:
		return false
	}
	if (!named || len(name) == 0) && m.ID != event.SpanStop {
		return false
	}
	ev := &m.Event
	ev.Kind = &event.Kinds[m.ID]
	// All of it decoded is never longer than it is encoded.
	if cap(m.raw.Buf)-len(m.raw.Buf) < len(raw) {
		m.raw.Buf = make([]byte, 0, len(raw)+64)
	}
	ev.Fields[event.SpanName] = m.unescape(name) // or SpanRaiseError
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		key, value, _ := bytes.Cut(pair, []byte{'='})
		switch string(key) {
		case "message":
			if m.ID == event.SpanRaise {
				setField(ev, "message", m.unescape(value))
			}
		case "file":
			setField(ev, "file", m.unescape(value))
		case "line":
			if n, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				setField(ev, "line", event.Value{Type: event.Int, Num: n})
			}
		}
	}
	m.source(SourceMarker)
	return true
}

// setField sets the own field of that name, the first time that it is said.
func setField(ev *event.Event, name string, v event.Value) {
	for i := range ev.Kind.Fields {
		if f := &ev.Fields[i]; ev.Kind.Fields[i].Name == name && f.Type == event.None {
			*f = v
		}
	}
}

// unescape decodes %XX. A % before something else stands for itself, so that a
// name typed by hand is not lost.
func (m *Message) unescape(b []byte) event.Value {
	if len(b) == 0 {
		return event.Value{}
	}
	text := m.compose(func(to []byte) []byte {
		for i := 0; i < len(b); i++ {
			if b[i] == '%' && i+2 < len(b) {
				hi, lo := unhex(b[i+1]), unhex(b[i+2])
				if hi >= 0 && lo >= 0 {
					to = append(to, byte(hi<<4|lo))
					i += 2
					continue
				}
			}
			to = append(to, b[i])
		}
		return to
	})
	return event.Value{Type: event.Text, Text: text}
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
