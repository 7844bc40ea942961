package span

import (
	"bytes"
	"io"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// source makes a stream while it is read, so that a test can have millions of
// events: next writes some records until it returns false.
type source struct {
	buf  bytes.Buffer
	w    *stream.Writer
	next func(w *stream.Writer) bool
	done bool
}

func newSource(next func(w *stream.Writer) bool) *source {
	s := &source{next: next}
	s.w = stream.NewWriter(&s.buf)
	s.w.Session(&stream.Session{Version: stream.Version, StartKtimeNS: 1, MainTID: 1, Targets: []uint32{1}, ObserverPID: 2})
	return s
}

func (s *source) Read(p []byte) (int, error) {
	for s.buf.Len() == 0 && !s.done {
		if s.done = !s.next(s.w); s.done {
			s.w.End(&stream.End{StopKtimeNS: 1 << 60})
		}
		s.w.Flush()
	}
	return s.buf.Read(p)
}

// maker makes events one after the other.
type maker struct {
	ev    event.Event
	ktime uint64
}

func (m *maker) kind(id event.ID, tid uint32, span uint64) *event.Event {
	m.ktime++
	m.ev.Reset()
	m.ev.Kind = &event.Kinds[id]
	m.ev.KtimeNS = m.ktime
	m.ev.PID, m.ev.TID, m.ev.SpanID = tid, tid, span
	m.ev.TraceID[0] = 1
	return &m.ev
}

func (m *maker) method(id event.ID, tid uint32, name string) *event.Event {
	ev := m.kind(id, tid, uint64(tid))
	ev.Fields[0] = event.Value{Type: event.Text, Text: []byte(name)}
	return ev
}

func (m *maker) fork(tid, child uint32) *event.Event {
	ev := m.kind(event.ProcFork, tid, uint64(tid))
	ev.Fields[0] = event.Value{Type: event.Uint, Num: uint64(child)}
	return ev
}

// counter counts the records that are written.
type counter struct {
	opened, ended int
	open, most    int
	dangling      int
}

func count(t *testing.T, in io.Reader) (c counter, stats Stats) {
	t.Helper()
	pr, pw := io.Pipe()
	b := New(stream.NewWriter(pw), false)
	go func() {
		err := b.Run(stream.NewReader(in))
		pw.CloseWithError(err)
	}()
	r := stream.NewReader(pr)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return c, b.Stats
		}
		if err != nil {
			t.Fatal(err)
		}
		switch rec.Type {
		case stream.TypeSpanOpen:
			c.opened++
			c.open++
			c.most = max(c.most, c.open)
		case stream.TypeSpan:
			c.ended++
			c.open--
			if s, _ := rec.Span(); s.Dangling {
				c.dangling++
			}
		}
	}
}
