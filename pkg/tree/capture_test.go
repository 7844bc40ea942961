package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/filter"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

// newCapture begins a script of a capture whose session lasts from 0 to 1000 us.
func newCapture(observer, mainTID uint32) *script {
	s := &script{ids: map[uint32]uint64{}}
	s.w = stream.NewWriter(&s.buf)
	s.w.Session(&stream.Session{Version: stream.Version, StartKtimeNS: start, ObserverPID: observer, MainTID: mainTID})
	return s
}

// drawCapture draws what the script wrote as a capture, without the events that
// the options refuse.
func drawCapture(t testing.TB, s *script, o filter.Options) string {
	t.Helper()
	s.w.End(&stream.End{StopKtimeNS: start + 1000*1000})
	ended := func(err error) {
		if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
			t.Fatal(err)
		}
	}
	sel, _, err := o.Selection()
	if err != nil {
		t.Fatal(err)
	}
	var capture, spans, thin, out bytes.Buffer
	all := filter.New(filter.Selection{})
	ended(filter.Run(stream.NewReader(bytes.NewReader(s.bytes())), all, vivraw.NewWriter(&capture)))
	ended(span.New(stream.NewWriter(&spans), false).Run(stream.NewReader(&capture, vivraw.Format)))
	ended(filter.Run(stream.NewReader(&spans, vivraw.Format), filter.New(sel), filter.Msgpack(&thin)))
	_, err = Draw(&out, stream.NewReader(&thin, vivraw.Format), false)
	ended(err)
	return out.String()
}

var (
	everything = filter.Options{All: true}
	opens      = filter.Options{Events: []string{"path_open"}}
)

// A process has the name of its main thread, not that of another one.
func TestCaptureNames(t *testing.T) {
	worker := func(s *script) *script {
		return s.event(100, 106, event.PathOpen, "path", "/worker", "comm", "worker")
	}
	mainThread := func(s *script, comm string) *script {
		return s.event(100, 105, event.PathOpen, "path", "/main", "comm", comm)
	}
	leader := func(s *script) *script {
		return s.event(100, 100, event.PathOpen, "path", "/leader", "comm", "leader")
	}
	chmod := func(s *script) *script {
		return s.event(100, 106, event.FileChmod, "mode", 0o600, "path", "/x", "comm", "worker")
	}
	for name, test := range map[string]struct {
		s    *script
		o    filter.Options
		want string
	}{
		"main before worker":           {worker(mainThread(newCapture(100, 105), "app")), everything, "app"},
		"worker before main":           {mainThread(worker(newCapture(100, 105)), "app"), everything, "app"},
		"main and leader":              {leader(worker(mainThread(newCapture(100, 105), "app"))), everything, "app"},
		"leader and worker":            {worker(leader(newCapture(100, 105))), everything, "leader"},
		"main renames itself":          {worker(mainThread(mainThread(newCapture(100, 105), "app"), "app 2")), everything, "app 2"},
		"main has the process's tid":   {worker(leader(newCapture(100, 100))), everything, "leader"},
		"only a worker was seen":       {worker(newCapture(100, 105)), everything, "ruby"},
		"no main_tid":                  {worker(leader(newCapture(100, 0))), everything, "leader"},
		"only a worker's event stays":  {chmod(mainThread(newCapture(100, 105), "app")), filter.Options{Events: []string{"file_chmod"}}, "app"},
		"an exec by the first thread":  {leader(newCapture(100, 105)).event(100, 100, event.ProcExec, "path", "/bin/sh"), everything, "sh"},
		"an exec, then the new thread": {leader(mainThread(newCapture(100, 105), "app").event(100, 100, event.ProcExec, "path", "/bin/sh", "comm", "sh")), everything, "leader"},
	} {
		out := drawCapture(t, test.s, test.o)
		if want := "[PROC pid=100 comm=" + test.want + "]"; !strings.Contains(out, want) {
			t.Errorf("%s: no %s in\n%s", name, want, out)
		}
	}
}

// A child stands in the span that it was forked in, whether its fork is shown or
// not.
func TestCaptureChildren(t *testing.T) {
	capture := func() *script {
		s := newCapture(100, 100)
		s.open(100, 100, "/gap 1").fork(100, 100, 200, 200)
		s.start(100, 100, "a").open(100, 100, "/in a").fork(100, 100, 201, 201).stop(100, 100, "a")
		s.open(200, 200, "/child of gap 1").fork(200, 200, 300, 300)
		s.open(100, 100, "/gap 2").fork(100, 100, 202, 202)
		s.start(100, 100, "b").start(100, 100, "c").fork(100, 100, 203, 203).stop(100, 100, "c")
		for child, path := range map[uint32]string{201: "/child of a", 202: "/child of gap 2", 203: "/child of c"} {
			s.open(child, child, path)
		}
		s.stop(100, 100, "b").open(100, 100, "/gap 3")
		return s.open(300, 300, "/grandchild")
	}
	for name, o := range map[string]filter.Options{"forks": everything, "no forks": opens} {
		above := enclosing(drawCapture(t, capture(), o))
		for path, want := range map[string]string{
			"/child of gap 1": "/gap 1", "/child of gap 2": "/gap 2", "/child of a": "SPAN tid=100 a ", "/child of c": "SPAN tid=100 c ",
		} {
			span := ""
			for _, line := range above[path] {
				if strings.HasPrefix(line, "[SPAN") {
					span = line
					break
				}
			}
			if strings.HasPrefix(want, "/") { // the gap with that event
				if gap := above[want]; len(gap) == 0 || span != gap[0] {
					t.Errorf("%s: %s stands in %q, want that of %s, %q", name, path, span, want, gap)
				}
			} else if !strings.Contains(span, want) {
				t.Errorf("%s: %s stands in %q, want %s", name, path, span, want)
			}
		}
		if g := strings.Join(above["/grandchild"], "\n"); !strings.Contains(g, "[PROC pid=200 ") || !strings.Contains(g, "[PROC pid=300 ") {
			t.Errorf("%s: the grandchild stands in %s", name, g)
		}
	}
}

// enclosing returns for each path in a tree the lines that it stands under, the
// nearest first. To tell gaps apart, a line has its number behind it.
func enclosing(tree string) map[string][]string {
	above := map[string][]string{}
	var stack []string
	for i, line := range strings.Split(tree, "\n") {
		depth, text := depthOf(line)
		if depth > len(stack) {
			depth = len(stack)
		}
		stack = append(stack[:depth], fmt.Sprintf("%s line %d", text, i))
		if m := regexp.MustCompile(`path_open .*→  "([^"]*)"`).FindStringSubmatch(text); m != nil {
			var up []string
			for j := depth - 1; j >= 0; j-- {
				up = append(up, stack[j])
			}
			above[m[1]] = up
		}
	}
	return above
}

var branch = regexp.MustCompile(`^(?:├─ |└─ |│  |   )*`)

func depthOf(line string) (int, string) {
	prefix := branch.FindString(line)
	return len([]rune(prefix)) / 3, line[len(prefix):]
}

// TestCaptureTimes: whatever a capture holds, no line has a time before its
// span's start, and among siblings the times of losses do not go back.
func TestCaptureTimes(t *testing.T) {
	for seed := range uint64(300) {
		out := drawCapture(t, randomCapture(seed), []filter.Options{everything, opens, {Severities: []string{"medium"}, Exclude: []string{"proc_fork"}}}[seed%3])
		losses := map[int]float64{} // by depth, the newest of the siblings
		for _, line := range strings.Split(out, "\n") {
			depth, text := depthOf(line)
			for d := range losses {
				if d > depth {
					delete(losses, d)
				}
			}
			for _, mark := range []string{"@+", "dur="} {
				_, at, ok := strings.Cut(text, mark)
				if !ok {
					continue
				}
				us := micros(t, at)
				if us < 0 {
					t.Fatalf("seed %d: %s", seed, line)
				}
				if strings.HasPrefix(text, "DROP") {
					if us < losses[depth] {
						t.Fatalf("seed %d: behind a loss at @+%vus: %s\n%s", seed, losses[depth], line, out)
					}
					losses[depth] = us
				}
			}
		}
	}
}

func micros(t *testing.T, s string) float64 {
	t.Helper()
	m := regexp.MustCompile(`^(-?[\d.]+)(us|ms)`).FindStringSubmatch(s)
	if m == nil {
		t.Fatalf("no time: %s", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if m[2] == "ms" {
		n *= 1000
	}
	return n
}

// randomCapture has some threads and processes that do things before, in and
// after the session, with losses at any event.
func randomCapture(seed uint64) *script {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newCapture(100, 100)
	tids := []uint32{100}
	for range 60 {
		tid := tids[rng.IntN(len(tids))]
		s.at(uint64(rng.IntN(1400))) // the importer sorts
		if rng.IntN(4) == 0 {
			s.lost(1+rng.Uint64N(9), "ring buffer full")
		}
		name := []string{"a", "b", "c"}[rng.IntN(3)]
		switch rng.IntN(8) {
		case 0, 1:
			s.start(tid, tid, name)
		case 2, 3:
			s.stop(tid, tid, name)
		case 4:
			child := uint32(200 + len(tids))
			tids = append(tids, child)
			s.fork(tid, tid, child, child)
		case 5:
			s.event(tid, tid, event.ProcExit)
		default:
			s.open(tid, tid, []string{"/etc/a", "/tmp/b"}[rng.IntN(2)])
		}
	}
	return s
}

// Events before the session's start and after its stop stand at its edges.
func TestCaptureOutsideSession(t *testing.T) {
	s := newCapture(100, 100)
	s.at(5).start(100, 100, "n").at(15).open(100, 100, "/inside").at(20).stop(100, 100, "n")
	s.at(1200).start(100, 100, "late").at(1300).open(100, 100, "/late").at(1400).stop(100, 100, "late")
	s.at(1500).open(100, 100, "/after all")
	out := drawCapture(t, s, everything)
	for path, want := range map[string]string{"/inside": "10.0us", "/late": "0.0us", "/after all": "0.0us"} {
		re := regexp.MustCompile(regexp.QuoteMeta(`"`+path+`"`) + `\s+@\+` + regexp.QuoteMeta(want) + `\n`)
		if !re.MatchString(out) {
			t.Errorf("%s is not at @+%s:\n%s", path, want, out)
		}
	}
}

// A method that starts after its thread's exit is drawn, with what happens in it,
// as vivarium does.
func TestCaptureMethodAfterExit(t *testing.T) {
	s := newCapture(100, 100)
	s.at(10).open(100, 200, "/before").at(20).event(100, 200, event.ProcExit)
	s.at(30).start(100, 200, "a").at(40).open(100, 200, "/in a").at(50).event(100, 200, event.ProcExit)
	s.at(60).stop(100, 200, "a").at(70).open(100, 200, "/behind a")
	out := drawCapture(t, s, everything)
	above := enclosing(out)
	for path, want := range map[string]string{"/before": "[SPAN tid=200 <no-span>", "/in a": "[SPAN tid=200 a ", "/behind a": "[SPAN tid=200 <no-span>"} {
		if len(above[path]) == 0 || !strings.HasPrefix(above[path][0], want) {
			t.Errorf("%s stands in %v, want %s...", path, above[path], want)
		}
	}
	for _, want := range []string{
		`[SPAN tid=200 <no-span>  dur=20.0us]`, `[SPAN tid=200 a  at=a.rb:3  dur=30.0us]`, `"/in a"                        @+10.0us`,
		`[SPAN tid=200 <no-span>  dur=10.0us]`, `"/behind a"                    @+10.0us`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}
