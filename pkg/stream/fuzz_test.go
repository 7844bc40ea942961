package stream

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// FuzzReader: whatever comes in, nothing crashes, and what comes out as a
// record can be read again, spliced and shown.
func FuzzReader(f *testing.F) {
	whole, _ := sample(f)
	f.Add(whole)
	f.Add([]byte("\x81\xa4type\xa3new\xdf\xff\xff\xff\xff"))
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 5 {
		f.Add(append(build(f, func(w *Writer) { w.Session(&Session{Version: Version}) }), foreignMap(eventMap(randEvent(rnd)), rnd)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		slow := NewReader(iotest.OneByteReader(bytes.NewReader(b)))
		for {
			rec, err := r.Next()
			other, err2 := slow.Next()
			if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(rec.Raw, other.Raw) {
				t.Fatalf("%v and byte by byte %v", err, err2)
			}
			if err != nil {
				if s := err.Error(); err != io.EOF && (s == "" || strings.ContainsAny(s, "\n\x1b\x00")) {
					t.Fatalf("error %q", s)
				}
				return
			}
			rec.Session()
			rec.Lost()
			rec.Clock()
			rec.Span()
			rec.End()
			if ev, err := rec.Event(); err == nil {
				again := parsed(t, build(t, func(w *Writer) { w.Event(ev) }))
				got, err := again.Event()
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(ev, got, sameEvent); d != "" {
					t.Fatal(d)
				}
			}
			checkJSON(t, rec)
			if rec.Type != TypeSession {
				parsed(t, build(t, func(w *Writer) { w.Splice(rec, SetUint("span_id", 1), Unset("pid"), SetText("error", []byte("E"))) }))
			}
			r.Pending()
		}
	})
}
