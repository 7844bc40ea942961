package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/inherited"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"golang.org/x/sys/unix"
)

// TestMain is also a program of this package: one that copies a stream.
func TestMain(m *testing.M) {
	if os.Getenv("CLI_TEST") == "" {
		inherited.Set()
		os.Exit(m.Run())
	}
	var flags struct {
		Fail string `help:"How to end."`
		Text bool   `help:"Write text."`
		File string `arg:"" optional:"" help:"Stream to read."`
	}
	Program{
		Name: "viv-test", Doc: "Copies a stream.\n\n    viv-test x.viv | viv-test", Flags: &flags, HandlesSignals: os.Getenv("CLI_TEST") == "own",
		Run: func() error {
			switch flags.Fail {
			case "plain":
				return errors.New("write x: disk full\n\x1b[31m")
			case "exit":
				return &Exit{126, errors.New("cannot run"), "try\x1bthis"}
			case "quiet":
				return &Exit{Status: 42}
			}
			in, err := OpenInput(flags.File)
			if err != nil {
				return err
			}
			defer in.Close()
			out := Output()
			if !flags.Text {
				if out, err = BinaryOutput(); err != nil {
					return err
				}
			}
			r, w := stream.NewReader(in, vivraw.Format), stream.NewWriter(out)
			for {
				rec, err := r.Next()
				if err != nil {
					if err := w.Flush(); err != nil {
						return err
					}
					return Ended(r, err)
				}
				if err := w.Raw(rec.Raw); err != nil {
					return err
				}
				if !r.Pending() {
					if err := w.Flush(); err != nil {
						return err
					}
				}
			}
		},
	}.Main()
}

func program(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "CLI_TEST=filter")
	return c
}

// run returns what the program wrote and its status.
func run(t *testing.T, stdin []byte, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	c := program(args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &out, &errs
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func session(end bool, lost ...uint64) []byte {
	var buf bytes.Buffer
	w := stream.NewWriter(&buf)
	w.Session(&stream.Session{Version: stream.Version})
	for _, n := range lost {
		w.Lost(&stream.Lost{Count: n})
	}
	if end {
		w.End(&stream.End{})
	}
	w.Flush()
	return buf.Bytes()
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.viv")
	if err := os.WriteFile(file, session(true), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		stdin  []byte
		args   []string
		status int
		stderr string
	}{
		"whole":           {session(true), nil, 0, ""},
		"dash":            {session(true), []string{"-"}, 0, ""},
		"file":            {nil, []string{file}, 0, ""},
		"cut":             {session(false), nil, 3, "viv-test: the stream has no end record: the capture was cut short\n"},
		"lost":            {session(true, 5, 7), nil, 3, "viv-test: 12 events were lost\n"},
		"lost one":        {session(true, 1), nil, 3, "viv-test: 1 event was lost\n"},
		"cut and lost":    {session(false, 2), nil, 3, "viv-test: the stream has no end record: the capture was cut short; 2 events were lost\n"},
		"empty":           {nil, nil, 2, "viv-test: the input is empty\n"},
		"text":            {[]byte("hi"), nil, 2, "viv-test: the input is not a viv stream: \"hi\" is not the beginning of a record\n"},
		"v1":              {[]byte(`{"format":"vivarium-raw","version":1}` + "\n"), nil, 2, "viv-test: invalid vivarium-raw capture: version=1 (expected 2); vivarium 0.6.0 writes it\n"},
		"no file":         {nil, []string{dir + "/a\nb"}, 2, "viv-test: open " + dir + `/a\nb: no such file or directory` + "\n"},
		"directory":       {nil, []string{dir}, 2, "viv-test: open " + dir + ": it is a directory\n"},
		"unknown option":  {nil, []string{"--nonsense"}, 2, "viv-test: unknown flag --nonsense\nhint: viv-test --help shows the options\n"},
		"two files":       {nil, []string{"a", "b"}, 2, "viv-test: unexpected argument b\nhint: viv-test --help shows the options\n"},
		"any other error": {nil, []string{"--fail=plain"}, 1, `viv-test: write x: disk full\n\x1b[31m` + "\n"},
		"own status":      {nil, []string{"--fail=exit"}, 126, "viv-test: cannot run\n" + `hint: try\x1bthis` + "\n"},
		"quiet":           {nil, []string{"--fail=quiet"}, 42, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, status := run(t, test.stdin, test.args...)
			if status != test.status || stderr != test.stderr {
				t.Errorf("status %d, %q", status, stderr)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	stdout, stderr, status := run(t, nil, "--version")
	if stdout != "viv-test "+Version+"\n" || stderr != "" || status != 0 {
		t.Errorf("version: %q %q %d", stdout, stderr, status)
	}
	stdout, stderr, status = run(t, nil, "--help")
	if !strings.Contains(stdout, "\n    viv-test x.viv | viv-test\n") || !strings.Contains(stdout, "--version") || stderr != "" || status != 0 {
		t.Errorf("help: %q %q %d", stdout, stderr, status)
	}
}

// terminal returns both ends of one.
func terminal(t *testing.T) (master, slave *os.File) {
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	t.Cleanup(func() { m.Close() })
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return m, s
}

func TestTerminals(t *testing.T) {
	_, slave := terminal(t)
	for name, test := range map[string]struct {
		in, out bool
		args    []string
		status  int
		stderr  string
	}{
		"stdin":           {true, false, nil, 2, "viv-test: stdin is a terminal, not a stream\nhint: pipe a stream into it: viv-probe -- CMD | viv-spans | viv-test\n"},
		"stdout":          {false, true, nil, 2, "viv-test: the stream is binary and stdout is a terminal\nhint: pipe it to viv-tree, or write it to a file with >\n"},
		"stdout for text": {false, true, []string{"--text"}, 0, ""},
	} {
		c := program(test.args...)
		var stderr bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(session(true)), io.Discard, &stderr
		if test.in {
			c.Stdin = slave
		}
		if test.out {
			c.Stdout = slave
		}
		c.Run()
		if got := c.ProcessState.ExitCode(); got != test.status || stderr.String() != test.stderr {
			t.Errorf("%s: status %d, %q", name, got, stderr.String())
		}
	}
}

// start runs the program on a stream that is still being written.
func start(t *testing.T, c *exec.Cmd) (stdin io.WriteCloser, stdout *os.File, stderr *bytes.Buffer) {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr = new(bytes.Buffer)
	c.Stdout, c.Stderr = w, stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		c.Process.Kill()
		r.Close()
	})
	// When the first records came through it is running.
	if _, err := in.Write(session(false, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, len(session(false, 1)))); err != nil {
		t.Fatal(err)
	}
	return in, r, stderr
}

// TestSignals: the first one is the pipeline's business, the second one ours.
func TestSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c := program()
		in, out, stderr := start(t, c)
		c.Process.Signal(s)
		time.Sleep(50 * time.Millisecond) // for a wrong program to end
		rest := session(true, 1)
		if _, err := in.Write(rest); err != nil {
			t.Errorf("%v: the first signal ended it: %v", s, err)
		}
		in.Close()
		got, err := io.ReadAll(out)
		c.Wait()
		if err != nil || !bytes.Equal(got, rest) || c.ProcessState.ExitCode() != 3 {
			t.Errorf("%v: %d bytes of %d came through, status %d, %q", s, len(got), len(rest), c.ProcessState.ExitCode(), stderr)
		}

		c = program()
		start(t, c)
		c.Process.Signal(s)
		for range 100 { // two at once would be one
			time.Sleep(10 * time.Millisecond)
			c.Process.Signal(s)
			var ws syscall.WaitStatus
			if pid, _ := syscall.Wait4(c.Process.Pid, &ws, syscall.WNOHANG, nil); pid != 0 {
				if ws.ExitStatus() != 128+int(s) {
					t.Errorf("%v twice: status %d", s, ws.ExitStatus())
				}
				s = 0
				break
			}
		}
		if s != 0 {
			t.Errorf("%v twice: still running", s)
		}
	}
}

// TestOwnSignals: a program that wants them gets them: here, it dies of them.
func TestOwnSignals(t *testing.T) {
	c := program()
	c.Env = append(c.Env, "CLI_TEST=own")
	start(t, c)
	c.Process.Signal(syscall.SIGTERM)
	c.Wait()
	if ws := c.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("%v", c.ProcessState)
	}
}

// TestClosedOutput: when nobody reads it any more, it ends without a word.
func TestClosedOutput(t *testing.T) {
	c := program()
	in, out, stderr := start(t, c)
	out.Close()
	for err := error(nil); err == nil; {
		_, err = in.Write(session(true))
	}
	c.Wait()
	if c.ProcessState.ExitCode() != 0 || stderr.Len() > 0 {
		t.Errorf("%v, %q", c.ProcessState, stderr)
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü ☃": "plain ü ☃", "a\nb\tc\x00": `a\nb\tc\x00`, "\x1b[2J": `\x1b[2J`, "\xff": `\xff`, "\u202e": `\u202e`, "\ufffd": "\ufffd", `a\b"c`: `a\b"c`,
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
