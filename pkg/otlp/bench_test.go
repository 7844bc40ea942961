package otlp

import (
	"bytes"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// BenchmarkConvert is the price of a method span with three events, from the
// stream to closed batches.
func BenchmarkConvert(b *testing.B) {
	s := newScript()
	head := len(s.bytes())
	for i := range 1000 {
		m := s.method(uint64(100+i), "Kernel#load")
		s.open(m)
		for range 3 {
			s.event(1, event.PathOpen, m.SpanID, set("path", "/usr/lib/x86_64-linux-gnu/libc.so.6"))
		}
		s.close(m, 2)
	}
	chunk := s.bytes()[head:]
	var bytesOut int
	c := NewConverter(Options{}, func(b Batch) error { bytesOut += len(b.Body); return nil })
	r := stream.NewReader(&repeat{head: s.bytes()[:head], chunk: chunk})
	b.ReportAllocs()
	b.ResetTimer()
	for spans := 0; spans < b.N; {
		rec, err := r.Next()
		if err == nil {
			err = c.Record(rec)
		}
		if err != nil {
			b.Fatal(err)
		}
		if rec.Type == stream.TypeSpan {
			spans++
		}
	}
	b.StopTimer()
	c.Close()
	b.ReportMetric(float64(bytesOut)/float64(b.N), "B/span")
}

// repeat reads head once and then chunk again and again.
type repeat struct {
	head, chunk []byte
	r           bytes.Reader
}

func (r *repeat) Read(b []byte) (int, error) {
	if r.r.Len() == 0 {
		if r.head != nil {
			r.r.Reset(r.head)
			r.head = nil
		} else {
			r.r.Reset(r.chunk)
		}
	}
	return r.r.Read(b)
}
