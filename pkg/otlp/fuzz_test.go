package otlp

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Whatever comes in, what comes out is OTLP.
func FuzzConvert(f *testing.F) {
	s := newScript()
	m := s.method(3, "A#b\xff")
	s.open(m)
	s.event(1, event.ProcExec, 3, all(set("path", "/bin/\xffsh"), set("argv", []string{"sh", "\x00"})))
	s.event(1, event.ProcFork, 3, all(set("child_pid", 200), set("child_tid", 200)))
	s.event(2, event.SockConnect, 3, all(set("family", 2), set("addr", "10.0.0.1"), set("port", 53)))
	s.event(3, event.SpanRaise, 3, all(set("error", "E"), set("message", "m")))
	s.Lost(&stream.Lost{KtimeNS: ms(3), Count: 1 << 63})
	s.Clock(&stream.Clock{UnixNS: -5, KtimeNS: 1 << 63})
	s.close(m, 5)
	f.Add(s.finish(9), false)
	f.Add(s.bytes(), true)
	f.Fuzz(func(t *testing.T, in []byte, logs bool) {
		c := NewConverter(Options{EventsAsLogs: logs}, func(b Batch) error {
			text, err := b.JSON()
			if err != nil || !utf8.Valid(text) {
				t.Errorf("%v: %x", err, b.Body)
			}
			return nil
		})
		for r := stream.NewReader(bytes.NewReader(in)); ; {
			rec, err := r.Next()
			if err == nil {
				err = c.Record(rec)
			}
			if err != nil {
				break
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if c.pending != 0 || len(c.open) != 0 {
			t.Errorf("%d bytes of %d open spans are left", c.pending, len(c.open))
		}
	})
}
