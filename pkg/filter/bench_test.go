package filter

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// million is a live stream of 1,000,000 events as viv-spans writes it: mostly
// opens of 20,000 files, in methods that come and go.
func million() func() io.Reader {
	p := newTape()
	p.session()
	p.open(0x10, 0, stream.SpanSession, "vivarium session", 100, 100)
	p.open(0x11, 0x10, stream.SpanThread, "prog", 100, 100)
	must(p.w.Flush())
	head := bytes.Clone(p.Bytes())
	p.Reset()
	const body = 100_000
	method := uint64(0x1000)
	for i := range body {
		switch {
		case i%100 == 0:
			method++
			p.open(method, 0x11, stream.SpanMethod, "File#open", 100, 100)
			p.event(event.SpanStart, 100, method, "File#open", "/app/x.rb", 12)
		case i%100 == 99:
			p.event(event.SpanStop, 100, method, "File#open", "/app/x.rb", 12)
			p.close(method, 0x11, stream.SpanMethod, "File#open", 100, 100)
		case i%10 == 5:
			p.event(event.SockConnect, 100, method, 2, "192.168.1.17", 443)
		case i%10 == 7:
			p.event(event.EnvCaccess, 100, method, "getenv", "HOME")
		default:
			p.event(event.PathOpen, 100, method, fmt.Sprintf("/usr/share/nginx/html/assets/%d.css", i%20_000), 0x8000)
		}
	}
	must(p.w.Flush())
	middle := bytes.Clone(p.Bytes())
	p.Reset()
	p.end()
	tail := p.Bytes()
	return func() io.Reader {
		parts := []io.Reader{bytes.NewReader(head)}
		for range 1_000_000 / body {
			parts = append(parts, bytes.NewReader(middle))
		}
		return io.MultiReader(append(parts, bytes.NewReader(tail))...)
	}
}

// BenchmarkMillion filters 1,000,000 events: an operation is all of them.
func BenchmarkMillion(b *testing.B) {
	in := million()
	one := int64(1)
	for _, c := range []struct {
		name string
		o    Options
		sink func(io.Writer) Sink
	}{
		{"all", Options{All: true}, Msgpack},
		{"default", Options{}, Msgpack},
		{"event", Options{Events: []string{"sock_connect"}}, Msgpack},
		{"pid", Options{PIDs: []string{"100"}}, Msgpack},
		{"dedup", Options{All: true, Dedup: true}, Msgpack},
		{"payload", Options{Payload: []string{"html/assets/1"}}, Msgpack},
		{"payload-regex", Options{Payload: []string{`assets/\d+7\.css`}}, Msgpack},
		{"span", Options{Span: []string{"^File#"}}, Msgpack},
		{"depth", Options{Depth: &one}, Msgpack},
		{"quiet", Options{Severities: []string{"high"}}, func(io.Writer) Sink { return Discard{} }},
		{"json", Options{Encoding: true}, JSON},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Run(stream.NewReader(in()), New(selection(b, c.o)), c.sink(io.Discard)); err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}
