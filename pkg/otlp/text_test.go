package otlp

import (
	"strings"
	"testing"
	"unicode/utf8"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Bytes that are not UTF-8 are escaped, each for itself, and nothing else is.
func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"na\u00efve \u65e5\u672c": "na\u00efve \u65e5\u672c",
		"a\x00\x1b\n\\":           "a\x00\x1b\n\\",
		"\ufffd":                  "\ufffd", // may be in a name, too
		"\xff":                    `\xFF`,
		"a\xffb\xfe":              `a\xFFb\xFE`,
		"\xc3\xa9\xc3":            "\u00e9" + `\xC3`, // cut
		"\xe6\x97":                `\xE6\x97`,
		"\xed\xa0\x80":            `\xED\xA0\x80`, // a surrogate
		"\xc0\xaf":                `\xC0\xAF`,     // a slash, too long
		"\xf4\x90\x80\x80":        `\xF4\x90\x80\x80`,
	} {
		got := valid(in)
		if got != want || !utf8.ValidString(got) {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestCutText(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 5, "abc"}, {"abc", 3, "abc"}, {"abc", 2, "ab"}, {"abc", 0, ""},
		{"a\u00e9", 2, "a"}, {"\u65e5\u672c", 5, "\u65e5"}, {"\u65e5\u672c", 3, "\u65e5"}, {"\U0001f600x", 3, ""},
		{"\x80\x80\x80\x80\x80", 4, "\x80\x80\x80\x80"},
	} {
		if got := cut(test.in, test.n); got != test.want {
			t.Errorf("the first %d of %q are %q, want %q", test.n, test.in, got, test.want)
		}
	}
}

// Every text of an export is UTF-8, wherever it comes from.
func TestTextEverywhere(t *testing.T) {
	const bad, want = "x\xffy\u00e9", `x\xFFy` + "\u00e9"
	s := newScript(func(s *stream.Session) {
		s.Host.Name, s.Command = bad, []string{bad}
		s.Missing = map[string]string{bad: bad}
		s.Processes = []stream.Process{{PID: pid, Path: bad, Argv: []string{bad}}}
	})
	m := s.method(3, bad)
	m.File = bad
	s.open(m)
	s.event(1, event.SockConnect, 3, all(set("path", bad), func(ev *event.Event) { ev.Comm = []byte(bad) }))
	s.event(2, event.ProcExec, 3, all(set("path", bad), set("argv", []string{bad})))
	m.Raised = true
	s.event(3, event.SpanRaise, 3, all(set("error", bad), set("message", bad), set("file", bad)))
	s.close(m, 5)
	e := exportScript(t, s.finish(9), Options{Resource: map[string]string{bad: bad}})
	same(t, "name", want, e.spans[3].Name())
	same(t, "status", want+": "+want, e.spans[3].Status().Message())
	same(t, "own attribute", want, e.resources[3][want])
	same(t, "host", want, e.resources[3]["host.name"])
	same(t, "arguments", []any{want}, e.spans[1].Attributes().AsRaw()["process.command_args"])
	same(t, "missing", []any{want + ": " + want}, e.spans[1].Attributes().AsRaw()["viv.missing"])
	same(t, "file", want, e.spans[3].Attributes().AsRaw()["code.file.path"])
	connect := e.spans[3].Events().At(0).Attributes().AsRaw()
	same(t, "comm", want, connect["process.command"])
	same(t, "address", want, connect["network.peer.address"])
	for _, b := range e.batches {
		text, err := b.JSON()
		if err != nil || !utf8.Valid(text) || strings.ContainsRune(string(text), utf8.RuneError) {
			t.Errorf("%v, %s", err, text)
		}
	}
}

// In a capture two processes may have one span id. viv-spans gives the second
// one's span another; each has what its own events say.
func TestSharedSpanID(t *testing.T) {
	kid := func(ev *event.Event) { ev.PID, ev.TID, ev.Comm = 200, 200, []byte("kid") }
	worker := func(ev *event.Event) { ev.PID, ev.TID, ev.Comm = 200, 201, []byte("worker") }
	build := func(mainEnds bool) []byte {
		s := newScript()
		s.event(1, event.PathOpen, 2, set("path", "/main"))
		child := stream.Span{SpanID: 5, ParentSpanID: 2, Kind: stream.SpanThread, Name: "kid", PID: 200, TID: 200}
		thread := stream.Span{SpanID: 6, ParentSpanID: 5, Kind: stream.SpanThread, Name: "worker", PID: 200, TID: 201}
		s.open(child)
		s.open(thread)
		m := s.method(7, "K#k")
		m.PID, m.TID, m.ParentSpanID = 200, 200, 5
		s.open(m)
		if mainEnds {
			s.close(stream.Span{SpanID: 2, ParentSpanID: 1, Kind: stream.SpanThread, Name: "sh"}, 1)
		}
		s.event(2, event.PathOpen, 7, all(kid, set("path", "/kid")))
		s.event(2, event.PathOpen, 6, all(worker, set("path", "/worker")))
		s.close(m, 3)
		s.event(4, event.PathOpen, 7, all(kid, set("path", "/late")))
		s.event(4, event.ProcExit, 5, all(kid, set("exit_code", 3)))
		s.event(4, event.ProcExit, 6, all(worker, set("exit_code", 4)))
		s.close(thread, 5)
		s.close(child, 5)
		return s.finish(9)
	}
	for _, mainEnds := range []bool{false, true} {
		e := exportScript(t, build(mainEnds), Options{})
		for id, want := range map[uint64][]any{2: {"sh", nil}, 5: {"kid", int64(3)}, 6: {"worker", int64(4)}} {
			if id == 2 && mainEnds {
				continue // finish ends it a second time
			}
			a := e.spans[id].Attributes().AsRaw()
			same(t, "command and exit code", want, []any{a["process.command"], a["process.exit.code"]})
		}
		late := uint64(5) // of the kid, not of main, whose id it has
		if mainEnds {
			late = 1 // nothing says any more whose id it is
		}
		same(t, "late event", 1, e.spans[late].Events().Len())
		same(t, "threads left", 0, len(e.threads))
	}
}
