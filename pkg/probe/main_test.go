package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
	"vivarium/pkg/inherited"
	"vivarium/pkg/probe/launch"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

// A command is started by executing the test's own binary again, and from its
// main thread.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	launch.WaitToStart()
	if arg := os.Getenv(recordChild); arg != "" {
		if err := recordUnprivileged(arg); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if hooks := os.Getenv(checkChild); hooks != "" {
		os.Exit(check(Hooks(hooks)))
	}
	inherited.Set()
	os.Exit(m.Run())
}

// program is the path of a C program of testdata: of one built before, in the
// directory that VIV_TEST_PROGRAMS names (cc -O2 -static -pthread NAME.c LIBS,
// for machines without a compiler), else of one built now.
func program(t testing.TB, name string, libs ...string) string {
	t.Helper()
	if dir := os.Getenv("VIV_TEST_PROGRAMS"); dir != "" {
		return filepath.Join(dir, name)
	}
	built.Lock()
	defer built.Unlock()
	if path, ok := built.path[name]; ok {
		return path
	}
	dir, err := os.MkdirTemp("", "viv-test-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	args := append([]string{"-O2", "-Wall", "-static", "-pthread", "-o", path, "testdata/" + name + ".c"}, libs...)
	out, err := exec.Command("cc", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("cc %s.c: %v\n%s", name, err, out)
	}
	built.path[name] = path
	return path
}

var built = struct {
	sync.Mutex
	path map[string]string
}{path: map[string]string{}}

// seen is a stream that was read back.
type seen struct {
	session stream.Session
	events  []*event.Event
	lost    []stream.Lost
	clocks  []stream.Clock
	end     stream.End
	err     error             // how it ended; io.EOF: well
	raw     []byte            // all of it
	said    map[string]string // what the command printed as NAME=VALUE
	result  Result
}

// allEvents is every event that can be recorded.
func allEvents() map[event.ID]bool { return events(Recordable()...) }

func events(ids ...event.ID) map[event.ID]bool {
	m := map[event.ID]bool{}
	for _, id := range ids {
		m[id] = true
	}
	return m
}

// needRoot skips a test that watches anything.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to load BPF programs")
	}
}

// newProbe is New, closed when the test ends.
func newProbe(t testing.TB, opt Options) *Probe {
	t.Helper()
	needRoot(t)
	if opt.BufferSize == 0 {
		opt.BufferSize = 1 << 22
	}
	if opt.Events == nil {
		opt.Events = allEvents()
	}
	if opt.CommandStdout == nil {
		opt.CommandStdout = os.Stderr
	}
	p, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// record watches a command from start to end. It must exit with status 0.
func record(t testing.TB, opt Options, argv ...string) *seen {
	t.Helper()
	s := recordAny(t, opt, argv...)
	if s.result.Status != 0 {
		t.Fatalf("%s: exit status %d", argv[0], s.result.Status)
	}
	for _, l := range s.lost { // what goes past the hooks is a loss too, and a test may want it
		if l.Cause == "ring buffer full" && opt.BufferSize == 0 {
			t.Errorf("lost: %+v", l)
		}
	}
	return s
}

// recordAny is record for a command that may exit with any status.
func recordAny(t testing.TB, opt Options, argv ...string) *seen {
	t.Helper()
	stdout := tempFile(t)
	opt.Command, opt.CommandStdout = argv, stdout
	p := newProbe(t, opt)
	s := finish(t, context.Background(), p)
	text, err := os.ReadFile(stdout.Name())
	if err != nil {
		t.Fatal(err)
	}
	s.said = saidIn(string(text))
	return s
}

// saidIn is what a program printed as NAME=VALUE.
func saidIn(text string) map[string]string {
	said := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			said[name] = value
		}
	}
	return said
}

// finish records until the end and reads the stream back.
func finish(t testing.TB, ctx context.Context, p *Probe) *seen {
	t.Helper()
	out := tempFile(t)
	res, err := p.Record(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	s := readBack(t, raw)
	s.result = res
	if s.err != io.EOF {
		t.Fatalf("the stream ended with: %v", s.err)
	}
	if s.end.Events != uint64(len(s.events)) || res.Events != s.end.Events {
		t.Errorf("%d events in the stream, %d in its end, %d in the result", len(s.events), s.end.Events, res.Events)
	}
	var lost uint64
	for _, l := range s.lost {
		lost += l.Count
	}
	if s.end.Lost != lost || res.Lost != lost {
		t.Errorf("%d lost in the stream, %d in its end, %d in the result", lost, s.end.Lost, res.Lost)
	}
	return s
}

// readBack decodes a stream and checks what is true of every one: the session
// is first, each thread's events are in order, and each thread has one span,
// which is the one that its fork gave it.
func readBack(t testing.TB, raw []byte) *seen {
	t.Helper()
	s := &seen{raw: raw}
	r := stream.NewReader(bytes.NewReader(raw))
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for {
		rec, err := r.Next()
		if err != nil {
			s.err = err
			break
		}
		switch rec.Type {
		case stream.TypeSession:
			s.session, err = rec.Session()
			check(err)
		case stream.TypeEvent:
			ev, err := rec.Event()
			check(err)
			s.events = append(s.events, clone(ev))
		case stream.TypeLost:
			l, err := rec.Lost()
			check(err)
			s.lost = append(s.lost, l)
		case stream.TypeClock:
			c, err := rec.Clock()
			check(err)
			s.clocks = append(s.clocks, c)
		case stream.TypeEnd:
			s.end, err = rec.End()
			check(err)
		default:
			t.Errorf("record of type %v", rec.Type)
		}
	}
	last := map[uint64]uint64{}
	for i, ev := range s.events {
		if ev.KtimeNS < last[ev.SpanID] {
			t.Errorf("event %d of thread %d is older than the one before", i, ev.TID)
		}
		last[ev.SpanID] = ev.KtimeNS
		if ev.TraceID != s.session.TraceID {
			t.Errorf("event %d has another trace than the session", i)
		}
		// Only what was a target's from the start has no parent.
		if ev.PID == 0 || ev.TID == 0 || ev.SpanID == 0 || len(ev.Comm) == 0 && ev.PID == ev.TID || // a thread may have no name
			ev.ParentSpanID == 0 && !slices.Contains(s.session.Targets, ev.PID) {
			t.Errorf("event %d lacks an id: %s of %+v", i, eventtest.Show(ev), *ev)
		}
		if ev.KtimeNS < s.session.StartKtimeNS || s.err == io.EOF && ev.KtimeNS > s.end.StopKtimeNS {
			t.Errorf("event %d is not of the session's time", i)
		}
	}
	return s
}

func clone(ev *event.Event) *event.Event {
	c := *ev
	c.Name, c.Comm, c.Error = slices.Clone(ev.Name), slices.Clone(ev.Comm), slices.Clone(ev.Error)
	for i := range c.Fields {
		f := &c.Fields[i]
		f.Text = slices.Clone(f.Text)
		f.List = slices.Clone(f.List)
		for j := range f.List {
			f.List[j] = slices.Clone(f.List[j])
		}
	}
	return &c
}

// rows splits a recording of a program that marks its rows (see
// testdata/common.h) into what was seen of each.
func (s *seen) rows() map[string][]string {
	rows := map[string][]string{}
	row := ""
	for _, ev := range s.events {
		if ev.Hidden {
			continue
		}
		if ev.Kind == &event.Kinds[event.PathOpen] {
			if name, ok := strings.CutSuffix(filepath.Base(string(ev.Get("path").Text)), ".mark"); ok {
				row = name
				rows[row] = []string{}
				continue
			}
		}
		rows[row] = append(rows[row], eventtest.Show(ev))
	}
	return rows
}

// only leaves out the events of other kinds, but not the marks of rows.
func (s *seen) only(ids ...event.ID) *seen {
	c := *s
	c.events = slices.DeleteFunc(slices.Clone(s.events), func(ev *event.Event) bool {
		for _, id := range ids {
			if ev.Kind == &event.Kinds[id] {
				return false
			}
		}
		return !bytes.HasSuffix(ev.Get("path").Text, []byte(".mark"))
	})
	return &c
}

// row is what a program does under one mark, and what of it is to be seen.
// ${NAME} stands for what the program printed.
type row struct {
	name string
	want []string
}

// compareRows checks each row in a subtest.
func compareRows(t *testing.T, s *seen, table []row) {
	got := s.rows()
	for _, r := range table {
		t.Run(r.name, func(t *testing.T) {
			g, ok := got[r.name]
			if !ok {
				t.Fatal("the program did not get there")
			}
			compare(t, g, s.expand(r.want))
		})
		delete(got, r.name)
	}
	delete(got, "") // the program's preparations
	for name, events := range got {
		t.Errorf("%s: is in no table: %q", name, events)
	}
}

func (s *seen) expand(want []string) []string {
	all := []string{}
	for _, w := range want {
		all = append(all, os.Expand(w, func(name string) string { return s.said[name] }))
	}
	return all
}

func compare(t testing.TB, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	text := "seen (+), and what should have been (-):"
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			text += fmt.Sprintf("\n- %.500s", want[i])
		case i >= len(want):
			text += fmt.Sprintf("\n+ %.500s", got[i])
		case got[i] != want[i]:
			same := 0
			for same < min(len(got[i]), len(want[i])) && got[i][same] == want[i][same] {
				same++
			}
			text += fmt.Sprintf("\n  %.500s\nfrom byte %d on\n- %.500s\n+ %.500s", want[i], same, want[i][same:], got[i][same:])
		default:
			text += fmt.Sprintf("\n  %.500s", got[i])
		}
	}
	t.Error(text)
}

// threads gives each thread's events in their order. The threads are named
// after the tree of forks: the first to be seen is 0, its children 0.1, 0.2,
// ...; a fork shows the child's name, "thread" if it is one, and "?" for ids
// that do not fit the child's events.
func (s *seen) threads(t testing.TB) map[string][]string {
	t.Helper()
	type thread struct {
		name     string
		children int
		pid, tid uint32
		parent   uint64
	}
	bySpan := map[uint64]*thread{}
	all := map[string][]string{}
	roots := 0
	for _, ev := range s.events {
		th := bySpan[ev.SpanID]
		if th == nil {
			th = &thread{name: strconv.Itoa(roots), pid: ev.PID, tid: ev.TID, parent: ev.ParentSpanID}
			bySpan[ev.SpanID] = th
			roots++
		}
		if old := ev.Get("old_tid"); old.Type != event.None && uint32(old.Num) == th.tid {
			th.tid = ev.TID // an exec took the leader's id over
		}
		if ev.PID != th.pid || ev.TID != th.tid || ev.ParentSpanID != th.parent {
			t.Errorf("thread %s is pid %d tid %d under %x, but its event %q is of pid %d tid %d under %x",
				th.name, th.pid, th.tid, th.parent, eventtest.Show(ev), ev.PID, ev.TID, ev.ParentSpanID)
		}
		text := eventtest.Show(ev)
		if ev.Kind == &event.Kinds[event.ProcFork] {
			th.children++
			child := &thread{
				name:   fmt.Sprintf("%s.%d", th.name, th.children),
				pid:    uint32(ev.Get("child_pid").Num),
				tid:    uint32(ev.Get("child_tid").Num),
				parent: ev.SpanID,
			}
			text = "proc_fork " + child.name
			if child.pid != child.tid {
				text += " thread"
			}
			id := ev.Get("child_span_id").Num
			if id == 0 || bySpan[id] != nil {
				t.Errorf("%s: span id %x is no new one", text, id)
			}
			bySpan[id] = child
		}
		all[th.name] = append(all[th.name], text)
	}
	return all
}

func compareThreads(t testing.TB, s *seen, want map[string][]string) {
	t.Helper()
	for name, list := range want {
		want[name] = s.expand(list)
	}
	if diff := cmp.Diff(want, s.threads(t)); diff != "" {
		t.Errorf("seen (+), and what should have been (-):\n%s", diff)
	}
}

func tempFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tempDir is t.TempDir as the kernel names it.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tool is the path of a program of the system.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("VIV_TEST_PROGRAMS") != "" {
		t.Skipf("%s is not installed", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// running is a program that was started before it is watched.
type running struct {
	pid   int
	stdin io.Closer
	said  map[string]string
	ended chan struct{}
	cmd   *exec.Cmd // whose state is known when ended is closed
}

// end lets the program go on to its end and returns its exit status.
func (r *running) end() int {
	r.stdin.Close()
	<-r.ended
	return r.cmd.ProcessState.ExitCode()
}

// start starts a program of testdata and waits until it says that it is ready.
// It goes on when its stdin is closed.
func start(t testing.TB, argv ...string) *running {
	t.Helper()
	return startCmd(t, exec.Command(argv[0], argv[1:]...))
}

// startCmd is start for a program whose surroundings are special.
func startCmd(t testing.TB, cmd *exec.Cmd) *running {
	t.Helper()
	needRoot(t)
	r := &running{cmd: cmd, said: map[string]string{}, ended: make(chan struct{})}
	r.cmd.Stderr = os.Stderr
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stdoutW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdoutW.Close()
	r.cmd.Stdout = stdoutW
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.pid, r.stdin = r.cmd.Process.Pid, stdin
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.ended
		stdout.Close()
	})
	go func() {
		r.cmd.Wait() // its error is in the state, too
		close(r.ended)
	}()
	stdoutW.Close()
	for sc := bufio.NewScanner(stdout); sc.Scan(); {
		if sc.Text() == "ready" {
			return r
		}
		if name, value, ok := strings.Cut(sc.Text(), "="); ok {
			r.said[name] = value
		}
	}
	t.Fatalf("%s ended before it was ready", cmd.Path)
	return nil
}

// recordRunning watches a running program from now to its end, which must be
// with that status.
func recordRunning(t testing.TB, opt Options, r *running, status int) *seen {
	t.Helper()
	opt.PIDs = []int{r.pid}
	p := newProbe(t, opt)
	r.stdin.Close()
	s := finish(t, t.Context(), p)
	if got := r.end(); got != status {
		t.Errorf("the program ended with status %d, want %d", got, status)
	}
	s.said = r.said
	return s
}
