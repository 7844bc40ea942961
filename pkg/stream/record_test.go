package stream

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeyOrder(t *testing.T) {
	ev := sampleEvent()
	ev.Error, ev.Truncated, ev.Deleted, ev.OutcomeUnknown, ev.Hidden, ev.ThreadSpanID, ev.Origin = []byte("EPERM"), true, true, true, true, 5, []byte{0}
	ev.Root = []byte("/r")
	got := map[string]string{}
	for name, write := range map[string]func(w *Writer){
		"event": func(w *Writer) { w.Event(ev) },
		"session": func(w *Writer) {
			w.Session(&Session{TraceID: ev.TraceID, ParentSpanID: 1, Targets: []uint32{1}, MainTID: 1, ObserverPID: 1, Command: []string{"a"},
				Processes: []Process{{PID: 1}}, Host: Host{Name: "h"}, Hooks: map[string]string{"b": "c"}, Missing: map[string]string{"d": "e"}, ProbeVersion: "1", Origin: []byte("{}")})
		},
		"span": func(w *Writer) {
			w.Span(&Span{Source: "usdt", File: "f", Line: 1, LinkSpanID: 1, Dangling: true, Raised: true, Lossy: true})
		},
		"end": func(w *Writer) { w.End(&End{HasExit: true, Alive: 1, Cut: true, Origin: []byte{1}}) },
	} {
		rec := parsed(t, build(t, write))
		var keys []string
		for _, p := range rec.pairs {
			keys = append(keys, string(rec.key(p)))
		}
		got[name] = strings.Join(keys, " ")
	}
	want := map[string]string{
		"event": "type event ktime_ns pid tid uid gid comm trace_id span_id parent_span_id path flags error truncated deleted root outcome hidden thread_span_id payload",
		"session": "type format version start_unix_ns start_ktime_ns trace_id parent_span_id targets main_tid observer_pid command processes host hooks missing masked " +
			"probe_version header",
		"span": "type span_id parent_span_id trace_id kind source name pid tid start_ktime_ns file line link_trace_id link_span_id end_ktime_ns dangling raised lossy",
		"end":  "type stop_unix_ns stop_ktime_ns events lost reason exit_code alive cut tail",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOtherRecordsComeBack(t *testing.T) {
	session := Session{
		Version: Version, StartUnixNS: -5, StartKtimeNS: 1 << 63, TraceID: [16]byte{15: 1}, ParentSpanID: 3, Targets: []uint32{1, 1 << 31},
		MainTID: 9, ObserverPID: 10, Command: []string{"sh", "-c", "\xff"},
		Processes: []Process{{1, "/bin/\xfe", []string{"a", "\xff"}}, {1 << 31, "", []string{}}}, Host: Host{"n", "o", "k", "a", "\xfe"},
		Hooks: map[string]string{"path_open": "tp", "x": "y"}, Missing: map[string]string{"dlopen": "no libc"}, Masked: true,
		ProbeVersion: "0.1.0", Origin: []byte(`{"a":"` + "\xff" + `"}`),
	}
	lost := Lost{1, math.MaxUint64, "ring full"}
	clock := Clock{1700000000000000000, 5}
	span := Span{1, 2, [16]byte{3}, SpanMethod, "usdt", "A#b", 4, 5, 6, "/x.rb", -7, [16]byte{8}, 9, 10, true, true, true}
	open := span
	open.EndKtimeNS, open.Dangling, open.Raised, open.Lossy = 0, false, false, false
	end := End{1, 2, 3, 4, "exited", -1, true, 5, true, []byte{1, 2}}
	b := build(t, func(w *Writer) {
		w.Session(&session)
		w.Lost(&lost)
		w.Clock(&clock)
		w.SpanOpen(&span)
		w.Span(&span)
		w.Span(&Span{Kind: "of tomorrow"})
		w.End(&end)
		w.Session(&Session{Version: Version})
		w.End(&End{})
	})
	var got []any
	r := NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err != nil {
			if !errors.Is(err, ErrIncomplete) { // end says so
				t.Error(err)
			}
			break
		}
		var v any
		switch rec.Type {
		case TypeSession:
			v, err = rec.Session()
		case TypeLost:
			v, err = rec.Lost()
		case TypeClock:
			v, err = rec.Clock()
		case TypeSpanOpen, TypeSpan:
			v, err = rec.Span()
		case TypeEnd:
			v, err = rec.End()
		}
		if err != nil {
			t.Error(err)
		}
		got = append(got, v)
	}
	want := []any{session, lost, clock, open, span, Span{Kind: "of tomorrow"}, end, Session{Version: Version}, End{}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Lost() != math.MaxUint64 {
		t.Errorf("lost %d", r.Lost())
	}
}

// TestWrongType: asking a record for what it is not is an error.
func TestWrongType(t *testing.T) {
	rec := parsed(t, build(t, func(w *Writer) { w.Raw([]byte("\x81\xa4type\xa3new")) }))
	_, err := rec.Event()
	errs := []error{err}
	for _, f := range []func() error{
		func() error { _, err := rec.Session(); return err },
		func() error { _, err := rec.Lost(); return err },
		func() error { _, err := rec.Clock(); return err },
		func() error { _, err := rec.Span(); return err },
		func() error { _, err := rec.End(); return err },
	} {
		errs = append(errs, f())
	}
	for i, err := range errs {
		if err == nil {
			t.Errorf("method %d: no error", i)
		}
	}
}
