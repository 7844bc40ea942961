package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/inherited"
	"vivarium/pkg/probe/launch"
	"vivarium/pkg/stream"

	"golang.org/x/sys/unix"
)

// viv is the program under test. raced is the test's own binary under the same
// name, which has the race detector but is five times as slow to start; where
// there is no Go, it is both.
var viv, raced string

func TestMain(m *testing.M) {
	launch.WaitToStart()
	if filepath.Base(os.Args[0]) == "viv-probe" {
		main()
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	// The race detector sleeps for a second at the end of each process.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	inherited.Set()
	dir, err := os.MkdirTemp("", "viv-probe-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	raced = filepath.Join(dir, "raced", "viv-probe")
	self, err := os.Executable()
	err = errors.Join(err, os.Chmod(dir, 0o755), os.Mkdir(filepath.Dir(raced), 0o755), os.Symlink(self, raced))
	if viv = raced; os.Getenv("VIV_TEST_PROGRAMS") == "" {
		viv = filepath.Join(dir, "viv-probe")
		build := exec.Command("go", "build", "-o", viv, ".")
		build.Stderr = os.Stderr
		err = errors.Join(err, build.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// needRoot skips a test of what only root may do.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to load BPF programs")
	}
}

// program is the path of a C program of testdata, or of pkg/probe's; see there.
func program(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("VIV_TEST_PROGRAMS"); dir != "" {
		return filepath.Join(dir, name)
	}
	built.Lock()
	defer built.Unlock()
	path := filepath.Join(filepath.Dir(viv), name)
	if built.done[name] {
		return path
	}
	source := "testdata/" + name + ".c"
	if _, err := os.Stat(source); err != nil {
		source = "../../pkg/probe/" + source
	}
	if out, err := exec.Command("cc", "-O2", "-Wall", "-static", "-pthread", "-o", path, source).CombinedOutput(); err != nil {
		t.Fatalf("cc %s: %v\n%s", source, err, out)
	}
	built.done[name] = true
	return path
}

var built = struct {
	sync.Mutex
	done map[string]bool
}{done: map[string]bool{}}

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

// outcome is how a program ended and what it wrote.
type outcome struct {
	stdout, stderr string
	status         int // 128 + signal when it was killed
}

func run(t testing.TB, argv ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%q: %v\n%s", argv, err, stderr.String())
	}
	return outcome{stdout.String(), stderr.String(), status(cmd.ProcessState)}
}

func status(s *os.ProcessState) int {
	if ws := s.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// seen is a stream that was read back.
type seen struct {
	session stream.Session
	events  []one
	end     stream.End
	err     error // how it ended; io.EOF: well
}

// one is an event: its kind, and its text as viv-tree shows it.
type one struct {
	kind, text string
	hidden     bool
	pid        uint32
	comm       string
	ktime      uint64
}

func readBack(t testing.TB, raw string) *seen {
	t.Helper()
	s := &seen{}
	r := stream.NewReader(strings.NewReader(raw))
	for {
		rec, err := r.Next()
		if err != nil {
			s.err = err
			return s
		}
		switch rec.Type {
		case stream.TypeSession:
			s.session, err = rec.Session()
		case stream.TypeEvent:
			var ev *event.Event
			if ev, err = rec.Event(); err == nil {
				s.events = append(s.events, one{
					kind: ev.Kind.Name, text: string(event.AppendText(nil, ev)), hidden: ev.Hidden,
					pid: ev.PID, comm: string(ev.Comm), ktime: ev.KtimeNS,
				})
			}
		case stream.TypeEnd:
			s.end, err = rec.End()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// whole is readBack of a stream that must have its end.
func whole(t testing.TB, raw string) *seen {
	t.Helper()
	s := readBack(t, raw)
	if s.err != io.EOF {
		t.Fatalf("the stream of %d bytes ended with: %v", len(raw), s.err)
	}
	return s
}

func wholeFile(t testing.TB, name string) *seen {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return whole(t, string(raw))
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestUsage: what is no sensible command line ends with status 2 and says so
// in one line, perhaps with a hint.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		stderr string // a regular expression
	}{
		{"", "nothing to watch\nhint: .*\n"},
		{"--", "nothing to watch\nhint: .*\n"},
		{"-p 1 -- true", "either -p or a command, not both\nhint: .*\n"},
		{"-p x", `--pid: expected .*"x".*\nhint: .*\n`},
		{"-p 0", "-p 0: no process has that id\nhint: .*\n"},
		{"--pid=-7", "-p -7: no process has that id\nhint: .*\n"},
		{"--nonsense true", "unknown flag --nonsense.*\nhint: .*\n"},
		{"-e nonsense -- true", "unknown event \"nonsense\"\nhint: the events are: path_open .*\n"},
		{"-x nonsense -- true", "unknown event \"nonsense\"\nhint: the events are: path_open .*\n"},
		{"-e path_open -x path_open -- true", "no event is left to record\n"},
		{"--user root -p 1", "--user is for a command\n"},
		{"--duration=-1s -- true", "--duration -1s: must not be negative\n"},
		{"--buffer-size 100 -- true", "--buffer-size 100: must be from [0-9]+ to [0-9]+\n"},
		{"--buffer-size 2000000000 -- true", "--buffer-size 2000000000: must be from [0-9]+ to [0-9]+\n"},
		{"--spans nonsense -- true", "--spans: unknown provider \"nonsense\"\nhint: the providers are: auto, none, markers, .*\n"},
		{"--spans none,markers -- true", "--spans: none excludes all others\nhint: .*\n"},
		{"--spans usdt:a:b -- true", "--spans: usdt:a:b: has 2 names; it is usdt:PROVIDER:ENTRY:RETURN.*\nhint: .*\n"},
		{"--spans ruby -p 1", "--spans ruby is for a command\nhint: of a Ruby that runs already, --spans auto .*\n"},
		{"--span-allow @/no/such/file -- true", "--span-allow: open /no/such/file: no such file or directory\n"},
		{"--traceparent 00-1-2-3 -- true", "--traceparent: \"00-1-2-3\" is no traceparent .*\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := run(t, append([]string{viv}, strings.Fields(c.args)...)...)
			if got.status != 2 || got.stdout != "" || !regexp.MustCompile(`\Aviv-probe: `+c.stderr+`\z`).MatchString(got.stderr) {
				t.Errorf("status %d, stdout %q, stderr:\n%s", got.status, got.stdout, got.stderr)
			}
		})
	}
}

// TestHelp: each option is listed, and there is an example.
func TestHelp(t *testing.T) {
	got := run(t, viv, "--help")
	if got.status != 0 || got.stderr != "" || !strings.Contains(got.stdout, "viv-probe -- ") {
		t.Errorf("%+v", got)
	}
	for _, option := range strings.Fields("-p --pid -e --event -x --exclude --no-follow --user --duration --buffer-size --traceparent --failed-opens -o --output") {
		if !strings.Contains(got.stdout, option) {
			t.Errorf("--help does not mention %s", option)
		}
	}
	if got := run(t, viv, "--version"); got.status != 0 || !regexp.MustCompile(`\Aviv-probe \S+\n\z`).MatchString(got.stdout) {
		t.Errorf("--version: %+v", got)
	}
}

// TestStatus: the command's exit status, or why there is none.
func TestStatus(t *testing.T) {
	needRoot(t)
	d, tid := t.TempDir(), thread(t)
	plain := filepath.Join(d, "plain")
	text := filepath.Join(d, "text")
	for name, mode := range map[string]os.FileMode{plain: 0o644, text: 0o755} {
		if err := os.WriteFile(name, []byte("no program"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		argv   []string
		status int
		stderr string // a regular expression
	}{
		{[]string{"--", "true"}, 0, ""},
		{[]string{"sh", "-c", ": --help --nonsense"}, 0, ""},
		{[]string{"--", "sh", "-c", "exit 42"}, 42, ""},
		{[]string{"--", "sh", "-c", "exit 255"}, 255, ""},
		{[]string{"--", "sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{[]string{"--", "sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"--", "no-such-program"}, 127, "no-such-program: executable file not found in [$]PATH"},
		{[]string{"--", "/no/such/program"}, 127, "/no/such/program: no such file or directory"},
		{[]string{"--", plain}, 126, plain + ": permission denied"},
		{[]string{"--", d}, 126, d + ": .*"},
		{[]string{"--", text}, 126, text + ": exec format error"},
		{[]string{"--user", "no-such-user", "--", "true"}, 125, "user no-such-user: not found"},
		{[]string{"-o", d + "/no/such/file", "--", "true"}, 125, ".*/no/such/file: no such file or directory"},
		{[]string{"-o", d, "--", "true"}, 125, ".*: is a directory"},
		{[]string{"-p", "4000000"}, 1, "process 4000000: no such process"},
		{[]string{"-p", tid}, 1, "process " + tid + ": it is a thread, name its process"},
	} {
		t.Run(strings.Join(c.argv, " "), func(t *testing.T) {
			t.Parallel()
			got := run(t, append([]string{viv, "-e", "proc_exec"}, c.argv...)...)
			want := ""
			if c.stderr != "" {
				want = "viv-probe: " + c.stderr + "\n"
			}
			if got.status != c.status || !regexp.MustCompile(`\A`+want+`\z`).MatchString(got.stderr) {
				t.Errorf("status %d, want %d; stderr:\n%s", got.status, c.status, got.stderr)
			}
			if c.stderr == "" {
				whole(t, got.stdout)
			} else if got.stdout != "" {
				t.Errorf("%d bytes on stdout", len(got.stdout))
			}
		})
	}
}

// thread is a thread of this process that does not lead it, and that lives as
// long as the test does.
func thread(t testing.TB) string {
	t.Helper()
	ids := make(chan int)
	// The leader can run one of two such goroutines only.
	for range 2 {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ids <- unix.Gettid()
			<-t.Context().Done()
		}()
	}
	a, b := <-ids, <-ids
	if a == os.Getpid() {
		a = b
	}
	return strconv.Itoa(a)
}

// children are the processes that a process made and that are not reaped,
// whichever of its threads made them.
func children(pid int) []int {
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range lists {
		list, _ := os.ReadFile(name)
		for _, child := range strings.Fields(string(list)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// TestRefusedTerminal: a terminal gets no binary stream.
func TestRefusedTerminal(t *testing.T) {
	term, tty := openTerminal(t)
	cmd := exec.Command(viv, "--", "true")
	cmd.Stdout = tty
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	tty.Close()
	shown := make([]byte, 1)
	n, _ := term.Read(shown)
	if cmd.ProcessState.ExitCode() != 2 || n != 0 ||
		!regexp.MustCompile(`\Aviv-probe: .*terminal.*\nhint: .*\n\z`).Match(stderr.Bytes()) {
		t.Errorf("%v, %d bytes shown, stderr:\n%s", err, n, stderr.String())
	}
}

// openTerminal makes a pseudo terminal: the end of who sits there, and the
// program's.
func openTerminal(t testing.TB) (term, tty *os.File) {
	t.Helper()
	term, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { term.Close() })
	conn, err := term.SyscallConn() // Fd would make reads block for ever
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if cerr := conn.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return term, tty
}
