package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestOutputs: the stream goes to stdout and the command's output to stderr;
// with -o the stream goes to the file and the command keeps its stdout. Its
// stdin is its own.
func TestOutputs(t *testing.T) {
	needRoot(t)
	argv := []string{"--", "sh", "-c", "read line; echo out $line; echo err >&2"}
	for _, file := range []string{"", filepath.Join(t.TempDir(), "f")} {
		args := append([]string{"-e", "proc_exec"}, argv...)
		wantOut, wantErr := "", "out hello\nerr\n"
		if file != "" {
			args = append([]string{"-o", file}, args...)
			wantOut, wantErr = "out hello\n", "err\n"
		}
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(raced, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hello\n"), &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
		if stderr.String() != wantErr {
			t.Errorf("-o %q: stderr %q, want %q", file, stderr.String(), wantErr)
		}
		if file == "" {
			whole(t, stdout.String())
		} else {
			wholeFile(t, file)
			if stdout.String() != wantOut {
				t.Errorf("-o %q: stdout %q, want %q", file, stdout.String(), wantOut)
			}
		}
	}
}

// TestInheritsNothing: the command finds what it would find without us: its
// descriptors, limits, signals, environment, directory, session and group.
func TestInheritsNothing(t *testing.T) {
	needRoot(t)
	state := `ls -l /proc/self/fd | sed 's/.*[0-9] \([0-9]* ->\)/\1/' | grep -v /proc/
		ulimit -a
		grep -E '^(Sig[BCIP]|Shd|Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid|Umask)' /proc/self/status
		env | sort | grep -v '^_='
		pwd
		cut -d' ' -f4 /proc/self/stat >/dev/null
		cut -d' ' -f5,6,7 /proc/$$/stat`
	dir := t.TempDir()
	file := filepath.Join(dir, "f.viv")
	outputs := map[string]string{}
	for name, argv := range map[string][]string{
		"alone":   {},
		"watched": {viv, "-e", "proc_exec", "-o", file, "--"},
	} {
		var stdout bytes.Buffer
		cmd := exec.Command("sh", append([]string{"-c", `ulimit -n 777; ulimit -c 0; umask 027; trap '' HUP; "$@" 7<&0`, "sh"}, append(argv, "sh", "-c", state)...)...)
		cmd.Dir = dir
		cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		// What differs between any two runs.
		text := regexp.MustCompile(`pipe:\[\d+\]`).ReplaceAllString(stdout.String(), "pipe")
		text = strings.ReplaceAll(text, strconv.Itoa(cmd.Process.Pid), "SESSION")
		outputs[name] = text
	}
	if outputs["alone"] != outputs["watched"] {
		t.Errorf("alone:\n%s\nwatched:\n%s", outputs["alone"], outputs["watched"])
	}
	if !strings.Contains(outputs["alone"], "777") || !strings.Contains(outputs["alone"], "7 ->") {
		t.Errorf("the test does not test what it should:\n%s", outputs["alone"])
	}
	wholeFile(t, file)
}

// TestFirstEvent: nothing of viv-probe itself is in the stream: it begins with
// the command's exec, and all is the command's.
func TestFirstEvent(t *testing.T) {
	needRoot(t)
	for range 10 {
		s := whole(t, run(t, viv, "-e", "path_open,proc_exec,proc_fork,proc_exit", "--failed-opens", "--", program(t, "loop"), "1", "/etc/passwd").stdout)
		var got []string
		for _, ev := range s.events {
			got = append(got, ev.kind)
			if ev.pid != s.session.MainTID || ev.comm != "loop" {
				t.Errorf("%s of process %d (%s)", ev.kind, ev.pid, ev.comm)
			}
		}
		if strings.Join(got, " ") != "proc_exec path_open proc_exit" {
			t.Errorf("events: %v", got)
		}
	}
}

// TestEvents: -e and -x choose; what spans are rebuilt from is there all the
// same, hidden.
func TestEvents(t *testing.T) {
	needRoot(t)
	for args, want := range map[string]string{
		"-e path_open":                        "path_open proc_exit(hidden)",
		"-e path_open,proc_exit":              "path_open proc_exit",
		"-e path_open -e proc_exec":           "proc_exec path_open proc_exit(hidden)",
		"-e path_open,proc_exec -x proc_exec": "path_open proc_exit(hidden)",
		"-e odd_socket":                       "proc_exit(hidden)",
	} {
		argv := append(append([]string{viv}, strings.Fields(args)...), "--", program(t, "loop"), "1", "/etc/passwd")
		s := whole(t, run(t, argv...).stdout)
		var got []string
		for _, ev := range s.events {
			if ev.hidden {
				ev.kind += "(hidden)"
			}
			got = append(got, ev.kind)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", args, got, want)
		}
	}
}

// TestTraceparent: from the option, else from the environment, where a bad one
// is only warned of.
func TestTraceparent(t *testing.T) {
	needRoot(t)
	const a, b = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-11111111111111111111111111111111-2222222222222222-00"
	for _, c := range []struct {
		env, option, trace, warning string
		parent                      uint64
	}{
		{"", a, "0af7651916cd43dd8448eb211c80319c", "", 0xb7ad6b7169203331},
		{a, "", "0af7651916cd43dd8448eb211c80319c", "", 0xb7ad6b7169203331},
		{a, b, "11111111111111111111111111111111", "", 0x2222222222222222},
		{"nonsense", "", "", "viv-probe: TRACEPARENT is ignored: \"nonsense\" is no traceparent .*\n", 0},
	} {
		if c.env != "" {
			t.Setenv("TRACEPARENT", c.env)
		} else {
			os.Unsetenv("TRACEPARENT")
		}
		args := []string{viv, "-e", "proc_exec", "--", "true"}
		if c.option != "" {
			args = append([]string{viv, "--traceparent", c.option}, args[1:]...)
		}
		got := run(t, args...)
		s := whole(t, got.stdout)
		trace := hex.EncodeToString(s.session.TraceID[:])
		if c.trace != "" && trace != c.trace || s.session.ParentSpanID != c.parent {
			t.Errorf("%+v: trace %s, parent %x", c, trace, s.session.ParentSpanID)
		}
		if !regexp.MustCompile(`\A` + c.warning + `\z`).MatchString(got.stderr) {
			t.Errorf("%+v: stderr %q", c, got.stderr)
		}
	}
}

// TestRunning: the session says what the processes run that are watched from
// the start, masked, and joins the trace that one of them was started in.
func TestRunning(t *testing.T) {
	needRoot(t)
	sh := tool(t, "sh")
	argv := []string{"-c", "sleep 600; :", "name", "--password=hunter2", "", "\xff"}
	for tp, want := range map[string]string{
		"": "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "",
		"nonsense": "viv-probe: TRACEPARENT of process PID is ignored: \"nonsense\" is no traceparent .*\n",
	} {
		target := exec.Command(sh, argv...)
		target.Env = []string{"PATH=" + os.Getenv("PATH"), "A=TRACEPARENT=x", "TRACEPARENT=" + tp}
		target.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := target.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Kill(-target.Process.Pid, syscall.SIGKILL); target.Wait() })
		pid := strconv.Itoa(target.Process.Pid)
		got := run(t, viv, "-p", pid, "-e", "proc_exec", "--duration", "100ms")
		s := whole(t, got.stdout)
		if !regexp.MustCompile(`\A`+strings.Replace(want, "PID", pid, 1)+`\z`).MatchString(got.stderr) || got.status != 0 {
			t.Errorf("%s: status %d, stderr %q", tp, got.status, got.stderr)
		}
		joined := hex.EncodeToString(s.session.TraceID[:]) == "0af7651916cd43dd8448eb211c80319c" && s.session.ParentSpanID == 0xb7ad6b7169203331
		if joined != (len(tp) > 20) {
			t.Errorf("%s: trace %x, parent %x", tp, s.session.TraceID, s.session.ParentSpanID)
		}
		path, err := filepath.EvalSymlinks(sh)
		if err != nil {
			t.Fatal(err)
		}
		wantProcess := stream.Process{PID: uint32(target.Process.Pid), Path: path,
			Argv: []string{sh, "-c", "sleep 600; :", "name", "--password=***", "", "\xff"}}
		if len(s.session.Processes) == 0 {
			t.Fatal("no processes")
		}
		if d := cmp.Diff(wantProcess, s.session.Processes[0]); d != "" {
			t.Error(d)
		}
	}
}

// TestFile: -o makes a file that only its owner reads, also of one that there
// was, and does not follow a symbolic link.
func TestFile(t *testing.T) {
	needRoot(t)
	d := t.TempDir()
	file, link := filepath.Join(d, "file"), filepath.Join(d, "link")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	got := run(t, viv, "-e", "proc_exec", "-o", link, "--", "true")
	if b, err := os.ReadFile(file); got.status != 125 || err != nil || len(b) != 1<<20 {
		t.Errorf("through a link: %+v; %d bytes are left, %v", got, len(b), err)
	}
	for _, name := range []string{file, filepath.Join(d, "new")} {
		old := syscall.Umask(0)
		got := run(t, viv, "-e", "proc_exec", "-o", name, "--", "true")
		syscall.Umask(old)
		st, err := os.Stat(name)
		if err != nil || got.status != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		if st.Mode() != 0o600 {
			t.Errorf("%s: mode %v", name, st.Mode())
		}
		wholeFile(t, name)
	}
}

// TestDuration: what is watched is left to itself after the time.
func TestDuration(t *testing.T) {
	needRoot(t)
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	begin := time.Now()
	got := run(t, raced, "-e", "proc_exec", "--duration", "300ms", "-p", strconv.Itoa(sleeper.Process.Pid))
	s := whole(t, got.stdout)
	if d := time.Since(begin); d < 300*time.Millisecond || got.status != 0 || s.end.Reason != "duration" {
		t.Errorf("after %v: status %d, %+v", d, got.status, s.end)
	}
	if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error(err)
	}
	// So is a command, and whoever started viv-probe learns of it.
	file := filepath.Join(t.TempDir(), "pid")
	begin = time.Now()
	got = run(t, viv, "-e", "proc_exec", "--duration", "300ms", "--", "sh", "-c", `echo $$ >"$0"; exec sleep 60 >/dev/null 2>&1`, file)
	if s := whole(t, got.stdout); got.status != 0 || s.end.Reason != "duration" || s.end.HasExit || time.Since(begin) > 50*time.Second {
		t.Errorf("status %d, %+v", got.status, s.end)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the command does not run on: %v", err)
	}
	if want := fmt.Sprintf("viv-probe: --duration is over: the command runs on, unwatched, as process %d\n", pid); got.stderr != want {
		t.Errorf("stderr %q, want %q", got.stderr, want)
	}
	// One that ends before has its status returned.
	if got = run(t, viv, "-e", "proc_exec", "--duration", "60s", "--", "sh", "-c", "exit 9"); got.status != 9 {
		t.Errorf("status %d, want 9", got.status)
	}
}

// TestSignals: a signal to viv-probe is its command's, however the command
// takes it.
func TestSignals(t *testing.T) {
	needRoot(t)
	d := t.TempDir()
	file := filepath.Join(d, "said")
	cmd := exec.Command(raced, "-e", "proc_exec", "-o", filepath.Join(d, "f.viv"), "--", program(t, "keys"), file)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want := "ready\n"
	said := func() bool { b, _ := os.ReadFile(file); return string(b) == want }
	eventually(t, "the command runs", said)
	for sig, name := range map[syscall.Signal]string{
		unix.SIGHUP: "HUP", unix.SIGQUIT: "QUIT", unix.SIGTERM: "TERM", unix.SIGUSR1: "USR1", unix.SIGUSR2: "USR2",
	} {
		cmd.Process.Signal(sig)
		want += "SIG" + name + "\n"
		eventually(t, "the command got SIG"+name, said)
	}
	cmd.Process.Signal(unix.SIGINT)
	cmd.Wait()
	want += "SIGINT\nend\n"
	if b, _ := os.ReadFile(file); string(b) != want {
		t.Errorf("said %q, want %q", b, want)
	}
	if got := status(cmd.ProcessState); got != 7 {
		t.Errorf("status %d", got)
	}
	wholeFile(t, filepath.Join(d, "f.viv"))
}

// TestInterrupted: the first INT or TERM ends the watching of processes in
// good order, and leaves them alone.
func TestInterrupted(t *testing.T) {
	needRoot(t)
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		sleeper := exec.Command("sleep", "60")
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "f.viv")
		cmd := exec.Command(viv, "-e", "proc_exec", "-o", file, "-p", strconv.Itoa(sleeper.Process.Pid))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the stream has begun", func() bool { st, err := os.Stat(file); return err == nil && st.Size() > 0 })
		cmd.Process.Signal(sig)
		cmd.Wait()
		if s := wholeFile(t, file); status(cmd.ProcessState) != 0 || s.end.Reason != "signal" {
			t.Errorf("%v: status %d, %+v", sig, status(cmd.ProcessState), s.end)
		}
		if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
			t.Error(err)
		}
		sleeper.Process.Kill()
		sleeper.Wait()
	}
}

// TestSecondSignal: a reader that does not read holds viv-probe up; the second
// signal ends it all the same.
func TestSecondSignal(t *testing.T) {
	needRoot(t)
	loop := exec.Command(program(t, "loop"), "1000000000", "/etc/passwd")
	if err := loop.Start(); err != nil {
		t.Fatal(err)
	}
	defer loop.Wait()
	defer loop.Process.Kill()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(viv, "-e", "path_open", "-p", strconv.Itoa(loop.Process.Pid))
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	eventually(t, "the pipe is full", func() bool {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		return err == nil && n >= 60<<10
	})
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-done:
		t.Errorf("the first signal ended it: %v", cmd.ProcessState)
	case <-time.After(300 * time.Millisecond):
	}
	cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-done:
		if got := status(cmd.ProcessState); got != 128+15 {
			t.Errorf("status %d", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
		cmd.Process.Kill()
	}
}

// TestReaderGone: that nobody reads any more is seen though nothing happens.
func TestReaderGone(t *testing.T) {
	needRoot(t)
	for name, argv := range map[string][]string{
		"processes": {"-p", strconv.Itoa(os.Getpid())},
		"a command": {"--", "sh", "-c", "sleep 1; exit 4"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(raced, append([]string{"-e", "sock_connect"}, argv...)...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		r.Read(make([]byte, 1))
		r.Close()
		begin := time.Now()
		cmd.Wait()
		want, most := 0, 5*time.Second
		if name == "a command" {
			want = 4
		}
		if got := status(cmd.ProcessState); got != want || time.Since(begin) > most || stderr.Len() > 0 {
			t.Errorf("%s: status %d after %v, stderr %q", name, got, time.Since(begin), stderr.String())
		}
	}
}
