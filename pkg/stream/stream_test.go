package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"vivarium/pkg/event"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
)

// build returns what write wrote.
func build(t testing.TB, write func(w *Writer)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// readAll returns copies of all records and the error that ended them.
func readAll(r *Reader) (recs [][]byte, err error) {
	for {
		rec, err := r.Next()
		if err != nil {
			return recs, err
		}
		recs = append(recs, bytes.Clone(rec.Raw))
	}
}

// parsed is the only record in b.
func parsed(t testing.TB, b []byte) *Record {
	t.Helper()
	rec := new(Record)
	if err := rec.parse(b); err != nil {
		t.Fatalf("parse %x: %v", b, err)
	}
	if len(rec.Raw) != len(b) {
		t.Fatalf("parse took %d of %d bytes", len(rec.Raw), len(b))
	}
	return rec
}

// foreign encodes as another program might: keys in random order, every number
// in a random width, text now as str and now as bin.
type foreign struct {
	*msgpack.Encoder
	rnd *rand.Rand
}

func (f foreign) value(v any) error {
	switch v := v.(type) {
	case uint64:
		switch n := f.rnd.IntN(8); {
		case n == 0 && v <= math.MaxUint8:
			return f.EncodeUint8(uint8(v))
		case n == 1 && v <= math.MaxUint16:
			return f.EncodeUint16(uint16(v))
		case n == 2 && v <= math.MaxUint32:
			return f.EncodeUint32(uint32(v))
		case n == 3 && v <= math.MaxInt8:
			return f.EncodeInt8(int8(v))
		case n == 4 && v <= math.MaxInt16:
			return f.EncodeInt16(int16(v))
		case n == 5 && v <= math.MaxInt32:
			return f.EncodeInt32(int32(v))
		case n == 6 && v <= math.MaxInt64:
			return f.EncodeInt64(int64(v))
		case n == 7:
			return f.EncodeUint(v)
		}
		return f.EncodeUint64(v)
	case int64:
		if v >= 0 {
			return f.value(uint64(v))
		}
		switch n := f.rnd.IntN(4); {
		case n == 0 && v >= math.MinInt8:
			return f.EncodeInt8(int8(v))
		case n == 1 && v >= math.MinInt16:
			return f.EncodeInt16(int16(v))
		case n == 2 && v >= math.MinInt32:
			return f.EncodeInt32(int32(v))
		case n == 3:
			return f.EncodeInt(v)
		}
		return f.EncodeInt64(v)
	case []byte:
		if f.rnd.IntN(2) == 0 {
			return f.EncodeString(string(v))
		}
		if v == nil {
			v = []byte{}
		}
		return f.EncodeBytes(v)
	case [][]byte:
		f.EncodeArrayLen(len(v))
		for _, t := range v {
			f.value(t)
		}
		return nil
	case bool:
		return f.EncodeBool(v)
	}
	panic(fmt.Sprintf("%T", v))
}

func foreignMap(m map[string]any, rnd *rand.Rand) []byte {
	var buf bytes.Buffer
	f := foreign{msgpack.NewEncoder(&buf), rnd}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	f.EncodeMapLen(len(keys))
	for _, k := range keys {
		f.EncodeString(k)
		f.value(m[k])
	}
	return buf.Bytes()
}

var texts = []string{"", "a", "/usr/bin/ruby", "/home/ü/☃", "\xff\xfe", strings.Repeat("x", 31), strings.Repeat("y", 32),
	strings.Repeat("z", 255), strings.Repeat("é", 200), strings.Repeat("\x80", 300), strings.Repeat("q", 70000)}

func randText(rnd *rand.Rand) []byte { return []byte(texts[rnd.IntN(len(texts))]) }

func randUint(rnd *rand.Rand) uint64 { return rnd.Uint64() >> rnd.IntN(64) }

func randEvent(rnd *rand.Rand) *event.Event {
	ev := &event.Event{
		KtimeNS: randUint(rnd), PID: uint32(randUint(rnd)), TID: uint32(randUint(rnd)), UID: uint32(randUint(rnd)), GID: uint32(randUint(rnd)),
		Comm: randText(rnd), SpanID: randUint(rnd), ParentSpanID: randUint(rnd),
		OutcomeUnknown: rnd.IntN(4) == 0, Truncated: rnd.IntN(4) == 0, Hidden: rnd.IntN(4) == 0,
	}
	for i := range ev.TraceID {
		ev.TraceID[i] = byte(rnd.Uint32())
	}
	if rnd.IntN(3) == 0 {
		ev.ThreadSpanID = rnd.Uint64()
	}
	if rnd.IntN(3) == 0 {
		ev.Origin = []byte(strings.Repeat(string(rune(rnd.IntN(300))), 128))[:128]
	}
	if rnd.IntN(10) == 0 {
		ev.Name, ev.Error = []byte("of_tomorrow"), []byte("EIO")
		return ev
	}
	ev.Kind = &event.Kinds[rnd.IntN(int(event.NumKinds))]
	ev.Name = []byte(ev.Kind.Name)
	if ev.Kind != &event.Kinds[event.SpanRaise] && rnd.IntN(3) == 0 {
		ev.Error = []byte("ENOENT")
	}
	for i, f := range ev.Kind.Fields {
		if rnd.IntN(4) == 0 {
			continue
		}
		v := event.Value{Type: f.Type}
		switch f.Type {
		case event.Uint:
			v.Num = randUint(rnd)
		case event.Int:
			v.Num = uint64(int64(rnd.Uint64()) >> rnd.IntN(64))
		case event.Bool:
			v.Num = uint64(rnd.IntN(2))
		case event.Text:
			v.Text = randText(rnd)
		case event.List:
			for range rnd.IntN(40) {
				v.List = append(v.List, randText(rnd))
			}
		}
		ev.Fields[i] = v
	}
	return ev
}

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

// eventMap is an event as a library decodes it.
func eventMap(ev *event.Event) map[string]any {
	m := map[string]any{
		"type": []byte("event"), "event": ev.Name, "ktime_ns": ev.KtimeNS, "pid": uint64(ev.PID), "tid": uint64(ev.TID),
		"uid": uint64(ev.UID), "gid": uint64(ev.GID), "comm": ev.Comm, "trace_id": ev.TraceID[:], "span_id": ev.SpanID,
		"parent_span_id": ev.ParentSpanID,
	}
	if ev.ThreadSpanID != 0 {
		m["thread_span_id"] = ev.ThreadSpanID
	}
	if len(ev.Error) > 0 {
		m["error"] = ev.Error
	}
	if ev.OutcomeUnknown {
		m["outcome"] = []byte("unknown")
	}
	for k, set := range map[string]bool{"truncated": ev.Truncated, "hidden": ev.Hidden} {
		if set {
			m[k] = true
		}
	}
	if ev.Origin != nil {
		m["payload"] = ev.Origin
	}
	if ev.Kind != nil {
		for i, f := range ev.Kind.Fields {
			switch v := ev.Fields[i]; v.Type {
			case event.Uint:
				m[f.Name] = v.Num
			case event.Int:
				m[f.Name] = int64(v.Num)
			case event.Bool:
				m[f.Name] = v.Num != 0
			case event.Text:
				m[f.Name] = v.Text
			case event.List:
				m[f.Name] = v.List
			}
		}
	}
	return m
}

// plain makes what the library decoded comparable with eventMap.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []any:
		list := [][]byte{}
		for _, e := range v {
			list = append(list, plain(e).([]byte))
		}
		return list
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
		return v
	case bool, []byte:
		return v
	}
	rv := reflect.ValueOf(v)
	if rv.CanInt() && rv.Int() < 0 {
		return rv.Int()
	} else if rv.CanInt() {
		return uint64(rv.Int())
	}
	return rv.Uint()
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
	for k := range eventMap(&event.Event{ThreadSpanID: 1, OutcomeUnknown: true, Truncated: true, Hidden: true, Origin: []byte{}}) {
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

func TestKeyOrder(t *testing.T) {
	ev := sampleEvent()
	ev.Error, ev.Truncated, ev.OutcomeUnknown, ev.Hidden, ev.ThreadSpanID, ev.Origin = []byte("EPERM"), true, true, true, 5, []byte{0}
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
		"event": "type event ktime_ns pid tid uid gid comm trace_id span_id parent_span_id path flags error truncated outcome hidden thread_span_id payload",
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

// sample is a stream of one session with every kind of record.
func sample(t testing.TB) (b []byte, ends []int) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	long := sampleEvent()
	long.Fields[0].Text = bytes.Repeat([]byte("long/"), 100)
	for _, write := range []func() error{
		func() error {
			return w.Session(&Session{Version: Version, Targets: []uint32{1}, Hooks: map[string]string{"a": "b"}})
		},
		func() error { return w.Event(sampleEvent()) },
		func() error { return w.Raw([]byte("\x82\xa4type\xa3new\xa1x\x92\x01\x81\xa1y\xc0")) },
		func() error { return w.Event(long) },
		func() error { return w.Lost(&Lost{1, 2, "x"}) },
		func() error { return w.Clock(&Clock{1, 2}) },
		func() error { return w.End(&End{Reason: "exited"}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		ends = append(ends, buf.Len())
	}
	return buf.Bytes(), ends
}

// TestCutAtEveryByte: every whole record is read, and the status tells.
func TestCutAtEveryByte(t *testing.T) {
	b, ends := sample(t)
	for _, split := range []bool{false, true} {
		for n := range len(b) + 1 {
			whole := 0
			for whole < len(ends) && ends[whole] <= n {
				whole++
			}
			var in io.Reader = bytes.NewReader(b[:n])
			if split {
				in = iotest.OneByteReader(in)
			}
			recs, err := readAll(NewReader(in))
			if len(recs) != whole || !bytes.Equal(bytes.Join(recs, nil), b[:append([]int{0}, ends...)[whole]]) {
				t.Fatalf("cut at %d: %d records, want %d", n, len(recs), whole)
			}
			var format *FormatError
			switch {
			case n == len(b):
				if err != io.EOF {
					t.Fatalf("whole: %v", err)
				}
			case n < 16: // not enough to see that it is a stream
				if !errors.As(err, &format) {
					t.Fatalf("cut at %d: %v", n, err)
				}
			case !errors.Is(err, ErrIncomplete):
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	}
}

func TestStreamErrors(t *testing.T) {
	whole, _ := sample(t)
	session := build(t, func(w *Writer) { w.Session(&Session{Version: Version}) })
	end := build(t, func(w *Writer) { w.End(&End{}) })
	ev := build(t, func(w *Writer) { w.Event(sampleEvent()) })
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	counts := func(n uint64) []byte { return build(t, func(w *Writer) { w.End(&End{Events: n}) }) }
	deep := append([]byte("\x82\xa4type\xa3new\xa1x"), bytes.Repeat([]byte{0x91}, 100)...)
	deep = append(deep, 1)
	manyKeys := append([]byte("\xdf\x00\x01\x00\x00"), bytes.Repeat([]byte{0xa0, 0xc0}, 1<<16)...)
	for name, test := range map[string]struct {
		in   []byte
		recs int
		err  string // the message, with "format: " or "incomplete: " in front; empty: io.EOF
	}{
		"empty":            {nil, 0, "format: the input is empty"},
		"text":             {[]byte("hello\nworld, how are you"), 0, `format: this is no viv stream: "hello\nworld, how" where a record should begin`},
		"a number":         {[]byte{7}, 0, `format: this is no viv stream: "\a" where a record should begin`},
		"an array":         {[]byte{0x91, 0x01}, 0, `format: this is no viv stream: "\x91\x01" where a record should begin`},
		"foreign maps":     {[]byte("\x81\xa1a\x01\x81\xa1a\x01"), 2, "format: this is no viv stream: it has no session"},
		"cut foreign map":  {[]byte("\x81\xa1a"), 0, `format: this is no viv stream: "\x81\xa1a" ends inside its first record`},
		"no session":       {ev, 0, "format: this is no viv stream: it does not begin with a session record"},
		"other format":     {[]byte("\x82\xa4type\xa7session\xa6format\xa3vim"), 0, `format: this is no viv stream: its session has format "vim"`},
		"other version":    {build(t, func(w *Writer) { w.Session(&Session{Version: 2}) }), 0, "format: the stream has version 2, this program reads version 1"},
		"invalid byte":     {[]byte{0x81, 0xa1, 'a', 0xc1}, 0, "format: this is no viv stream: a byte that msgpack does not use (0xc1)"},
		"unknown first":    {join([]byte("\x81\xa4type\xa3new"), whole), 8, ""},
		"no end":           {join(session, ev), 2, "incomplete: the stream has no end record: the capture was cut short"},
		"two":              {join(whole, whole), 14, ""},
		"first has no end": {join(session, ev, whole), 9, "incomplete: session 1 of the stream has no end record: its capture was cut short"},
		"only a session":   {session, 1, "incomplete: the stream has no end record: the capture was cut short"},
		"rubbish behind":   {join(session, end, []byte("rubbish")), 2, fmt.Sprintf(`incomplete: the stream is broken at byte %d: "rubbish" where a record should begin`, len(session)+len(end))},
		"event behind":     {join(whole, ev), 8, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 1 belongs to no session", len(whole))},
		"lost behind":      {join(whole, build(t, func(w *Writer) { w.Lost(&Lost{Count: 1}) }), whole), 15, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 1 belongs to no session", len(whole))},
		"span behind":      {join(whole, build(t, func(w *Writer) { w.SpanOpen(&Span{SpanID: 1, Kind: SpanMethod}) })), 8, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 1 belongs to no session", len(whole))},
		"clock behind":     {join(whole, build(t, func(w *Writer) { w.Clock(&Clock{}) })), 8, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 1 belongs to no session", len(whole))},
		"unknown behind":   {join(whole, []byte("\x81\xa4type\xa3new")), 8, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 1 belongs to no session", len(whole))},
		"empty map behind": {join(whole, []byte{0x80}), 8, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 1 belongs to no session", len(whole))},
		"second end":       {join(session, ev, end, ev, end), 5, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 1 belongs to no session", len(session)+len(ev)+len(end))},
		"twice ended":      {join(whole, session, end, end), 10, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record after the end of session 2 belongs to no session", len(whole)+len(session)+len(end))},
		"too many events":  {join(session, ev, ev, counts(1)), 4, "incomplete: the end of session 1 counts 1 events, but 2 were read"},
		"too few events":   {join(whole, session, ev, counts(3), whole), 17, "incomplete: the end of session 2 counts 3 events, but 1 were read"},
		"no events":        {join(session, counts(2)), 2, "incomplete: the end of session 1 counts 2 events, but 0 were read"},
		"counted":          {join(session, ev, ev, counts(2), session, ev, counts(1)), 7, ""},
		"rubbish inside":   {join(session, []byte{0xc1}, whole), 1, fmt.Sprintf(`incomplete: the stream is broken at byte %d: `, len(session))},
		"str of 4 GB":      {join(session, []byte("\x81\xa1a\xdb\xff\xff\xff\xff rest")), 1, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record is longer than 16 MiB", len(session))},
		"bin of 4 GB":      {join(session, []byte("\x81\xa1a\xc6\xff\xff\xff\xff rest")), 1, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record is longer than 16 MiB", len(session))},
		"ext of 4 GB":      {join(session, []byte("\x81\xa1a\xc9\xff\xff\xff\xff\x01rest")), 1, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record is longer than 16 MiB", len(session))},
		"map of 4 G":       {join(session, []byte("\xdf\xff\xff\xff\xff\xa1a\x01")), 1, "incomplete: the stream is cut inside a record: the capture was cut short"},
		"array of 4 G":     {join(session, []byte("\x81\xa1a\xdd\xff\xff\xff\xff\x01")), 1, "incomplete: the stream is cut inside a record: the capture was cut short"},
		"deep":             {join(session, deep), 1, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record is nested more than 32 deep", len(session))},
		"many keys":        {join(session, manyKeys), 1, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record has more than 32768 keys", len(session))},
	} {
		for _, oneByte := range []bool{false, true} {
			var in io.Reader = bytes.NewReader(test.in)
			if oneByte {
				in = iotest.OneByteReader(in)
			}
			r := NewReader(in)
			recs, err := readAll(r)
			if len(recs) != test.recs {
				t.Errorf("%s: %d records, want %d", name, len(recs), test.recs)
			}
			got := ""
			var format *FormatError
			switch {
			case errors.As(err, &format):
				got = "format: " + err.Error()
			case errors.Is(err, ErrIncomplete):
				got = "incomplete: " + err.Error()
			case err != io.EOF:
				got = err.Error()
			}
			if oneByte { // what it saw is then one byte
				got, test.err = cutQuote(got), cutQuote(test.err)
			}
			if got != test.err && (name != "rubbish inside" || !strings.HasPrefix(got, test.err)) {
				t.Errorf("%s: %q, want %q", name, got, test.err)
			}
			if _, again := r.Next(); again != err {
				t.Errorf("%s: then %v", name, again)
			}
			if strings.Contains(got, "\n") {
				t.Errorf("%s: more than a line", name)
			}
		}
	}
}

func cutQuote(s string) string {
	if i := strings.IndexByte(s, '"'); i >= 0 {
		return s[:i]
	}
	return s
}

// TestHostileLengths: no length makes the Reader take memory before the bytes
// are there.
func TestHostileLengths(t *testing.T) {
	session := build(t, func(w *Writer) { w.Session(&Session{Version: Version}) })
	for _, hostile := range []string{
		"\xdf\xff\xff\xff\xff", "\x81\xa1a\xdd\xff\xff\xff\xff", "\x81\xa1a\xdb\x00\xff\xff\xff", "\x81\xdb\x00\xff\xff\xff",
		"\x81\xa1a\xdf\xff\xff\xff\xff\xdf\xff\xff\xff\xff\xdf\xff\xff\xff\xff",
		`{"format":"vivarium-raw","version":2,"event_struct_size":352,"event_count":18446744073709551615}` + "\nrest",
		`{"format":"vivarium-raw","version":2,"event_struct_size":352,"event_count":1152921504606846976}` + "\nrest",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := NewReader(io.MultiReader(bytes.NewReader(session), strings.NewReader(hostile)))
		_, err := readAll(r)
		runtime.ReadMemStats(&after)
		if err == io.EOF {
			t.Errorf("%q: %v", hostile, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4*readSize {
			t.Errorf("%q: %d bytes allocated", hostile, n)
		}
	}
}

func TestGiantRecord(t *testing.T) {
	ev := sampleEvent()
	for _, size := range []int{writeSize, readSize - 200, readSize, 3 * readSize, MaxRecord - 300} {
		ev.Fields[0].Text = bytes.Repeat([]byte{'x'}, size)
		b := build(t, func(w *Writer) {
			w.Session(&Session{Version: Version})
			w.Event(ev)
			w.End(&End{})
		})
		r := NewReader(bytes.NewReader(b))
		recs, err := readAll(r)
		if len(recs) != 3 || err != io.EOF || !bytes.Equal(bytes.Join(recs, nil), b) {
			t.Errorf("size %d: %d records, %v", size, len(recs), err)
		}
	}
	ev.Fields[0].Text = bytes.Repeat([]byte{'x'}, MaxRecord)
	b := build(t, func(w *Writer) { w.Event(ev) })
	if err := new(Record).parse(b); err != errTooLong {
		t.Errorf("over 16 MiB: %v", err)
	}
	// Without one long text in it, so that only the sum is too long.
	pad := bytes.Repeat([]byte("\xa1a\xda\xff\xff"+strings.Repeat("x", 0xffff)), MaxRecord>>16+2)
	b = append(build(t, func(w *Writer) { w.Session(&Session{Version: Version}) }), append([]byte{0xde, 0xff, 0xff}, pad...)...)
	recs, err := readAll(NewReader(bytes.NewReader(b)))
	if len(recs) != 1 || !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "longer than 16 MiB") {
		t.Errorf("many texts: %d records, %v", len(recs), err)
	}
}

// slowReader gives one chunk at each Read and counts them.
type slowReader struct {
	chunks [][]byte
	reads  int
}

func (s *slowReader) Read(b []byte) (int, error) {
	if s.reads == len(s.chunks) {
		return 0, io.EOF
	}
	s.reads++
	return copy(b, s.chunks[s.reads-1]), nil
}

func TestPending(t *testing.T) {
	b, ends := sample(t)
	half := (ends[3] + ends[4]) / 2
	in := &slowReader{chunks: [][]byte{b[:half], b[half:]}}
	r := NewReader(in)
	if r.Pending() {
		t.Error("pending before anything was read")
	}
	for i := range ends {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		raw := bytes.Clone(rec.Raw)
		reads := in.reads
		if got, want := r.Pending(), i != 3 && i != 6; got != want {
			t.Errorf("after record %d: pending %v", i, got)
		}
		if in.reads != reads {
			t.Error("Pending has read")
		}
		if !bytes.Equal(raw, rec.Raw) {
			t.Error("Pending changed the current record")
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	// What cannot be read does not block either.
	r = NewReader(bytes.NewReader(append(bytes.Clone(b), "rubbish"...)))
	for range ends {
		r.Next()
	}
	if !r.Pending() {
		t.Error("an error at hand is not pending")
	}
}

func TestReadError(t *testing.T) {
	b, ends := sample(t)
	broken := errors.New("the disk is gone")
	r := NewReader(io.MultiReader(bytes.NewReader(b[:ends[2]+3]), iotest.ErrReader(broken)))
	recs, err := readAll(r)
	if len(recs) != 3 || !errors.Is(err, broken) {
		t.Errorf("%d records, %v", len(recs), err)
	}
}

func TestWriteError(t *testing.T) {
	failing := NewWriter(writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe }))
	if err := failing.Event(sampleEvent()); err != nil {
		t.Error("written too early")
	}
	if err := failing.Flush(); err != io.ErrClosedPipe {
		t.Error(err)
	}
	if err := failing.Event(sampleEvent()); err != io.ErrClosedPipe {
		t.Errorf("the error is forgotten: %v", err)
	}
	for range 10000 {
		failing.Event(sampleEvent())
	}
	if len(failing.b) > 2*writeSize {
		t.Error("it gathers for nobody")
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestSplice compares with the same done to a decoded map.
func TestSplice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for i := range 2000 {
		ev := randEvent(rnd)
		m := eventMap(ev)
		m["of_tomorrow"] = uint64(5)
		rec := parsed(t, foreignMap(m, rnd))
		var set []Set
		for _, key := range []string{"span_id", "thread_span_id", "hidden", "error", "payload", "a_new_one"} {
			switch rnd.IntN(5) {
			case 0:
				n := rnd.Uint64()
				set, m[key] = append(set, SetUint(key, n)), n
			case 1:
				set, m[key] = append(set, SetBool(key, true)), true
			case 2:
				text := randText(rnd)
				set, m[key] = append(set, SetText(key, text)), text
			case 3:
				set = append(set, Unset(key))
				delete(m, key)
			}
		}
		b := build(t, func(w *Writer) { w.Splice(rec, set...) })
		parsed(t, b)
		var got map[string]any
		if err := msgpack.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for k, v := range m {
			if n, ok := v.(int64); ok && n >= 0 {
				m[k] = uint64(n)
			}
		}
		if d := cmp.Diff(m, plain(got), sameBytes); d != "" {
			t.Fatalf("record %d: %s", i, d)
		}
	}
}

// TestSpliceTouchesNothingElse: floats, extensions, strange keys and strange
// encodings stay as they are, byte for byte.
func TestSpliceTouchesNothingElse(t *testing.T) {
	body := "\xa4type\xa3new" + "\x01\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18" + "\xa1x\xd6\xff\x00\x00\x00\x00" +
		"\xc0\xc7\x03\x05abc" + "\xd9\x01y\xcd\x00\x01" + "\x92\x01\x02\x81\xc2\xc3"
	rec := parsed(t, []byte("\x86"+body))
	for _, test := range []struct {
		set  []Set
		want string
	}{
		{nil, "\xde\x00\x06" + body},
		{[]Set{SetBool("hidden", true)}, "\xde\x00\x07" + body + "\xa6hidden\xc3"},
		{[]Set{SetBool("hidden", false), Unset("z")}, "\xde\x00\x07" + body + "\xa6hidden\xc2"},
		{[]Set{SetUint("y", 2)}, "\xde\x00\x06" + strings.Replace(body, "\xd9\x01y\xcd\x00\x01", "\xa1y\xcf\x00\x00\x00\x00\x00\x00\x00\x02", 1)},
		{[]Set{Unset("x")}, "\xde\x00\x05" + strings.Replace(body, "\xa1x\xd6\xff\x00\x00\x00\x00", "", 1)},
	} {
		if got := build(t, func(w *Writer) { w.Splice(rec, test.set...) }); string(got) != test.want {
			t.Errorf("%+v: %q, want %q", test.set, got, test.want)
		}
	}
	twice := parsed(t, []byte("\x83\xa1a\x01\xa1b\x02\xa1a\x03"))
	if got := build(t, func(w *Writer) { w.Splice(twice, SetBool("a", true)) }); string(got) != "\xde\x00\x02\xa1a\xc3\xa1b\x02" {
		t.Errorf("a key that is there twice: %q", got)
	}
}

// TestNoAllocations: what happens to every event allocates nothing.
func TestNoAllocations(t *testing.T) {
	r, w := NewReader(manyEvents(t)), NewWriter(io.Discard)
	ev := sampleEvent()
	for range 100 { // let buffers grow
		r.Next()
	}
	n := testing.AllocsPerRun(5000, func() {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type == TypeEvent {
			e, _ := rec.Event()
			w.Splice(rec, SetUint("span_id", e.SpanID), SetBool("hidden", true), SetText("x", e.Comm), Unset("error"))
		}
		if !r.Pending() {
			w.Flush()
		}
		w.Event(ev)
	})
	if n >= 0.1 { // sessions and ends may
		t.Errorf("%v allocations per event", n)
	}
}

func sampleEvent() *event.Event {
	ev := &event.Event{
		Kind: &event.Kinds[event.PathOpen], Name: []byte("path_open"),
		KtimeNS: 5000000123456, PID: 4100, TID: 4101, UID: 1000, GID: 1000, Comm: []byte("ruby"),
		TraceID: [16]byte{1, 2, 3, 15: 9}, SpanID: 0x1122334455667788, ParentSpanID: 7,
	}
	ev.Fields[0] = event.Value{Type: event.Text, Text: []byte("/usr/lib/ruby/3.1.0/json/common.rb")}
	ev.Fields[1] = event.Value{Type: event.Uint, Num: 0o100000}
	return ev
}

// endless repeats data for ever.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(b []byte) (n int, err error) {
	n = copy(b, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}

func manyEvents(t testing.TB) io.Reader {
	exec := sampleEvent()
	exec.Kind, exec.Name = &event.Kinds[event.ProcExec], []byte("proc_exec")
	exec.Fields[1] = event.Value{Type: event.List, List: [][]byte{[]byte("ruby"), []byte("-e"), []byte("puts 1")}}
	exec.Fields[2] = event.Value{Type: event.Uint, Num: 3}
	return &endless{data: build(t, func(w *Writer) {
		w.Session(&Session{Version: Version})
		for i := range 1000 {
			if i%20 == 0 {
				w.Event(exec)
			} else {
				w.Event(sampleEvent())
			}
		}
		w.End(&End{})
	})}
}

func BenchmarkEncode(b *testing.B) {
	w, ev := NewWriter(io.Discard), sampleEvent()
	b.ReportAllocs()
	for b.Loop() {
		w.Event(ev)
	}
}

func BenchmarkRead(b *testing.B) {
	r := NewReader(manyEvents(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	r := NewReader(manyEvents(b))
	b.ReportAllocs()
	for b.Loop() {
		rec, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if rec.Type == TypeEvent {
			rec.Event()
		}
	}
}

func BenchmarkSplice(b *testing.B) {
	r, w := NewReader(manyEvents(b)), NewWriter(io.Discard)
	r.Next()
	rec, err := r.Next()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Splice(rec, SetUint("span_id", 5), SetUint("parent_span_id", 6), SetUint("thread_span_id", 7))
	}
}

// BenchmarkPipe is what viv-spans does to an event, without its thinking.
func BenchmarkPipe(b *testing.B) {
	r, w := NewReader(manyEvents(b)), NewWriter(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		rec, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if rec.Type == TypeEvent {
			ev, _ := rec.Event()
			w.Splice(rec, SetUint("span_id", ev.SpanID+1), SetUint("parent_span_id", 6), SetUint("thread_span_id", ev.SpanID))
		}
		if !r.Pending() {
			w.Flush()
		}
	}
}

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
