package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// The cases of testdata/NAME.tree, before viv-spans.
var cases = map[string]func() *script{
	// The thread's fork has no process; its events and methods stand at top
	// level, and the child of a worker under the fork.
	"threads": func() *script {
		s := newScript(100).at(5)
		s.open(100, 100, "/before").start(100, 100, "serve").fork(100, 100, 100, 101)
		s.open(100, 101, "/worker").start(100, 101, "work").fork(100, 101, 200, 200)
		s.open(100, 100, "/in serve").open(200, 200, "/child").stop(100, 101, "work")
		s.stop(100, 100, "serve").open(200, 200, "/late child").open(100, 101, "/worker again")
		return s.open(100, 100, "/after").event(100, 101, event.ProcExit, "exit_code", 0).end()
	},
	// Children of children, each under the fork that made it, however late;
	// what a child does in methods and in other threads, too.
	"children": func() *script {
		s := newScript(100)
		s.start(100, 100, "spawn").fork(100, 100, 200, 200).stop(100, 100, "spawn")
		s.event(200, 200, event.ProcExec, "path", "/bin/sh", "argv", []string{"sh", "-c", "x"}, "comm", "sh")
		s.fork(200, 200, 300, 300).fork(200, 200, 200, 201).open(200, 201, "/other thread")
		s.start(200, 200, "inside").open(200, 200, "/in method").stop(200, 200, "inside").open(200, 200, "/behind it")
		s.open(300, 300, "/grandchild").event(200, 200, event.ProcExit, "signal", 9)
		s.fork(100, 100, 400, 400) // never does anything
		return s.open(300, 300, "/grandchild, orphaned").end()
	},
	// Nested methods stand in front of the first event that is not older.
	"methods": func() *script {
		s := newScript(100)
		s.start(100, 100, "a").open(100, 100, "/1").start(100, 100, "b").open(100, 100, "/2").start(100, 100, "c")
		s.event(100, 100, event.SpanRaise, "error", "E", "message", "m", "file", "/app/c.rb", "line", 9)
		s.stop(100, 100, "b").open(100, 100, "/3")
		s.event(100, 100, event.SpanStart, "name", "said so", "source", "marker").stop(100, 100, "said so")
		s.event(100, 100, event.SpanStart, "source", "usdt").open(100, 100, "/4")
		return s.end() // the last two are still open
	},
	// The hidden forks and execs place and name the processes.
	"hidden": func() *script {
		s := newScript(100)
		s.open(100, 100, "/1").event(100, 100, event.ProcFork, "child_pid", 200, "child_tid", 200, "hidden", true).open(100, 100, "/2")
		s.event(200, 200, event.ProcExec, "path", "/bin/quiet", "hidden", true)
		s.event(200, 200, event.ProcFork, "child_pid", 300, "child_tid", 300, "hidden", true)
		s.event(200, 200, event.ProcFork, "child_pid", 400, "child_tid", 400, "hidden", true)
		s.event(400, 400, event.ProcExit, "hidden", true)
		return s.open(100, 100, "/3").open(300, 300, "/grandchild").open(100, 100, "/4").end()
	},
	"losses": func() *script {
		s := newScript(100).lost(1, "")
		s.open(100, 100, "/1").lost(2, "ring buffer full").start(100, 100, "a").lost(3, "no memory\n").stop(100, 100, "a")
		s.fork(100, 100, 200, 200).lost(4, "").open(200, 200, "/child").open(100, 100, "/2")
		return s.lost(18446744073709551615, "").end()
	},
	"only a loss": func() *script { return newScript(100).lost(7, "").end() },
	"empty":       func() *script { return newScript(100).end() },
	// Two targets, and a process of which nothing is known.
	"targets": func() *script {
		s := newScript(100, 500)
		return s.open(500, 500, "/b").open(100, 100, "/a").open(700, 700, "/stranger").open(500, 501, "/b's thread").end()
	},
	"stranger": func() *script {
		return newScript(100).open(100, 100, "/a").open(700, 701, "/thread of a stranger").open(700, 700, "/stranger").end()
	},
	// The pid is another process's later on.
	"pid reuse": func() *script {
		s := newScript(100)
		s.fork(100, 100, 200, 200).open(200, 200, "/first").event(200, 200, event.ProcExit)
		s.ids[200] = 77
		return s.fork(100, 100, 200, 200).open(200, 200, "/second").end()
	},
	// The events of a child come before its parent's fork.
	"overtaken": func() *script {
		s := newScript(100)
		s.ids[200] = 200 << 32
		return s.at(100).open(200, 200, "/child first").at(50).fork(100, 100, 200, 200).at(120).end()
	},
	"names": func() *script {
		s := newScript(100)
		s.event(100, 100, event.PathOpen, "path", "/1", "comm", "fresh")
		s.event(100, 101, event.PathOpen, "path", "/2", "comm", "worker")
		s.event(100, 100, event.ProcExec, "path", "/opt/no/such", "error", "ENOENT", "comm", "fresh")
		s.event(100, 100, event.ProcExec, "path", "/opt/a-very-long-program-name", "comm", "a-very-long-pro")
		return s.event(100, 100, event.PathOpen, "path", "/3", "comm", "a-very-long-pro").end()
	},
	"hostile text": func() *script {
		s := newScript(100)
		s.event(100, 100, event.PathOpen, "path", "/\x1b[2J\n\xff", "comm", "\x1b]0;x\a\xff")
		s.event(100, 100, event.SpanStart, "name", "a\u202eb\n\x00", "file", "/x\x1b/\u2028.rb", "line", -4)
		return s.event(100, 100, event.Dlopen, "path", "lib.so", "error", "E\n").end()
	},
	"two sessions": func() *script {
		return newScript(100).open(100, 100, "/one").end().at(0).session(100).open(100, 100, "/two").end()
	},
	// No end: what is there is drawn.
	"cut": func() *script {
		return newScript(100).open(100, 100, "/1").start(100, 100, "a").open(100, 100, "/2").at(1000).fork(100, 100, 200, 200)
	},
	"outside the session": func() *script {
		s := newScript(100)
		s.now = ^uint64(0) - 999 // 1 ms before the start
		return s.open(100, 100, "/early").at(50).open(100, 100, "/in time").end()
	},
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + strings.ReplaceAll(name, " ", "-")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("differs from %s (-update writes it):\n%s", file, d)
	}
}

func TestGolden(t *testing.T) {
	for name, write := range cases {
		t.Run(name, func(t *testing.T) {
			raw := write().bytes()
			golden(t, name+".tree", drawn(t, withSpans(t, raw)))
			for _, b := range [][]byte{raw, withSpans(t, raw)} {
				checkEvents(t, b)
			}
		})
	}
}

// A stream that did not go through viv-spans is drawn by its ids, and said to
// be one.
func TestUnspanned(t *testing.T) {
	raw := cases["children"]().bytes()
	golden(t, "unspanned.tree", drawn(t, raw))
	for _, draw := range []func(io.Writer, *stream.Reader) (Result, error){
		func(w io.Writer, r *stream.Reader) (Result, error) { return Draw(w, r, false) }, DrawJSON, Flat,
	} {
		for n, b := range [][]byte{withSpans(t, raw), raw} {
			res, err := draw(io.Discard, stream.NewReader(bytes.NewReader(b)))
			if err != io.EOF || res.Unspanned != n {
				t.Errorf("unspanned sessions: %d, want %d (%v)", res.Unspanned, n, err)
			}
		}
	}
}

func TestFlat(t *testing.T) {
	var out bytes.Buffer
	if _, err := Flat(&out, stream.NewReader(bytes.NewReader(withSpans(t, cases["methods"]().bytes())))); err != io.EOF {
		t.Fatal(err)
	}
	golden(t, "methods.flat", out.String())
}

func TestJSON(t *testing.T) {
	for _, name := range []string{"losses", "hostile text", "cut"} {
		var out, pretty bytes.Buffer
		if _, err := DrawJSON(&out, stream.NewReader(bytes.NewReader(withSpans(t, cases[name]().bytes())))); err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
			t.Fatal(err)
		}
		if err := json.Indent(&pretty, out.Bytes(), "", " "); err != nil {
			t.Fatalf("%v in %s", err, &out)
		}
		golden(t, name+".json", pretty.String())
	}
}

func TestColor(t *testing.T) {
	var out bytes.Buffer
	b := withSpans(t, cases["hostile text"]().bytes())
	if _, err := Draw(&out, stream.NewReader(bytes.NewReader(b)), true); err != io.EOF {
		t.Fatal(err)
	}
	golden(t, "color.tree", out.String())
	bare := out.String()
	for _, c := range []string{colorOff, colorName, colorHigh, colorLost, colorProcess} {
		bare = strings.ReplaceAll(bare, c, "")
	}
	if d := cmp.Diff(drawn(t, b), bare); d != "" {
		t.Errorf("colours change the text:\n%s", d)
	}
}

// A hidden method start and stop in a thread's own span part its interval, as
// the method did that viv-filter took out.
func TestHiddenMethod(t *testing.T) {
	s := newScript(100)
	thread := stream.Span{SpanID: 5, Kind: stream.SpanThread, PID: 100, TID: 100, StartKtimeNS: start}
	s.ids[100] = 5
	s.w.SpanOpen(&thread)
	s.open(100, 100, "/1").event(100, 100, event.SpanStart, "hidden", true)
	s.at(50).event(100, 100, event.SpanStop, "hidden", true).open(100, 100, "/2")
	thread.EndKtimeNS = start + 100_000
	s.w.Span(&thread)
	golden(t, "hidden-method.tree", drawn(t, s.end().bytes()))
}
