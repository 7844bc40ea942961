package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"golang.org/x/sys/unix"
)

const checkChild = "VIV_TEST_CHECK"

// check is what the process does that TestCheck starts, with few capabilities.
func check(hooks Hooks) int {
	opt := Options{Events: allEvents(), BufferSize: 1 << 16, Spans: onlyMarkers}
	if choice, libraries := strings.CutSuffix(string(hooks), " libraries"); libraries {
		opt.Hooks, opt.Events = Hooks(choice), events(libraryEvents...)
	} else {
		opt.Hooks = hooks
	}
	list, err := Check(opt)
	var privilege *PrivilegeError
	if errors.As(err, &privilege) {
		fmt.Printf("error: %v\n", err)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := WriteStatus(os.Stdout, list); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// checkWith runs Check as nobody with these capabilities, and returns the lines
// of its table by event, and its error. With " libraries" behind the backend it
// is of what comes from libraries alone.
func checkWith(t *testing.T, hooks Hooks, caps ...uintptr) (rows map[string]string, failed string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), checkChild+"="+string(hooks))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: caps,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows = map[string]string{}
	for line := range bytes.Lines(out) {
		text := strings.TrimRight(string(line), " \n")
		if f, ok := strings.CutPrefix(text, "error: "); ok {
			failed = f
		}
		if name, rest, ok := strings.Cut(text, " "); ok && event.Lookup([]byte(name)) != nil {
			rows[name] = strings.TrimSpace(rest)
		}
	}
	return rows, failed
}

// TestCheck: with the capabilities that the table names every event is live,
// but for what the kernel lacks; with one fewer the error names it.
func TestCheck(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		rows, failed := checkWith(t, hooks, unix.CAP_BPF, unix.CAP_PERFMON)
		if failed != "" {
			t.Fatal(failed)
		}
		for _, id := range Recordable() {
			name := event.Kinds[id].Name
			t.Run(name, func(t *testing.T) {
				row := rows[name]
				if id == event.CapableCheck && strings.HasSuffix(row, "the kernel has no tracepoint cap_capable") {
					t.Skip("the kernel has no tracepoint cap_capable")
				}
				if limited := strings.HasSuffix(row, needPtrace); limited != strings.Contains(Capabilities(id), "CAP_SYS_PTRACE") {
					t.Errorf("without CAP_SYS_PTRACE: %q", row)
				}
				if !strings.HasPrefix(row, "yes ") || !strings.Contains(row, Capabilities(id)) {
					t.Errorf("not live: %q", row)
				}
				if lsmHook := hasLSM(id); hooks == HooksLSM && lsmHook != strings.Contains(row, "lsm:") {
					t.Errorf("an LSM hook: %v, but: %q", lsmHook, row)
				}
			})
		}
	})
	t.Run("with CAP_SYS_PTRACE", func(t *testing.T) {
		needRoot(t)
		rows, failed := checkWith(t, HooksTracepoint+" libraries", append(attachCaps(), unix.CAP_SYS_PTRACE)...)
		if failed != "" || len(rows) != len(libraryEvents) {
			t.Errorf("%d rows, %s", len(rows), failed)
		}
		for name, row := range rows {
			if !strings.HasPrefix(row, "yes ") || strings.Contains(row, "missing") {
				t.Errorf("%s: %q", name, row)
			}
		}
	})
	for _, r := range []struct {
		missing string
		have    []uintptr
	}{
		{"CAP_BPF", []uintptr{unix.CAP_PERFMON}},
		{"CAP_PERFMON", []uintptr{unix.CAP_BPF}},
		{"CAP_BPF", nil},
	} {
		t.Run(fmt.Sprintf("without %s, with %d", r.missing, len(r.have)), func(t *testing.T) {
			needRoot(t)
			_, failed := checkWith(t, HooksAuto, r.have...)
			if !strings.HasPrefix(failed, "missing privilege: "+r.missing+" ") || strings.Contains(failed, "\n") {
				t.Errorf("the error is %q", failed)
			}
		})
	}
}

const recordChild = "VIV_TEST_RECORD"

// recordUnprivileged is what the process does that TestCapabilities starts: arg
// is the process to record and the backend, the stream goes to descriptor 3.
func recordUnprivileged(arg string) error {
	opt := Options{Events: allEvents(), PIDs: []int{0}, BufferSize: 1 << 22, Spans: onlyMarkers}
	if _, err := fmt.Sscan(arg, &opt.PIDs[0], &opt.Hooks); err != nil {
		return err
	}
	p, err := New(opt)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	res, err := p.Record(context.Background(), os.NewFile(3, "stream"))
	for _, err := range res.Unattached {
		fmt.Printf("unattached: %v\n", err)
	}
	return errors.Join(err, p.Close())
}

// recordWith records a program of root's as nobody with these capabilities. It
// also returns what could not be attached.
func recordWith(t *testing.T, hooks Hooks, caps []uintptr, argv ...string) (s *seen, unattached []string) {
	t.Helper()
	// A shell that executes the program when it is watched.
	said, stream := tempFile(t), tempFile(t)
	target := start(t, append([]string{"/bin/sh", "-c", `echo ready; read x; exec "$@" >"$0"`, said.Name()}, argv...)...)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", recordChild, target.pid, hooks))
	cmd.ExtraFiles = []*os.File{stream}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: caps,
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		line := lines.Text()
		all = append(all, line)
		if line == "ready" {
			target.stdin.Close()
		}
		if text, ok := strings.CutPrefix(line, "unattached: "); ok {
			unattached = append(unattached, text)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(all, "\n"))
	}
	if status := target.end(); status != 0 {
		t.Fatalf("%s: exit status %d", argv[0], status)
	}
	raw, err := os.ReadFile(stream.Name())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(said.Name())
	if err != nil {
		t.Fatal(err)
	}
	s = readBack(t, raw)
	s.said = saidIn(string(text))
	return s, unattached
}

// attachCaps are what attaching takes here, also to a library.
func attachCaps() []uintptr {
	caps := []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}
	if uprobesTakeAdmin() {
		caps = append(caps, unix.CAP_SYS_ADMIN)
	}
	return caps
}

// TestCapabilities: with just the capabilities that the table names each event
// is seen, of a process of somebody else's.
func TestCapabilities(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s, _ := recordWith(t, hooks, []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, program(t, "events"), d)
		s.lost = slices.DeleteFunc(s.lost, func(l stream.Lost) bool { return strings.Contains(l.Cause, "(missing: CAP_SYS_PTRACE, ") })
		compareEvents(t, s, d, hooks, slices.DeleteFunc(Recordable(), func(id event.ID) bool { return slices.Contains(libraryEvents, id) }))
	})
	needRoot(t)
	// A process's libraries lie where it sees them, where not everybody may look,
	// and the program in a directory of root's.
	program := filepath.Join(tempDir(t), "env")
	copyFile(t, compiled(t, "env", "cc", "-ldl"), program)
	bare := []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}
	for _, c := range []struct {
		missing string
		have    []uintptr
		seen    bool
		said    string // of what is not attached
	}{
		{"CAP_SYS_PTRACE", attachCaps(), false, "(missing: CAP_SYS_PTRACE, "},
		{"CAP_DAC_READ_SEARCH", append(attachCaps(), unix.CAP_SYS_PTRACE), true, "(missing: CAP_DAC_READ_SEARCH, "},
		{"CAP_SYS_ADMIN", append(bare, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH), false, needAdmin},
		{"", append(attachCaps(), unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH), true, ""},
	} {
		if c.missing == "CAP_SYS_ADMIN" && !uprobesTakeAdmin() {
			continue // this kernel does not want it
		}
		t.Run("libraries, without "+c.missing, func(t *testing.T) {
			s, unattached := recordWith(t, HooksAuto, c.have, program, "late", "dlopen")
			all := strings.Join(texts(s), "\n")
			for _, want := range []string{"env_caccess op=getenv key=VIV_GET", "dlopen path=viv-none.so"} {
				if strings.Contains(all, want) != c.seen {
					t.Errorf("%s: seen: %v", want, !c.seen)
				}
			}
			said := strings.Join(unattached, "; ")
			if c.said == "" && said != "" || !strings.Contains(said, c.said) {
				t.Errorf("not attached: %q", unattached)
			}
		})
	}
}
