package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"vivarium/pkg/event"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// script writes a stream, one call per record.
type script struct {
	buf bytes.Buffer
	w   *stream.Writer
	now uint64 // us since the session's start
	ids map[uint32]uint64
}

const start = 1_000_000_000

func newScript(targets ...uint32) *script {
	s := &script{ids: map[uint32]uint64{}}
	s.w = stream.NewWriter(&s.buf)
	return s.session(targets...)
}

func (s *script) session(targets ...uint32) *script {
	head := stream.Session{
		Version: stream.Version, StartUnixNS: 1_700_000_000_123_456_789, StartKtimeNS: start,
		TraceID: [16]byte{1: 7, 15: 9}, Targets: targets,
	}
	if len(targets) > 0 {
		head.MainTID = targets[0]
	}
	s.w.Session(&head)
	return s
}

// at sets the time in us.
func (s *script) at(us uint64) *script { s.now = us; return s }

// event writes an event of a thread; fields are name, value pairs.
func (s *script) event(pid, tid uint32, id event.ID, fields ...any) *script {
	k := &event.Kinds[id]
	ev := event.Event{Kind: k, Name: []byte(k.Name), KtimeNS: start + 1000*s.now, PID: pid, TID: tid, Comm: []byte("app")}
	if s.ids[tid] == 0 {
		s.ids[tid] = uint64(tid) << 32
	}
	ev.SpanID = s.ids[tid]
	for i := 0; i < len(fields); i += 2 {
		switch name := fields[i].(string); name {
		case "comm":
			ev.Comm = []byte(fields[i+1].(string))
			continue
		case "error":
			ev.Error = []byte(fields[i+1].(string))
			continue
		case "hidden":
			ev.Hidden = true
			continue
		}
		for j, f := range k.Fields {
			if f.Name == fields[i] {
				v := &ev.Fields[j]
				v.Type = f.Type
				switch x := fields[i+1].(type) {
				case int:
					v.Num = uint64(x)
				case string:
					v.Text = []byte(x)
				case []string:
					for _, a := range x {
						v.List = append(v.List, []byte(a))
					}
				}
			}
		}
	}
	s.w.Event(&ev)
	s.now += 10
	return s
}

func (s *script) open(pid, tid uint32, path string) *script {
	return s.event(pid, tid, event.PathOpen, "path", path)
}

func (s *script) start(pid, tid uint32, name string) *script {
	return s.event(pid, tid, event.SpanStart, "name", name, "file", "/app/"+name+".rb", "line", 3, "source", "usdt")
}

func (s *script) stop(pid, tid uint32, name string) *script {
	return s.event(pid, tid, event.SpanStop, "name", name)
}

func (s *script) fork(pid, tid, child, childTID uint32) *script {
	if s.ids[childTID] == 0 {
		s.ids[childTID] = uint64(childTID) << 32
	}
	return s.event(pid, tid, event.ProcFork, "child_pid", int(child), "child_tid", int(childTID), "child_span_id", int(s.ids[childTID]))
}

func (s *script) lost(n uint64, cause string) *script {
	s.w.Lost(&stream.Lost{KtimeNS: start + 1000*s.now, Count: n, Cause: cause})
	return s
}

func (s *script) end() *script {
	s.w.End(&stream.End{StopUnixNS: 1_700_000_000_123_456_789 + 1000*int64(s.now), StopKtimeNS: start + 1000*s.now, Reason: "exited"})
	return s
}

func (s *script) bytes() []byte {
	s.w.Flush()
	return s.buf.Bytes()
}

// withSpans is what viv-spans makes of a stream.
func withSpans(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	builder := span.New(stream.NewWriter(&out), false)
	if err := builder.Run(stream.NewReader(bytes.NewReader(b))); err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
		t.Fatal(err)
	}
	return out.Bytes()
}

func drawn(t testing.TB, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := Draw(&out, stream.NewReader(bytes.NewReader(b)), false); err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
		t.Fatal(err)
	}
	return out.String()
}

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
	for _, c := range []string{plain, bold, alarming, striking, structure} {
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

// checkEvents checks that a drawn stream shows each event once, that all lines
// are harmless, and that all formats agree.
func checkEvents(t *testing.T, b []byte) {
	t.Helper()
	want, losses := 0, 0
	r := stream.NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		switch rec.Type {
		case stream.TypeEvent:
			ev, err := rec.Event()
			if err == nil && !ev.Hidden && !is(ev, event.SpanStart) && !is(ev, event.SpanStop) {
				want++
			}
		case stream.TypeLost:
			losses++
		}
	}
	tree := drawn(t, b)
	checkHarmless(t, tree)
	if got := strings.Count(tree, " → ") - strings.Count(tree, "─ DROP "); got != want {
		t.Errorf("%d events are shown of %d:\n%s", got, want, tree)
	}
	if got := strings.Count(tree, "─ DROP "); got != losses {
		t.Errorf("%d losses are shown of %d:\n%s", got, losses, tree)
	}
	var doc bytes.Buffer
	DrawJSON(&doc, stream.NewReader(bytes.NewReader(b)))
	checkHarmless(t, doc.String())
	if got := bytes.Count(doc.Bytes(), []byte(`"type":"event"`)); got != want {
		t.Errorf("%d events are in the JSON of %d", got, want)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(doc.Bytes()), []byte{'\n'}) {
		if len(line) > 0 && !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
	var flat bytes.Buffer
	Flat(&flat, stream.NewReader(bytes.NewReader(b)))
	checkHarmless(t, flat.String())
}

func checkHarmless(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, r := range s {
		if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("%U in %q", r, s)
			return
		}
	}
}

// TestNothingVanishes: random programs, whole and without some of their forks,
// exits and span records.
func TestNothingVanishes(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := newScript(1)
		tasks := [][2]uint32{{1, 1}}
		for next := uint32(2); len(tasks) < 40 && next < 120; {
			task := tasks[rnd.IntN(len(tasks))]
			s.now += rnd.Uint64N(5)
			switch rnd.IntN(9) {
			case 0:
				child := [2]uint32{next, next}
				if rnd.IntN(2) == 0 {
					child[0] = task[0] // a thread
				}
				if rnd.IntN(4) > 0 {
					s.fork(task[0], task[1], child[0], child[1])
				}
				tasks = append(tasks, child)
				next++
			case 1, 2:
				s.start(task[0], task[1], string(rune('a'+rnd.IntN(4))))
			case 3:
				s.stop(task[0], task[1], string(rune('a'+rnd.IntN(4))))
			case 4:
				s.lost(rnd.Uint64N(9), "")
			case 5:
				if rnd.IntN(3) == 0 {
					s.event(task[0], task[1], event.ProcExit, "exit_code", 1)
				}
			case 6:
				s.event(task[0], task[1], event.ProcExec, "path", "/bin/x", "hidden", true)
			default:
				s.open(task[0], task[1], fmt.Sprint("/", next))
			}
			if rnd.IntN(8) == 0 {
				next++
			}
		}
		raw := s.end().bytes()
		checkEvents(t, raw)
		whole := withSpans(t, raw)
		checkEvents(t, whole)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		// As a foreign program might write it: records are missing.
		var thin bytes.Buffer
		w := stream.NewWriter(&thin)
		r := stream.NewReader(bytes.NewReader(whole))
		for {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if rec.Type == stream.TypeSpanOpen || rec.Type == stream.TypeSpan || rec.Type == stream.TypeEvent {
				if rnd.IntN(4) == 0 {
					continue
				}
			}
			w.Raw(rec.Raw)
		}
		w.Flush()
		checkEvents(t, thin.Bytes())
		if t.Failed() {
			t.Fatalf("seed %d, thinned", seed)
		}
	}
}

func TestDuration(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0.0us", 49: "0.0us", 50: "0.1us", 51: "0.1us", 150: "0.2us", 250: "0.2us", 50_550: "50.6us",
		646_450: "646.4us", 482_050: "482.0us", 161_950: "162.0us", 999_949: "999.9us", 999_999: "1000.0us",
		1_000_000: "1.0ms", 1_050_000: "1.0ms", 1_150_000: "1.2ms", 3_600_000_000_000: "3600000.0ms",
		-1_000: "-1.0us", -5_000_000: "-5.0ms", -40: "-0.0us", -9223372036854775808: "-9223372036854.8ms",
	} {
		if got := string(appendDuration(nil, ns)); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
	for ns, want := range map[int64]string{0: "0.000s", 500_000: "0.000s", 1_500_000: "0.002s", 2_500_000: "0.002s", 61_000_000_000: "61.000s", -1_000_000: "-0.001s"} {
		if got := string(appendSeconds(nil, ns)); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
}

// FuzzDraw draws records that no program of ours would write in that order,
// eight bytes of the input making one of them.
func FuzzDraw(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x01\x02\x03\x04\x05\x03\x01\x01\x01\x02\x03\x04\x05\x05\x01\x01\x01\x02\x03\x04\x05"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var buf bytes.Buffer
		w := stream.NewWriter(&buf)
		w.Session(&stream.Session{Version: stream.Version, StartKtimeNS: start, Targets: []uint32{1}})
		for ; len(b) >= 8; b = b[8:] {
			id, parent, now := uint64(b[1]%8), uint64(b[2]%8), uint64(start+1000*int(b[3]))
			pid, tid := uint32(b[4]%4), uint32(b[5]%6)
			s := stream.Span{
				SpanID: id, ParentSpanID: parent, Name: string(b[6:7]), PID: pid, TID: tid, StartKtimeNS: now, EndKtimeNS: now + uint64(b[6]),
				Kind: []stream.SpanKind{stream.SpanSession, stream.SpanThread, stream.SpanMethod, stream.SpanMethod}[b[7]%4],
			}
			switch b[0] % 8 {
			case 0, 1:
				w.SpanOpen(&s)
			case 2:
				w.Span(&s)
			case 3:
				w.Lost(&stream.Lost{KtimeNS: now, Count: uint64(b[6])})
			case 4:
				if b[6] == 0 {
					w.End(&stream.End{StopKtimeNS: now})
					w.Session(&stream.Session{Version: stream.Version, Targets: []uint32{pid}})
				}
			default:
				k := &event.Kinds[event.ID(b[6])%event.NumKinds]
				ev := event.Event{Kind: k, Name: []byte(k.Name), PID: pid, TID: tid, KtimeNS: now, SpanID: id, ThreadSpanID: parent, Hidden: b[7]&1 > 0}
				if k == &event.Kinds[event.ProcFork] {
					ev.Fields[0] = event.Value{Type: event.Uint, Num: uint64(b[7] % 4)}
					ev.Fields[1] = event.Value{Type: event.Uint, Num: uint64(b[7] % 6)}
					ev.Fields[2] = event.Value{Type: event.Uint, Num: parent}
				}
				w.Event(&ev)
			}
		}
		w.Flush()
		checkEvents(t, buf.Bytes())
	})
}

func BenchmarkDraw(b *testing.B) {
	s := newScript(1)
	const events = 100_000
	for i := range uint32(events / 5) {
		s.start(1, 1, "a").open(1, 1, "/usr/lib/x86_64-linux-gnu/libcrypto.so.3").stop(1, 1, "a").fork(1, 1, i+10, i+10).open(i+10, i+10, "/etc/passwd")
	}
	data := withSpans(b, s.end().bytes())
	for name, draw := range map[string]func(io.Writer, *stream.Reader) (Result, error){
		"tree": func(w io.Writer, r *stream.Reader) (Result, error) { return Draw(w, r, false) }, "json": DrawJSON, "flat": Flat,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				draw(io.Discard, stream.NewReader(bytes.NewReader(data)))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}
