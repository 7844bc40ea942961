package stream

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"vivarium/pkg/event"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
)

// sameBytes takes no text for the same as an empty one.
var sameBytes = cmp.Options{
	cmp.Comparer(bytes.Equal),
	cmp.Comparer(func(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }),
}

var sameEvent = cmp.Options{sameBytes, cmp.Comparer(func(a, b *event.Kind) bool { return a == b })}

func TestEventsComeBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var want []*event.Event
	for range 2000 {
		want = append(want, randEvent(rnd))
	}
	b := build(t, func(w *Writer) {
		w.Session(&Session{Version: Version})
		for _, ev := range want {
			w.Event(ev)
		}
		w.End(&End{})
	})
	r := NewReader(bytes.NewReader(b))
	r.Next()
	for i, w := range want {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got, err := rec.Event()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(w, got, sameEvent); d != "" {
			t.Fatalf("event %d: %s", i, d)
		}
	}
	if _, err := readAll(r); err != io.EOF {
		t.Fatal(err)
	}
}

// TestEventsForTheLibrary holds our appenders against another implementation.
func TestEventsForTheLibrary(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 1000 {
		ev := randEvent(rnd)
		b := build(t, func(w *Writer) { w.Event(ev) })
		var got map[string]any
		if err := msgpack.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		want := eventMap(ev)
		for k, v := range want {
			if n, ok := v.(int64); ok && n >= 0 {
				want[k] = uint64(n)
			}
		}
		if d := cmp.Diff(want, plain(got), sameBytes); d != "" {
			t.Fatalf("event %d: %s", i, d)
		}
	}
}

func TestEventsOfAForeignEncoder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 2000 {
		want := randEvent(rnd)
		rec := parsed(t, foreignMap(eventMap(want), rnd))
		got, err := rec.Event()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, sameEvent); d != "" {
			t.Fatalf("event %d: %s", i, d)
		}
	}
}

// TestOwnFieldNames: Event tells the keys that all events share from own
// fields by their names alone.
func TestOwnFieldNames(t *testing.T) {
	shared := map[string]bool{}
	for k := range eventMap(&event.Event{ThreadSpanID: 1, OutcomeUnknown: true, Truncated: true, Deleted: true, Root: []byte("/r"), Hidden: true, Origin: []byte{}}) {
		shared[k] = true
	}
	for _, k := range event.Kinds {
		for _, f := range k.Fields {
			if shared[f.Name] || len(f.Name) > 31 {
				t.Errorf("%s: field %s has the name of a key that all events share, or a long one", k.Name, f.Name)
			}
		}
	}
}

// TestOddValues: wrong types leave a field empty, of equal keys the last counts.
func TestOddValues(t *testing.T) {
	for name, test := range map[string]struct {
		raw  string
		want func(ev *event.Event)
	}{
		"number as text":  {"\x84\xa4type\xa5event\xa5event\xa9path_open\xa3pid\xa17\xa5flags\xa17", func(ev *event.Event) {}},
		"text as number":  {"\x84\xa4type\xa5event\xa5event\xa9path_open\xa4comm\x07\xa4path\x07", func(ev *event.Event) {}},
		"negative":        {"\x83\xa4type\xa5event\xa5event\xa9path_open\xa3pid\xff", func(ev *event.Event) {}},
		"negative number": {"\x84\xa4type\xa5event\xa5event\xa9path_open\xa8ktime_ns\xff\xa5flags\xd0\x80", func(ev *event.Event) {}},
		"above an int":    {"\x83\xa4type\xa5event\xa5event\xa9proc_exit\xa9exit_code\xcf\xff\xff\xff\xff\xff\xff\xff\xff", func(ev *event.Event) { ev.Kind = &event.Kinds[event.ProcExit] }},
		"too large":       {"\x83\xa4type\xa5event\xa5event\xa9path_open\xa3pid\xcf\x00\x00\x00\x01\x00\x00\x00\x00", func(ev *event.Event) {}},
		"short trace id":  {"\x83\xa4type\xa5event\xa5event\xa9path_open\xa8trace_id\xc4\x01\x01", func(ev *event.Event) {}},
		"nil":             {"\x84\xa4type\xa5event\xa5event\xa9path_open\xa4path\xc0\xa3tid\xc0", func(ev *event.Event) {}},
		"map for list":    {"\x83\xa4type\xa5event\xa5event\xa9proc_exec\xa4argv\x81\xa1a\xa1b", func(ev *event.Event) { ev.Kind = &event.Kinds[event.ProcExec] }},
		"no event":        {"\x82\xa4type\xa5event\xa3pid\x07", func(ev *event.Event) { ev.PID, ev.Kind = 7, nil }},
		"event is number": {"\x82\xa4type\xa5event\xa5event\x07", func(ev *event.Event) { ev.Kind = nil }},
		"twice":           {"\x84\xa4type\xa5event\xa5event\xa9path_open\xa3pid\x01\xa3pid\x02", func(ev *event.Event) { ev.PID = 2 }},
		"odd keys":        {"\x85\xa4type\xa5event\xa5event\xa9path_open\x01\x02\xc0\xc0\x81\x01\x02\x03", func(ev *event.Event) {}},
		"key as bin":      {"\x83\xa4type\xa5event\xc4\x05event\xa9path_open\xc4\x03pid\x05", func(ev *event.Event) { ev.PID = 5 }},
	} {
		t.Run(name, func(t *testing.T) {
			want := &event.Event{Kind: &event.Kinds[event.PathOpen]}
			test.want(want)
			got, err := parsed(t, []byte(test.raw)).Event()
			if err != nil {
				t.Fatal(err)
			}
			got.Name = nil
			if d := cmp.Diff(want, got, sameEvent); d != "" {
				t.Error(d)
			}
		})
	}
}
