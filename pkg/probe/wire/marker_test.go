package wire

import (
	"testing"

	"vivarium/pkg/event"
)

func FuzzMarker(f *testing.F) {
	for _, s := range []string{"start/x", "stop/x?file=a&line=3", "raise/E?message=%41%&line=9", "stop", "", "start/%", "start/%4", "start/%zz?&&=&"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		if !m.marker(raw) {
			return
		}
		ev := &m.Event
		if m.ID != event.SpanStop && len(ev.Fields[0].Text) == 0 {
			t.Error("a start or raise without a name")
		}
		total := 0
		for i, v := range ev.Fields {
			if v.Type != event.None && (i >= len(ev.Kind.Fields) || v.Type != ev.Kind.Fields[i].Type) {
				t.Errorf("field %d has type %v", i, v.Type)
			}
			total += len(v.Text)
		}
		if total > len(raw)+len(SourceMarker) {
			t.Errorf("%d bytes decoded from %d", total, len(raw))
		}
	})
}
