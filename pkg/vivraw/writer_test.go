package vivraw

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"vivarium/pkg/event"
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
