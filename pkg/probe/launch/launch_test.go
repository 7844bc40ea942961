package launch

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/inherited"
)

// A command is started by executing the test's own binary again, from its main
// thread.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	WaitToStart()
	inherited.Set()
	os.Exit(m.Run())
}

// start starts a shell script that writes to the returned file.
func start(t *testing.T, script string) (c *Command, out string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "out")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c, err = Start([]string{"sh", "-c", script}, "", f, append(os.Environ(), "LAUNCH=test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, out
}

func status(t *testing.T, c *Command) int {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		c.process.Kill()
		t.Fatal("the command runs on")
	}
	n, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A command does nothing before its release; then it is the process that was
// started, with the environment and standard output it was given.
func TestRelease(t *testing.T) {
	for want, end := range map[int]string{0: "true", 7: "exit 7", 128 + 9: "kill -9 $$"} {
		c, out := start(t, "echo $$ $LAUNCH; "+end)
		args, err := os.ReadFile("/proc/" + strconv.Itoa(c.PID()) + "/cmdline")
		if err != nil || !strings.HasPrefix(string(args), waitingArg0+"\x00") {
			t.Errorf("before its release it runs %q, %v", args, err)
		}
		if err := c.Release(); err != nil {
			t.Fatal(err)
		}
		if got := status(t, c); got != want {
			t.Errorf("%s: status %d, want %d", end, got, want)
		}
		if b, _ := os.ReadFile(out); string(b) != strconv.Itoa(c.PID())+" test\n" {
			t.Errorf("process %d wrote %q", c.PID(), b)
		}
	}
}

// A command that is closed in place of released never runs.
func TestClose(t *testing.T) {
	c, out := start(t, "echo ran")
	c.Close()
	if got := status(t, c); got != 125 {
		t.Errorf("status %d", got)
	}
	if b, _ := os.ReadFile(out); len(b) != 0 {
		t.Errorf("it wrote %q", b)
	}
}

func TestErrors(t *testing.T) {
	d := t.TempDir()
	for name, text := range map[string]string{"plain": "", "script": "#!/nonexistent/interpreter\n", "garbage": "\x7fELF"} {
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"script", "garbage"} {
		if err := os.Chmod(filepath.Join(d, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		argv0, user string
		status      int
		message     string
	}{
		{"no-such-command-of-viv", "", 127, "no-such-command-of-viv: executable file not found in $PATH"},
		{d + "/none", "", 127, d + "/none: no such file or directory"},
		{d + "/plain", "", 126, d + "/plain: permission denied"},
		{d, "", 126, d + ": is a directory"},
		{d + "/script", "", 127, d + "/script: no such file or directory"},
		{d + "/garbage", "", 126, d + "/garbage: exec format error"},
		{"true", "no-such-user-of-viv", 125, "user no-such-user-of-viv: not found"},
	} {
		cmd, err := Start([]string{c.argv0}, c.user, os.Stdout, os.Environ())
		if err == nil { // what only the exec finds
			err = cmd.Release()
		}
		var e *Error
		if !errors.As(err, &e) || e.Status != c.status || e.Error() != c.message {
			t.Errorf("%s: %v, want %d: %s", c.argv0, err, c.status, c.message)
		}
	}
}

// Signals that this process gets reach the command, each once and in order.
func TestForwardSignals(t *testing.T) {
	c, out := start(t, `for s in HUP TERM USR1 USR2; do trap "echo $s" $s; done
		trap 'exit 5' INT; echo ready; while :; do sleep 0.01; done`)
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.process.Kill() })
	stop := c.ForwardSignals()
	want := "ready\n"
	wait := func() {
		t.Helper()
		var b []byte
		for range 500 {
			if b, _ = os.ReadFile(out); string(b) == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("it wrote %q, want %q", b, want)
	}
	wait()
	for _, s := range []struct {
		name string
		sig  syscall.Signal
	}{{"HUP", syscall.SIGHUP}, {"TERM", syscall.SIGTERM}, {"USR1", syscall.SIGUSR1}, {"USR2", syscall.SIGUSR2}, {"HUP", syscall.SIGHUP}} {
		if signal.Ignored(s.sig) {
			continue // as under nohup
		}
		if err := syscall.Kill(os.Getpid(), s.sig); err != nil {
			t.Fatal(err)
		}
		want += s.name + "\n"
		wait()
	}
	stop()
	if err := c.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := status(t, c); got != 5 {
		t.Errorf("status %d", got)
	}
}
