package vivraw

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

// TestExport: a live session as a capture, read again.
func TestExport(t *testing.T) {
	ev := sampleEvent()
	live := build(func(w *stream.Writer) {
		w.Session(&stream.Session{Version: stream.Version, StartUnixNS: 1782432000123456789, StartKtimeNS: 5000, Targets: []uint32{4100}, MainTID: 4101})
		w.Lost(&stream.Lost{Count: 2})
		w.SpanOpen(&stream.Span{})
		w.Lost(&stream.Lost{Count: 3})
		w.Event(ev)
		w.Lost(&stream.Lost{Count: 4})
		w.End(&stream.End{StopUnixNS: 1782432001000000000, StopKtimeNS: 900005000})
	})
	b, err := toRaw(t, bytes.NewReader(live))
	if err != io.EOF {
		t.Fatal(err)
	}
	header, recs, _ := strings.Cut(string(b), "\n")
	if want := `{"observer_pid":4100,"main_tid":4101,"session_start_iso":"2026-06-26T00:00:00.123Z","session_start_ktime":5000,` +
		`"session_stop_iso":"2026-06-26T00:00:01.000Z","session_stop_ktime":900005000,"format":"vivarium-raw","version":2,"event_struct_size":352,"event_count":1}`; header != want {
		t.Errorf("header %s", header)
	}
	if len(recs) != recordSize {
		t.Fatalf("%d bytes of records", len(recs))
	}
	if n := le.Uint64([]byte(recs[atLost:])); n != 9 {
		t.Errorf("%d dropped", n)
	}
	var got event.Event
	if _, err := importRaw(t, b, func(_ *stream.Writer, rec *stream.Record) {
		if rec.Type == stream.TypeEvent {
			ev, _ := rec.Event()
			got = *ev
			got.Name, got.Comm, got.Fields[0].Text = bytes.Clone(ev.Name), bytes.Clone(ev.Comm), bytes.Clone(ev.Fields[0].Text)
		}
	}); err != io.EOF {
		t.Fatal(err)
	}
	got.Origin = nil
	want := *ev
	want.Fields[1] = event.Value{} // flags have no place
	if d := cmp.Diff(&want, &got, sameEvent); d != "" {
		t.Error(d)
	}
}

// TestExportFiltered: what a filter took away is not counted, what was lost is.
func TestExportFiltered(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	capture := randCapture(rnd, 10, true)
	le.PutUint64(capture[len(headerLine(10))+atLost:], 7)
	for i := 1; i < 10; i++ {
		clear(capture[len(headerLine(10))+i*recordSize+atLost:][:8])
	}
	n := 0
	b, _ := importRaw(t, capture, func(w *stream.Writer, rec *stream.Record) {
		if rec.Type == stream.TypeEvent {
			if n++; n < 9 {
				return
			}
		}
		if rec.Type == stream.TypeEnd {
			w.Splice(rec, stream.SetUint("events", 2))
			return
		}
		w.Raw(rec.Raw)
	})
	got, err := toRaw(t, bytes.NewReader(b))
	if err != io.EOF {
		t.Fatal(err)
	}
	want := append([]byte(headerLine(2)), capture[len(headerLine(10))+8*recordSize:]...)
	want[len(headerLine(2))+atLost] = 7
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes: %q", len(got), got[:len(headerLine(2))])
	}
}

// TestExportLeavesOut: an event that a capture has no layout for is left out and
// counted. One that came from a capture has its payload, and is written.
func TestExportLeavesOut(t *testing.T) {
	saved := layouts[event.FileChmod]
	layouts[event.FileChmod] = nil
	defer func() { layouts[event.FileChmod] = saved }()
	unknown := func(origin []byte) *event.Event { return &event.Event{Name: []byte("of_tomorrow"), Origin: origin} }
	payload := bytes.Repeat([]byte("payload."), PayloadSize/8)
	live := build(func(w *stream.Writer) {
		w.Session(&stream.Session{Version: stream.Version})
		w.Event(eventtest.New(event.FileChmod, "mode", 0o644, "path", "/x"))
		w.Event(sampleEvent())
		w.Event(eventtest.New(event.FileChmod, "mode", 0o600, "path", "/y"))
		w.Event(unknown(nil))
		w.Event(unknown(payload))
		w.End(&stream.End{})
	})
	var out bytes.Buffer
	w := NewWriter(&out)
	r := newReader(bytes.NewReader(live))
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(rec, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.LeftOut(), "2 file_chmod, 1 of_tomorrow"; got != want {
		t.Errorf("left out are %s, want %s", got, want)
	}
	header, records, _ := strings.Cut(out.String(), "\n")
	if !strings.HasSuffix(header, `"event_count":2}`) || len(records) != 2*recordSize {
		t.Fatalf("%s and %d bytes", header, len(records))
	}
	for i, want := range [][2]string{{"path_open", "/usr/lib/ruby/3.1.0/json/common.rb"}, {"of_tomorrow", string(payload)}} {
		rec := records[i*recordSize:][:recordSize]
		if name := strings.TrimRight(rec[atNames+nameSize:atPayload], "\x00"); name != want[0] {
			t.Errorf("event %d is %q, want %s", i, name, want[0])
		}
		if got := strings.TrimRight(rec[atPayload:atLost], "\x00"); got != want[1] {
			t.Errorf("event %d has the payload %q", i, got)
		}
	}
}

// TestLeftOutIsBounded: what is kept of names does not grow with the stream.
func TestLeftOutIsBounded(t *testing.T) {
	w := NewWriter(io.Discard)
	for i := range 1000 {
		w.countLeftOut(append(fmt.Appendf(nil, "kind%d", i), bytes.Repeat([]byte("x"), 1000)...))
	}
	w.countLeftOut([]byte("kind0" + strings.Repeat("x", 1000)))
	if len(w.leftOut) != maxLeftOut+1 || w.leftOut["of other kinds"] != 1000-maxLeftOut || w.leftOut["kind0"+strings.Repeat("x", maxLeftName-5)] != 2 {
		t.Errorf("%d names: %v", len(w.leftOut), w.leftOut)
	}
}
