package stream

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"vivarium/pkg/event"

	"github.com/google/go-cmp/cmp"
)

// rawHeadLine is a header as vivarium writes it.
func rawHeadLine(count int) string {
	return fmt.Sprintf(`{"observer_pid":4100,"main_tid":4101,"session_start_iso":"2026-06-26T00:00:00.000Z","session_start_ktime":5000,`+
		`"session_stop_iso":"2026-06-26T00:00:01.250Z","session_stop_ktime":1250005000,"format":"vivarium-raw","version":2,`+
		`"event_struct_size":352,"event_count":%d}`, count) + "\n"
}

// rawRecord is one with what a kernel would never leave in it, too.
func rawRecord(rnd *rand.Rand) []byte {
	b := make([]byte, rawSize)
	if rnd.IntN(4) == 0 {
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
	}
	le := binary.LittleEndian
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
		copy(b[56:], "ruby\x00")
	}
	copy(b[72:], event.Kinds[rnd.IntN(int(event.NumKinds))].Name+"\x00")
	for i := 88; i < 88+rnd.IntN(257); i++ {
		b[i] = byte(rnd.Uint32() >> (rnd.IntN(4) * 2))
	}
	clear(b[344:])
	if rnd.IntN(5) == 0 {
		le.PutUint64(b[344:], randUint(rnd))
	}
	return b
}

func randCapture(rnd *rand.Rand, n int, sorted bool) []byte {
	recs := make([][]byte, n)
	for i := range recs {
		recs[i] = rawRecord(rnd)
	}
	if sorted {
		slices.SortStableFunc(recs, func(a, b []byte) int { return keyOf(a).compare(keyOf(b)) })
	}
	return append([]byte(rawHeadLine(n)), bytes.Join(recs, nil)...)
}

// throughSpans does to a record what viv-spans does.
func throughSpans(w *Writer, rec *Record) {
	switch rec.Type {
	case TypeEvent:
		ev, _ := rec.Event()
		w.SpanOpen(&Span{SpanID: 1, Kind: SpanMethod})
		w.Splice(rec, SetUint("span_id", 99), SetUint("thread_span_id", ev.SpanID))
	case TypeEnd:
		e, _ := rec.End()
		w.End(&e)
	default:
		w.Raw(rec.Raw)
	}
}

// toRaw writes in as captures.
func toRaw(t testing.TB, in io.Reader) ([]byte, error) {
	var out bytes.Buffer
	w := NewRawWriter(&out)
	r := NewReader(in)
	for {
		rec, err := r.Next()
		if err != nil {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return out.Bytes(), err
		}
		if err := w.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
}

// importRaw returns a capture as a stream.
func importRaw(t testing.TB, raw []byte, each func(w *Writer, rec *Record)) (b []byte, err error) {
	b = build(t, func(w *Writer) {
		r := NewReader(bytes.NewReader(raw))
		for {
			var rec *Record
			if rec, err = r.Next(); err != nil {
				return
			}
			each(w, rec)
		}
	})
	return b, err
}

func raw(w *Writer, rec *Record) { w.Raw(rec.Raw) }

// TestCaptureIdentity: from a capture to a stream and back is the identity,
// also through viv-spans, also for a capture that is not sorted or cut.
func TestCaptureIdentity(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		capture := randCapture(rnd, rnd.IntN(20), i%2 == 0)
		if rnd.IntN(3) == 0 {
			capture = capture[:max(min(len(capture), len(rawHeadLine(0))+3), len(capture)-rnd.IntN(800))]
		}
		if rnd.IntN(5) == 0 {
			capture = append(randCapture(rnd, rnd.IntN(5), false), capture...)
		}
		for _, each := range []func(w *Writer, rec *Record){raw, throughSpans} {
			b, err := importRaw(t, capture, each)
			if err != io.EOF && !errors.Is(err, ErrIncomplete) {
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

func TestCaptureImport(t *testing.T) {
	rec := func(ktime uint64, tid uint32, name, payload string, lost uint64) []byte {
		le := binary.LittleEndian
		b := make([]byte, rawSize)
		le.PutUint64(b, ktime)
		le.PutUint32(b[8:], 4100)
		le.PutUint32(b[12:], tid)
		le.PutUint32(b[16:], 1000)
		le.PutUint32(b[20:], 1001)
		le.PutUint64(b[24:], 0x0102030405060708)
		le.PutUint64(b[32:], 0x090a0b0c0d0e0f10)
		le.PutUint64(b[40:], 5)
		le.PutUint64(b[48:], 6)
		copy(b[56:], "ruby")
		copy(b[72:], name)
		copy(b[88:], payload)
		le.PutUint64(b[344:], lost)
		return b
	}
	b := []byte(rawHeadLine(5))
	b = append(b, rec(7000, 4101, "span_start", "A#b", 0)...)
	b = append(b, rec(6000, 4102, "path_open", "/etc/passwd", 3)...)
	b = append(b, rec(6000, 4101, "kernel_read_file", "\x02\x00\x00\x00\x01", 0)...)
	b = append(b, rec(6000, 4101, "of_tomorrow", "x", 0)...)
	b = append(b, rec(8000, 4101, "ssl_write", "\x12\x00\x00\x00\x12\x00\x00\x00GET / HTTP/1.1\r\n\r\n", 0)...)
	r := NewReader(iotest.HalfReader(bytes.NewReader(b)))
	var got []string
	for {
		rec, err := r.Next()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
		switch rec.Type {
		case TypeSession:
			s, err := rec.Session()
			if err != nil {
				t.Fatal(err)
			}
			want := Session{Version: Version, StartUnixNS: 1782432000000000000, StartKtimeNS: 5000, Targets: []uint32{4100}, ObserverPID: 4100, MainTID: 4101,
				Header: []byte(strings.TrimSuffix(rawHeadLine(5), "\n"))}
			if d := cmp.Diff(want, s); d != "" {
				t.Error(d)
			}
		case TypeEvent:
			ev, _ := rec.Event()
			if len(ev.Payload) != rawPayload || string(ev.Comm) != "ruby" || ev.PID != 4100 || ev.UID != 1000 || ev.GID != 1001 || ev.SpanID != 5 || ev.ParentSpanID != 6 ||
				ev.TraceID != [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16} {
				t.Errorf("%+v", ev)
			}
			arrival, _ := rec.find(keyArrival)
			n, _ := uintOf(rec.value(arrival))
			got = append(got, fmt.Sprintf("%d %d %s was %d", ev.KtimeNS, ev.TID, ev.Name, n))
			if string(ev.Name) == "path_open" && string(ev.Get("path").Text) != "/etc/passwd" {
				t.Errorf("no typed fields: %+v", ev)
			}
			if ev.Kind == &event.Kinds[event.SSLWrite] && string(ev.Get("summary").Text) != "http/1.x request: GET / HTTP/1.1" {
				t.Errorf("summary %q", ev.Get("summary").Text)
			}
		case TypeLost:
			l, _ := rec.Lost()
			got = append(got, fmt.Sprintf("%d lost %d: %s", l.KtimeNS, l.Count, l.Cause))
		case TypeEnd:
			e, _ := rec.End()
			want := End{StopUnixNS: 1782432001250000000, StopKtimeNS: 1250005000, Events: 5, Lost: 3, Reason: "capture"}
			if d := cmp.Diff(want, e); d != "" {
				t.Error(d)
			}
		}
	}
	want := []string{"6000 4101 kernel_read_file was 2", "6000 4101 of_tomorrow was 3", "6000 lost 3: ring buffer full", "6000 4102 path_open was 1",
		"7000 4101 span_start was 0", "8000 4101 ssl_write was 4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Lost() != 3 {
		t.Errorf("lost %d", r.Lost())
	}
}

// TestCaptureErrors: vivarium's own cases. What it says, where it refuses; and
// what is deliberately different (FORMAT.md, Q40 to Q42).
func TestCaptureErrors(t *testing.T) {
	deviations := map[string]string{
		// Not recognised as captures, because they do not begin with a brace.
		"empty file":   "the input is empty",
		"not json":     `this is no viv stream: "not json\n" where a record should begin`,
		"json null":    `this is no viv stream: "null\n" where a record should begin`,
		"json array":   `this is no viv stream: "[]\n" where a record should begin`,
		"json true":    `this is no viv stream: "true\n" where a record should begin`,
		"binary bytes": `this is no viv stream: "\x00\x01\x02\xff\n" where a record should begin`,
		// Shown as it is in the file.
		"record size text": `invalid vivarium-raw capture: event_struct_size="352" (expected 352); incompatible capture (likely an older vivarium-raw v1 file)`,
		// Q40.
		"record size false":                "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"repeated key":                     "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"session stop only":                "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"observer pid text":                "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"version 99":                       "invalid vivarium-raw capture: version=99 (expected 2); vivarium 0.6.0 writes it",
		"event count larger than the file": "incomplete: the capture was cut short: 2 of 9 records are there",
		// Q41.
		"half a record": "incomplete: the capture was cut short: inside a record",
		// The parser's own words.
		"two objects": "invalid vivarium-raw capture: header is not valid JSON: ",
		"NaN":         "invalid vivarium-raw capture: header is not valid JSON: ",
	}
	var cases []struct {
		Name  string  `json:"name"`
		File  string  `json:"file_base64"`
		Error *string `json:"load_error"`
	}
	b, err := os.ReadFile("testdata/error_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 20 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		in, err := base64.StdEncoding.DecodeString(c.File)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.Error != nil {
			want = "invalid vivarium-raw capture: " + *c.Error
		}
		if d, ok := deviations[c.Name]; ok {
			want = d
			delete(deviations, c.Name)
		}
		checkCaptureError(t, c.Name, in, want)
	}
	for name := range deviations {
		t.Errorf("there is no case %q", name)
	}
}

func checkCaptureError(t *testing.T, name string, in []byte, want string) {
	t.Helper()
	_, err := readAll(NewReader(bytes.NewReader(in)))
	got := ""
	var format *FormatError
	switch {
	case errors.Is(err, ErrIncomplete):
		got = "incomplete: " + err.Error()
	case errors.As(err, &format):
		got = err.Error()
	case err != io.EOF:
		t.Errorf("%s: %T", name, err)
	}
	if got != want && (!strings.HasSuffix(want, ": ") || !strings.HasPrefix(got, want)) {
		t.Errorf("%s: %s\nwant %s", name, got, want)
	}
	if strings.Contains(got, "\n") {
		t.Errorf("%s: more than a line", name)
	}
}

func TestCaptureHeaders(t *testing.T) {
	const invalid = "invalid vivarium-raw capture: "
	rec := string(make([]byte, rawSize))
	for name, test := range map[string][2]string{
		"version only":        {`{"format":"vivarium-raw","version":2}` + "\n" + rec, ""},
		"size only":           {`{"format":"vivarium-raw","event_struct_size":352}` + "\n" + rec, ""},
		"floats":              {`{"format":"vivarium-raw","version":2.0,"event_count":1e0,"session_stop_ktime":7.0}` + "\n" + rec, ""},
		"nulls":               {`{"format":"vivarium-raw","version":2,"event_count":null,"main_tid":null,"session_start_iso":null}` + "\n" + rec, ""},
		"unreadable iso":      {`{"format":"vivarium-raw","version":2,"session_start_iso":"today"}` + "\n" + rec, ""},
		"no format":           {`{}` + "\n", invalid + `format=nil (expected "vivarium-raw")`},
		"null format":         {`{"format":null}` + "\n", invalid + `format=nil (expected "vivarium-raw")`},
		"v1 by version":       {`{"format":"vivarium-raw","version":1}` + "\n", invalid + "version=1 (expected 2); vivarium 0.6.0 writes it"},
		"version text":        {`{"format":"vivarium-raw","version":"2"}` + "\n", invalid + `version="2" (expected 2); vivarium 0.6.0 writes it`},
		"pid text":            {`{"format":"vivarium-raw","version":2,"observer_pid":"7"}` + "\n" + rec, invalid + `observer_pid="7" (expected a whole number up to 4294967295)`},
		"start text":          {`{"format":"vivarium-raw","version":2,"session_start_ktime":"7"}` + "\n" + rec, invalid + `session_start_ktime="7" (expected a whole number up to 18446744073709551615)`},
		"negative":            {`{"format":"vivarium-raw","version":2,"session_stop_ktime":-7}` + "\n" + rec, invalid + `session_stop_ktime=-7 (expected a whole number up to 18446744073709551615)`},
		"fraction":            {`{"format":"vivarium-raw","version":2,"main_tid":0.5}` + "\n" + rec, invalid + `main_tid=0.5 (expected a whole number up to 4294967295)`},
		"large tid":           {`{"format":"vivarium-raw","version":2,"main_tid":4294967296}` + "\n" + rec, invalid + `main_tid=4294967296 (expected a whole number up to 4294967295)`},
		"iso number":          {`{"format":"vivarium-raw","version":2,"session_stop_iso":7}` + "\n" + rec, invalid + `session_stop_iso=7 (expected a time as text)`},
		"count text":          {`{"format":"vivarium-raw","version":2,"event_count":"1"}` + "\n" + rec, invalid + `event_count="1" (expected a whole number up to 18446744073709551615)`},
		"lines in a value":    {`{"format":["` + `\n` + `"]}` + "\n", invalid + `format=["\n"] (expected "vivarium-raw")`},
		"cut header":          {`{"format":"vivarium-r`, invalid + "header is not valid JSON: "},
		"header without line": {`{"format":"vivarium-raw","version":2}`, "incomplete: the capture was cut short: inside its header"},
		"less than counted":   {`{"format":"vivarium-raw","version":2,"event_count":2}` + "\n" + rec + rec[:351], "incomplete: the capture was cut short: 1 of 2 records are there"},
		"more than counted": {`{"format":"vivarium-raw","version":2,"event_count":1}` + "\n" + rec + rec,
			fmt.Sprintf("incomplete: the stream is broken at byte %d: ", len(`{"format":"vivarium-raw","version":2,"event_count":1}`)+1+rawSize)},
		"endless header": {"{" + strings.Repeat(" ", maxRecord), invalid + "its header is longer than 16 MiB"},
	} {
		if name == "more than counted" {
			_, err := readAll(NewReader(strings.NewReader(test[0])))
			if !errors.Is(err, ErrIncomplete) || !strings.HasPrefix("incomplete: "+err.Error(), test[1]) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		checkCaptureError(t, name, []byte(test[0]), test[1])
	}
}

// TestCaptureWithoutTimes: what vivarium does without them.
func TestCaptureWithoutTimes(t *testing.T) {
	b := append([]byte(`{"format":"vivarium-raw","version":2,"session_start_iso":"1970-01-01T00:00:00.001Z"}`+"\n"), randCapture(rand.New(rand.NewPCG(3, 3)), 5, true)[len(rawHeadLine(5)):]...)
	r := NewReader(bytes.NewReader(b))
	var last uint64
	for {
		rec, err := r.Next()
		if err != nil {
			t.Fatalf("no end: %v", err)
		}
		if rec.Type == TypeEvent {
			ev, _ := rec.Event()
			last = ev.KtimeNS
		}
		if rec.Type == TypeEnd {
			if e, _ := rec.End(); e.StopKtimeNS != last || e.StopUnixNS != 1000000+int64(last) {
				t.Errorf("%+v, last event %d", e, last)
			}
			return
		}
	}
}

// TestConcatenatedSessions: streams and captures, one behind the other.
func TestConcatenatedSessions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	capture := randCapture(rnd, 3, true)
	native, ends := sample(t)
	r := NewReader(bytes.NewReader(slices.Concat(native, capture, native, capture, capture)))
	types := map[Type]int{}
	for {
		rec, err := r.Next()
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			break
		}
		types[rec.Type]++
	}
	if types[TypeSession] != 5 || types[TypeEnd] != 5 || types[TypeEvent] != 2*2+3*3 || types[Unknown] != 2 || len(ends) != 7 {
		t.Errorf("%v", types)
	}
}

// TestExport: a live session as a capture, read again.
func TestExport(t *testing.T) {
	ev := sampleEvent()
	ev.KtimeNS = 6000
	live := build(t, func(w *Writer) {
		w.Session(&Session{Version: Version, StartUnixNS: 1782432000123456789, StartKtimeNS: 5000, Targets: []uint32{4100}, MainTID: 4101})
		w.Lost(&Lost{Count: 2})
		w.SpanOpen(&Span{})
		w.Lost(&Lost{Count: 3})
		w.Event(ev)
		w.Lost(&Lost{Count: 4})
		w.End(&End{StopUnixNS: 1782432001000000000, StopKtimeNS: 900005000})
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
	if len(recs) != rawSize {
		t.Fatalf("%d bytes of records", len(recs))
	}
	if n := binary.LittleEndian.Uint64([]byte(recs[rawDropped:])); n != 9 {
		t.Errorf("%d dropped", n)
	}
	var got event.Event
	if _, err := importRaw(t, b, func(_ *Writer, rec *Record) {
		if rec.Type == TypeEvent {
			ev, _ := rec.Event()
			got = *ev
			got.Name, got.Comm, got.Fields[0].Text = bytes.Clone(ev.Name), bytes.Clone(ev.Comm), bytes.Clone(ev.Fields[0].Text)
		}
	}); err != io.EOF {
		t.Fatal(err)
	}
	got.Payload = nil
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
	binary.LittleEndian.PutUint64(capture[len(rawHeadLine(10))+rawDropped:], 7)
	for i := 1; i < 10; i++ {
		clear(capture[len(rawHeadLine(10))+i*rawSize+rawDropped:][:8])
	}
	n := 0
	b, _ := importRaw(t, capture, func(w *Writer, rec *Record) {
		if rec.Type == TypeEvent {
			if n++; n < 9 {
				return
			}
		}
		w.Raw(rec.Raw)
	})
	got, err := toRaw(t, bytes.NewReader(b))
	if err != io.EOF {
		t.Fatal(err)
	}
	want := append([]byte(rawHeadLine(2)), capture[len(rawHeadLine(10))+8*rawSize:]...)
	want[len(rawHeadLine(2))+rawDropped] = 7
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes: %q", len(got), got[:len(rawHeadLine(2))])
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
		b, err := importRaw(t, in, func(w *Writer, rec *Record) {
			checkJSON(t, rec)
			if rec.Type == TypeSession {
				sessions++
			}
			more = rec.Type == Unknown // a record of a stream behind the capture
			throughSpans(w, rec)
		})
		if err != io.EOF && !errors.Is(err, ErrIncomplete) || sessions == 0 {
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

func BenchmarkImport(b *testing.B) {
	rnd := rand.New(rand.NewPCG(7, 7))
	in := &endless{data: randCapture(rnd, 10000, true)}
	r := NewReader(in)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
