package filter

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

// FuzzRun filters arbitrary bytes in many ways. What comes out must be a stream
// of records, never more of them than what went in, and all of it where nothing
// is refused.
func FuzzRun(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 5))
	f.Add(nested(), "A", int8(1))
	f.Add(raw(), "", int8(0))
	f.Add(spanned(f, random(rng, 50), true), "A|no-span", int8(2))
	f.Add(capture(rng), `"/etc`, int8(0))
	f.Fuzz(func(t *testing.T, in []byte, expr string, depth int8) {
		d := int64(depth)
		object := `{"span":"A","dedup":1,"payload":{"path_open":"etc"},"exclude_events":"proc_fork"}`
		all := count(in)
		for _, o := range []Options{
			{All: true}, {Dedup: true}, {Span: []string{expr}, Depth: &d}, {Payload: []string{expr}, Dedup: true}, {JSON: &object}, {Severities: []string{"high"}},
		} {
			sel, _, err := o.Selection()
			if err != nil {
				continue
			}
			var out bytes.Buffer
			err = Run(stream.NewReader(bytes.NewReader(in), vivraw.Format), New(sel), Msgpack(&out))
			if errors.Is(err, ErrNoSpans) {
				continue
			}
			if n := count(out.Bytes()); n > all || o.All && n != all {
				t.Errorf("%+v: %d records of %d", o, n, all)
			}
			if err := Run(stream.NewReader(bytes.NewReader(in), vivraw.Format), New(sel), JSON(io.Discard)); err == nil {
				t.Error("no error at the end")
			}
			Run(stream.NewReader(bytes.NewReader(in), vivraw.Format), New(sel), vivraw.NewWriter(io.Discard))
		}
	})
}

// count is how many records can be read.
func count(in []byte) (n int) {
	r := stream.NewReader(bytes.NewReader(in), vivraw.Format)
	for {
		if _, err := r.Next(); err != nil {
			return n
		}
		n++
	}
}
