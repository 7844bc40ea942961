package probe

import (
	"maps"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/probe/attach"

	"golang.org/x/sys/unix"
)

// TestUSDTElsewhere: probes of programs whose files are not where their names
// say, or that have another C library.
func TestUSDTElsewhere(t *testing.T) {
	d := tempDir(t)
	copyFile(t, program(t, "usdt"), d+"/usdt")
	opt := Options{Events: maps.Clone(taskEvents), Spans: spansFrom(t, "vivarium_usdt", ownProvider)}
	for _, id := range spanEvents {
		opt.Events[id] = true
	}
	check := func(t *testing.T, r *running, root string) {
		s := recordRunning(t, opt, r, 1)
		got := spanThreads(t, s)
		seen := got["0"][:min(len(got["0"]), len(wantVivarium))]
		if root != "" {
			seen = inRoot(t, root, seen)
		}
		compare(t, seen, wantVivarium)
		if n := len(got["0"]); n != len(wantVivarium)+4 || len(got["0.1"]) != 2 || len(got["0.2"]) != 2 {
			t.Errorf("%q", got)
		}
	}
	t.Run("own root", func(t *testing.T) {
		cmd := exec.Command("/usdt", "/", "wait")
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: d, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
		check(t, startCmd(t, cmd), d)
	})
	t.Run("musl", func(t *testing.T) {
		check(t, start(t, compiled(t, "usdt", "musl-gcc", "-pthread"), d, "wait"), "")
	})
	t.Run("deleted", func(t *testing.T) {
		r := start(t, d+"/usdt", d, "wait")
		if err := os.Remove(d + "/usdt"); err != nil {
			t.Fatal(err)
		}
		copyFile(t, program(t, "opens"), d+"/usdt")
		check(t, r, "")
	})
}

// TestUSDTManyProcesses: what is held for processes that have ended is let go.
func TestUSDTManyProcesses(t *testing.T) {
	d := tempDir(t)
	r := start(t, "/bin/sh", "-c", "echo ready; read x; while ! test -e "+d+"/seen; do sleep 1 | $0 "+d+" wait; done; while ! test -e "+d+"/stop; do sleep 0.1; done", program(t, "usdt"))
	p := newProbe(t, Options{PIDs: []int{r.pid}, Events: events(spanEvents...), Spans: spansFrom(t, ownProvider)})
	until := func(what string, ok func(attach.Counts) bool) {
		for range 300 {
			if ok(p.files.Counts()) {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s: %+v", what, p.files.Counts())
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		until("nothing is held", func(c attach.Counts) bool { return c.Holds > 0 && c.Files > 0 })
		os.WriteFile(d+"/seen", nil, 0o600)
		until("what is held is not let go", func(c attach.Counts) bool { return c.Holds == 0 && c.Processes <= 2 }) // the shell, and its sleep
		os.WriteFile(d+"/stop", nil, 0o600)
	}()
	r.stdin.Close()
	finish(t, t.Context(), p)
	<-done
}

// TestUSDTManySites: of a file that has very many sites only so many are
// attached, and that is said.
func TestUSDTManySites(t *testing.T) {
	s := record(t, Options{Events: events(spanEvents...), Spans: spansFrom(t, "usdt:own:enter:leave")}, program(t, "sites"))
	if len(s.result.Unattached) != 1 || !strings.Contains(s.result.Unattached[0].Error(), "only 128 of 600 sites") {
		t.Errorf("said is: %v", s.result.Unattached)
	}
	if n := strings.Count(strings.Join(texts(s), "\n"), "span_start name=name source=usdt"); n != 128 {
		t.Errorf("%d were seen", n)
	}
}
