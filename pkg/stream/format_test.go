package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"vivarium/pkg/event"
)

// lines is a format for tests: a session is a line "FTEXT", which becomes a
// session and an end record; with a TEXT of "cut" it is cut short.
var lines = Format{
	FirstByte: 'F',
	Open: func(in *Input) (Source, error) {
		for !bytes.Contains(in.Bytes(), []byte("\n")) {
			if err := in.More(); err != nil {
				return Source{}, FormatErrorf("a line without an end")
			}
		}
		line, _, _ := bytes.Cut(in.Bytes(), []byte("\n"))
		line = bytes.Clone(line)
		in.Take(len(line) + 1)
		var w Writer
		w.Session(&Session{Version: Version, Origin: line})
		session := bytes.Clone(w.Bytes())
		w.Reset()
		cut := string(line) == "Fcut"
		w.End(&End{Cut: cut, Origin: []byte("rest")})
		records := [][]byte{session, w.Bytes()}
		s := Source{Next: func() ([]byte, error) {
			if len(records) == 0 {
				return nil, io.EOF
			}
			rec := records[0]
			records = records[1:]
			return rec, nil
		}}
		if cut {
			s.Cut = "in two"
		}
		return s, nil
	},
	Policy: func(origin []byte) Policy {
		return Policy{Command: string(origin), Text: func(b []byte, ev *event.Event) []byte {
			return append(append(b, "text of "...), ev.Name...)
		}}
	},
}

func TestFormat(t *testing.T) {
	native, _ := sample(t)
	in := append([]byte("Fone\n"), native...)
	in = append(in, "Ftwo\nFcut\n"...)
	for name, source := range map[string]io.Reader{"at once": bytes.NewReader(in), "byte by byte": iotest.OneByteReader(bytes.NewReader(in))} {
		r := NewReader(source, lines)
		var commands, ends []string
		for {
			rec, err := r.Next()
			if err != nil {
				if !errors.Is(err, ErrIncomplete) || err.Error() != "the capture was cut short: in two" {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			switch rec.Type {
			case TypeSession:
				s, err := rec.Session()
				if err != nil {
					t.Fatal(err)
				}
				commands = append(commands, s.Policy.Command)
				want := "text of x"
				if s.Origin == nil {
					want = `"/a"`
				}
				ev := &event.Event{Kind: event.Lookup([]byte("dlopen")), Name: []byte("x")}
				ev.Fields[0] = event.Value{Type: event.Text, Text: []byte("/a")}
				if got := string(s.Policy.AppendText(nil, ev)); got != want {
					t.Errorf("%s: the text of an event is %s, want %s", name, got, want)
				}
			case TypeEnd:
				e, _ := rec.End()
				ends = append(ends, string(e.Origin))
			}
		}
		if got := strings.Join(commands, " "); got != "Fone  Ftwo Fcut" {
			t.Errorf("%s: the policies are of %q", name, got)
		}
		if got := strings.Join(ends, " "); got != "rest  rest rest" {
			t.Errorf("%s: the ends have the origins %q", name, got)
		}
	}
}

// An Origin whose format the Reader does not know is kept, and changes nothing.
func TestFormatUnknown(t *testing.T) {
	b := build(t, func(w *Writer) {
		w.Session(&Session{Version: Version, Origin: []byte("Gone")})
		w.End(&End{})
	})
	r := NewReader(bytes.NewReader(b), lines)
	rec, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	s, err := rec.Session()
	if err != nil || string(s.Origin) != "Gone" || s.Policy.Text != nil || s.Policy.Command != "" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestFormatErrors(t *testing.T) {
	_, err := readAll(NewReader(strings.NewReader("Fxxx"), lines))
	var format *FormatError
	if !errors.As(err, &format) || err.Error() != "a line without an end" {
		t.Errorf("alone: %v", err)
	}
	_, err = readAll(NewReader(strings.NewReader("Fx\nFxxx"), lines))
	if !errors.Is(err, ErrIncomplete) || err.Error() != "the stream is broken at byte 3: a line without an end" {
		t.Errorf("behind another session: %v", err)
	}
	_, err = readAll(NewReader(strings.NewReader("Fx\n")))
	if !errors.As(err, &format) || err.Error() != `the input is not a viv stream: "Fx\n" is not the beginning of a record` {
		t.Errorf("without the format: %v", err)
	}
}

// Keys that only a format knows are written, and found again.
func TestExtraKeys(t *testing.T) {
	rec := parsed(t, build(t, func(w *Writer) {
		w.Event(sampleEvent(), SetShortUint("index", 7), SetBytes("raw_x", []byte("abc")))
	}))
	if n, ok := rec.Uint("index"); n != 7 || !ok {
		t.Errorf("index is %d, %v", n, ok)
	}
	if b, ok := rec.Bytes("raw_x"); string(b) != "abc" || !ok {
		t.Errorf("raw_x is %q, %v", b, ok)
	}
	if _, ok := rec.Uint("raw_x"); ok {
		t.Error("raw_x is a number")
	}
	if _, ok := rec.Bytes("none"); ok {
		t.Error("there is a key that nobody wrote")
	}
	if got, want := string(AppendJSON(nil, rec)), `"flags":32768,"index":7,"raw_x":{"base64":"YWJj"}}`; !strings.HasSuffix(got, want) {
		t.Errorf("%s does not end with %s", got, want)
	}
}
