package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

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
		"text":             {[]byte("hello\nworld, how are you"), 0, `format: the input is not a viv stream: "hello\nworld, how" is not the beginning of a record`},
		"a number":         {[]byte{7}, 0, `format: the input is not a viv stream: "\a" is not the beginning of a record`},
		"an array":         {[]byte{0x91, 0x01}, 0, `format: the input is not a viv stream: "\x91\x01" is not the beginning of a record`},
		"foreign maps":     {[]byte("\x81\xa1a\x01\x81\xa1a\x01"), 2, "format: the input is not a viv stream: it has no session"},
		"cut foreign map":  {[]byte("\x81\xa1a"), 0, `format: the input is not a viv stream: "\x81\xa1a" ends inside its first record`},
		"no session":       {ev, 0, "format: the input is not a viv stream: it does not begin with a session record"},
		"other format":     {[]byte("\x82\xa4type\xa7session\xa6format\xa3vim"), 0, `format: the input is not a viv stream: its session has format "vim"`},
		"other version":    {build(t, func(w *Writer) { w.Session(&Session{Version: 2}) }), 0, "format: the stream has version 2, this program reads version 1"},
		"invalid byte":     {[]byte{0x81, 0xa1, 'a', 0xc1}, 0, "format: the input is not a viv stream: a byte that msgpack does not use (0xc1)"},
		"unknown first":    {join([]byte("\x81\xa4type\xa3new"), whole), 8, ""},
		"no end":           {join(session, ev), 2, "incomplete: the stream has no end record: the capture was cut short"},
		"two":              {join(whole, whole), 14, ""},
		"first has no end": {join(session, ev, whole), 9, "incomplete: session 1 of the stream has no end record: its capture was cut short"},
		"only a session":   {session, 1, "incomplete: the stream has no end record: the capture was cut short"},
		"rubbish behind":   {join(session, end, []byte("rubbish")), 2, fmt.Sprintf(`incomplete: the stream is broken at byte %d: "rubbish" is not the beginning of a record`, len(session)+len(end))},
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
		"deep":             {join(session, deep), 1, fmt.Sprintf("incomplete: the stream is broken at byte %d: a record is nested more than 32 levels deep", len(session))},
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
