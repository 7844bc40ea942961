package vivraw

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

// newReader returns a reader of captures.
func newReader(in io.Reader) *stream.Reader { return stream.NewReader(in, Format) }

// build returns what write wrote.
func build(write func(w *stream.Writer)) []byte {
	var w stream.Writer
	write(&w)
	return w.Bytes()
}

// headerLine is a header as vivarium writes it.
func headerLine(count int) string {
	return fmt.Sprintf(`{"observer_pid":4100,"main_tid":4101,"session_start_iso":"2026-06-26T00:00:00.000Z","session_start_ktime":5000,`+
		`"session_stop_iso":"2026-06-26T00:00:01.250Z","session_stop_ktime":1250005000,"format":"vivarium-raw","version":2,`+
		`"event_struct_size":352,"event_count":%d}`, count) + "\n"
}

// randRecord is one with what a kernel would never leave in it, too.
func randRecord(rnd *rand.Rand) []byte {
	b := make([]byte, recordSize)
	if rnd.IntN(4) == 0 {
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
	}
	le.PutUint64(b, uint64(5000+rnd.IntN(50)))
	le.PutUint32(b[8:], uint32(4100+rnd.IntN(3)))
	le.PutUint32(b[12:], uint32(4100+rnd.IntN(3)))
	for i := 24; i < 56; i += 8 {
		if rnd.IntN(3) > 0 {
			le.PutUint64(b[i:], rnd.Uint64())
		} else {
			clear(b[i : i+8])
		}
	}
	if rnd.IntN(4) > 0 {
		copy(b[atNames:], "ruby\x00")
	}
	copy(b[atNames+nameSize:], event.Kinds[rnd.IntN(int(event.NumKinds))].Name+"\x00")
	for i := atPayload; i < atPayload+rnd.IntN(257); i++ {
		b[i] = byte(rnd.Uint32() >> (rnd.IntN(4) * 2))
	}
	clear(b[atLost:])
	if rnd.IntN(5) == 0 {
		le.PutUint64(b[atLost:], rnd.Uint64()>>rnd.IntN(64))
	}
	return b
}

func randCapture(rnd *rand.Rand, n int, sorted bool) []byte {
	recs := make([][]byte, n)
	for i := range recs {
		recs[i] = randRecord(rnd)
	}
	if sorted {
		slices.SortStableFunc(recs, func(a, b []byte) int { return sortKeyOf(a).compare(sortKeyOf(b)) })
	}
	return append([]byte(headerLine(n)), bytes.Join(recs, nil)...)
}

// throughSpans does to a record what viv-spans does.
func throughSpans(w *stream.Writer, rec *stream.Record) {
	switch rec.Type {
	case stream.TypeEvent:
		ev, _ := rec.Event()
		w.SpanOpen(&stream.Span{SpanID: 1, Kind: stream.SpanMethod})
		w.Splice(rec, stream.SetUint("span_id", 99), stream.SetUint("thread_span_id", ev.SpanID))
	case stream.TypeEnd:
		e, _ := rec.End()
		w.End(&e)
	default:
		w.Raw(rec.Raw)
	}
}

// toRaw writes in as captures.
func toRaw(t testing.TB, in io.Reader) ([]byte, error) {
	var out bytes.Buffer
	w := NewWriter(&out)
	r := newReader(in)
	for {
		rec, err := r.Next()
		if err != nil {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return out.Bytes(), err
		}
		if err := w.Write(rec, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// importRaw returns a capture as a stream.
func importRaw(t testing.TB, raw []byte, each func(w *stream.Writer, rec *stream.Record)) (b []byte, err error) {
	b = build(func(w *stream.Writer) {
		r := newReader(bytes.NewReader(raw))
		for {
			var rec *stream.Record
			if rec, err = r.Next(); err != nil {
				return
			}
			each(w, rec)
		}
	})
	return b, err
}

func raw(w *stream.Writer, rec *stream.Record) { w.Raw(rec.Raw) }

// drain reads all records and returns the error that ended them.
func drain(r *stream.Reader) error {
	for {
		if _, err := r.Next(); err != nil {
			return err
		}
	}
}

func sampleEvent() *event.Event {
	ev := &event.Event{
		Kind: &event.Kinds[event.PathOpen], Name: []byte("path_open"),
		KtimeNS: 6000, PID: 4100, TID: 4101, UID: 1000, GID: 1000, Comm: []byte("ruby"),
		TraceID: [16]byte{1, 2, 3, 15: 9}, SpanID: 0x1122334455667788, ParentSpanID: 7,
	}
	ev.Fields[0] = event.Value{Type: event.Text, Text: []byte("/usr/lib/ruby/3.1.0/json/common.rb")}
	ev.Fields[1] = event.Value{Type: event.Uint, Num: 0o100000}
	return ev
}

// sample writes a live session.
func sample(w *stream.Writer) {
	w.Session(&stream.Session{Version: stream.Version, Targets: []uint32{1}})
	w.Event(sampleEvent())
	w.Raw([]byte("\x82\xa4type\xa3new\xa1x\x92\x01\x81\xa1y\xc0"))
	w.Event(sampleEvent())
	w.End(&stream.End{Reason: "exited"})
}

// sameEvent compares events; no text is the same as an empty one.
var sameEvent = cmp.Options{
	cmp.Comparer(bytes.Equal),
	cmp.Comparer(func(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }),
	cmp.Comparer(func(a, b *event.Kind) bool { return a == b }),
}

// TestCaptureIdentity: from a capture to a stream and back is the identity,
// also through viv-spans, also for a capture that is not sorted or cut.
func TestCaptureIdentity(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		capture := randCapture(rnd, rnd.IntN(20), i%2 == 0)
		if rnd.IntN(3) == 0 {
			capture = capture[:max(min(len(capture), len(headerLine(0))+3), len(capture)-rnd.IntN(800))]
		}
		if rnd.IntN(5) == 0 {
			capture = append(randCapture(rnd, rnd.IntN(5), false), capture...)
		}
		for _, each := range []func(w *stream.Writer, rec *stream.Record){raw, throughSpans} {
			b, err := importRaw(t, capture, each)
			if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
				t.Fatal(err)
			}
			got, err2 := toRaw(t, bytes.NewReader(b))
			if (err == io.EOF) != (err2 == io.EOF) {
				t.Fatalf("the capture's end was %v and the stream's %v", err, err2)
			}
			if !bytes.Equal(got, capture) {
				t.Fatalf("capture %d of %d bytes came back as %d bytes", i, len(capture), len(got))
			}
		}
	}
}

// FuzzCapture: nothing crashes, and what was taken comes back.
func FuzzCapture(f *testing.F) {
	rnd := rand.New(rand.NewPCG(6, 6))
	for i := range 5 {
		b := randCapture(rnd, i, i%2 == 0)
		line, recs, _ := bytes.Cut(b, []byte("\n"))
		f.Add(line, recs)
	}
	f.Add([]byte(`{"format":"vivarium-raw","version":2}`), []byte("x"))
	f.Fuzz(func(t *testing.T, line, recs []byte) {
		in := slices.Concat([]byte("{"), bytes.TrimPrefix(line, []byte("{")), []byte("\n"), recs)
		sessions, more := 0, false
		b, err := importRaw(t, in, func(w *stream.Writer, rec *stream.Record) {
			if !json.Valid(stream.AppendJSON(nil, rec)) {
				t.Fatalf("not JSON: %s", stream.AppendJSON(nil, rec))
			}
			if rec.Type == stream.TypeSession {
				sessions++
			}
			more = rec.Type == stream.Unknown // a record of a stream behind the capture
			throughSpans(w, rec)
		})
		if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) || sessions == 0 {
			return
		}
		out, _ := toRaw(t, bytes.NewReader(b))
		if sessions == 1 && !more && (err == io.EOF || strings.HasPrefix(err.Error(), "the capture was cut short:")) {
			if !bytes.Equal(out, in) {
				t.Fatalf("%d bytes came back as %d bytes", len(in), len(out))
			}
		}
	})
}
