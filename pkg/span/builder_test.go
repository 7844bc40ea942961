package span

import (
	"io"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Everything that can be said of a record is written before the next is there.
func TestFlush(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan error)
	go func() {
		done <- New(stream.NewWriter(outW), false).Run(stream.NewReader(inR))
		outW.Close()
	}()
	r := stream.NewReader(outR)
	expect := func(types ...stream.Type) {
		t.Helper()
		for _, want := range types {
			rec, err := r.Next()
			if err != nil || rec.Type != want {
				t.Fatalf("got a record %+v (%v), want one of type %d", rec, err, want)
			}
		}
	}
	var m maker
	w := stream.NewWriter(inW)
	w.Session(&stream.Session{Version: stream.Version})
	w.Flush()
	expect(stream.TypeSession)
	w.Event(m.method(event.SpanStart, 1, "a"))
	w.Flush()
	expect(stream.TypeSpanOpen, stream.TypeSpanOpen, stream.TypeSpanOpen, stream.TypeEvent)
	w.Event(m.method(event.SpanStop, 1, "a"))
	w.Flush()
	expect(stream.TypeEvent, stream.TypeSpan)
	w.End(&stream.End{})
	w.Flush()
	expect(stream.TypeSpan, stream.TypeSpan, stream.TypeEnd)
	inW.Close()
	if err := <-done; err != io.EOF {
		t.Error(err)
	}
}
