package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// sitting is somebody at a terminal in front of a shell.
type sitting struct {
	t    *testing.T
	term *os.File

	mu    sync.Mutex
	shown bytes.Buffer
}

func sitDown(t *testing.T) *sitting {
	t.Helper()
	term, tty := openTerminal(t)
	sh := exec.Command("sh", "-i")
	sh.Env = append(os.Environ(), "PS1=shell> ", "ENV=")
	sh.Stdin, sh.Stdout, sh.Stderr = tty, tty, tty
	sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	s := &sitting{t: t, term: term}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := term.Read(b)
			s.mu.Lock()
			s.shown.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		term.Close() // hangs up
		sh.Process.Kill()
		sh.Wait()
		if t.Failed() {
			t.Logf("the terminal shows:\n%s", s.text())
		}
	})
	s.waitFor("shell> ")
	return s
}

func (s *sitting) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

func (s *sitting) press(keys string) {
	s.t.Helper()
	if _, err := s.term.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sitting) waitFor(text string) {
	s.t.Helper()
	eventually(s.t, "the terminal shows "+text, func() bool { return strings.Contains(s.text(), text) })
}

// states gives the scheduler's state of each process that has name among its
// arguments.
func states(name string) string {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	all := ""
	for _, file := range list {
		args, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(args), "\x00"+name+"\x00") {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
		if _, behind, ok := strings.Cut(string(stat), ") "); err == nil && ok {
			all += behind[:1]
		}
	}
	return all
}

// openDir is a folder in which every user may make files.
func openDir(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	for dir, mode := range map[string]os.FileMode{d: 0o777, filepath.Dir(d): 0o755} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestJobControl: in a terminal Ctrl-C and Ctrl-\ reach the command once, and
// Ctrl-Z stops both it and viv-probe, until fg.
func TestJobControl(t *testing.T) {
	needRoot(t)
	jobControl(t, "")
}

// TestJobControlOfUser: the same of a command that has no controlling terminal.
func TestJobControlOfUser(t *testing.T) {
	needRoot(t)
	jobControl(t, "--user nobody ")
}

func jobControl(t *testing.T, options string) {
	t.Helper()
	d := openDir(t)
	keys := program(t, "keys")
	s := sitDown(t)
	for i, c := range []struct {
		press string
		want  string
	}{
		{"\x03", "ready\nSIGINT\nend\n"},
		{"\x1c\x03", "ready\nSIGQUIT\nSIGINT\nend\n"},
		{"\x1a\x03", "ready\nSIGCONT\nSIGINT\nend\n"},
	} {
		said := filepath.Join(d, "said"+strconv.Itoa(i))
		stream := filepath.Join(d, strconv.Itoa(i)+".viv")
		want := "ready\n"
		hasSaid := func() bool { b, _ := os.ReadFile(said); return string(b) == want }
		s.press(raced + " " + options + "-e proc_exec -o " + stream + " -- " + keys + " " + said + "; echo status$((" + strconv.Itoa(i) + "))=$?\n")
		eventually(t, "the command runs", hasSaid)
		for _, key := range c.press {
			s.press(string(key))
			switch key {
			case '\x1c':
				want += "SIGQUIT\n"
				eventually(t, "it was told", hasSaid)
			case '\x1a':
				eventually(t, "both are stopped", func() bool { return states(said) == "TT" })
				// The shell is back; the list ended with the status of a stop.
				s.waitFor("status" + strconv.Itoa(i) + "=")
				s.press("fg; echo status$((" + strconv.Itoa(i+1) + "))=$?\n")
				want += "SIGCONT\n"
				eventually(t, "it goes on", hasSaid)
				i++
			}
		}
		s.waitFor("status" + strconv.Itoa(i) + "=7")
		if b, err := os.ReadFile(said); err != nil || string(b) != c.want {
			t.Errorf("%q: the command says %q, want %q", c.press, b, c.want)
		}
		if end := wholeFile(t, stream).end; end.Reason != "exited" || end.ExitCode != 7 {
			t.Errorf("%q: %+v", c.press, end)
		}
	}
}

// TestTerminalOfRoot: a command that runs as another user can put no input into
// the terminal of the one who started it, in none of the ways to name it; one
// that keeps its user keeps its terminal.
func TestTerminalOfRoot(t *testing.T) {
	needRoot(t)
	d := openDir(t)
	inject := program(t, "inject")
	s := sitDown(t)
	for options, want := range map[string]string{
		"--user nobody": "end\n",
		"--user root":   "controlling terminal\n",
		"":              "controlling terminal\n",
	} {
		said := filepath.Join(d, "said"+strings.ReplaceAll(options, " ", ""))
		s.press(viv + " " + options + " -e proc_exec -o " + said + ".viv -- " + inject + " " + said + "\n")
		eventually(t, "the command ends", func() bool {
			b, _ := os.ReadFile(said)
			return strings.HasSuffix(string(b), "end\n")
		})
		if b, err := os.ReadFile(said); err != nil || !strings.Contains("\n"+string(b), "\n"+want) || want == "end\n" && string(b) != want {
			t.Errorf("%s: %v\n%s", options, err, b)
		}
		s.press("\x15\n") // erases what was put in
	}
}

// TestTerminalInputOfUser: a command that runs as another user reads from the
// terminal and writes to it.
func TestTerminalInputOfUser(t *testing.T) {
	needRoot(t)
	d := openDir(t)
	s := sitDown(t)
	s.press(viv + " --user nobody -e proc_exec -o " + d + "/f.viv -- sh -c 'read x; echo \"<$(id -un) $x>\"'\n")
	s.press("typed\n")
	s.waitFor("<nobody typed>")
	s.press("exit\n")
}

// TestTerminalInput: the command reads from the terminal.
func TestTerminalInput(t *testing.T) {
	needRoot(t)
	d := t.TempDir()
	s := sitDown(t)
	s.press(viv + " -e proc_exec -o " + d + "/f.viv -- sh -c 'read x; echo \"<$x>\"'\n")
	s.press("typed\n")
	s.waitFor("<typed>")
	s.press("exit\n")
}
