package probe

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"

	"golang.org/x/sys/unix"
)

var taskEvents = events(event.PathOpen, event.ProcFork, event.ProcExec, event.ProcExit)

// exited is the end of a process, threadExited that of one of its threads.
func exited(code int) string { return fmt.Sprintf("proc_exit exit_code=%d process=1", code) }

const threadExited = "proc_exit exit_code=0 process=0"

func touched(path string) string { return opened(path, unix.O_CREAT|unix.O_WRONLY) }

// TestTasks: everything that makes or ends a task, in a process that had
// threads, a child with a thread and a grandchild before it was watched.
func TestTasks(t *testing.T) {
	d := tempDir(t)
	s := recordRunning(t, Options{Events: taskEvents}, start(t, program(t, "threads"), d), 7)
	compareThreads(t, s, map[string][]string{
		// A worker, which forks, and in the end executes a program: the process
		// is then its.
		"0": {
			"proc_fork 0.1",
			"proc_exec path=${self} argv=[${self} exit 7] argc=3 old_tid=${worker}",
			exited(7),
		},
		"0.1": {touched(d + "/fork"), exited(3)},
		// A worker, which vforks.
		"1":   {"proc_fork 1.1", threadExited},
		"1.1": {"proc_exec path=${self} argv=[${self} exit 4] argc=3", exited(4)},
		// A worker, which makes a thread.
		"2":   {"proc_fork 2.1 thread", threadExited},
		"2.1": {touched(d + "/thread"), threadExited},
		// The main thread, which spawns, and makes two processes with the same id.
		// The worker's exec takes its place.
		"3": {
			touched(d + "/main"), "proc_fork 3.1", "proc_fork 3.2", "proc_fork 3.3",
		},
		"3.1": {"proc_exec path=${self} argv=[${self} exit 5] argc=3", exited(5)},
		"3.2": {touched(d + "/same-pid-0"), exited(0)},
		"3.3": {touched(d + "/same-pid-1"), exited(1)},
		// The child that was there before, its thread and its child.
		"4": {touched(d + "/old"), exited(6)},
		"5": {touched(d + "/old-thread"), threadExited},
		"6": {touched(d + "/grandchild"), exited(0)},
	})
}

// TestNoFollow: only the threads of the target itself.
func TestNoFollow(t *testing.T) {
	d := tempDir(t)
	s := recordRunning(t, Options{Events: taskEvents, NoFollow: true}, start(t, program(t, "threads"), d), 7)
	compareThreads(t, s, map[string][]string{
		"0":   {"proc_fork 0.1 thread", threadExited},
		"0.1": {touched(d + "/thread"), threadExited},
		"1":   {touched(d + "/main")},
		"2":   {threadExited},
		"3": {
			"proc_exec path=${self} argv=[${self} exit 7] argc=3 old_tid=${worker}",
			exited(7),
		},
	})
}

// TestForkStorm: of a tree of processes that grows while it is found and the
// hooks are attached, each is seen from then on, under the one that made it.
func TestForkStorm(t *testing.T) {
	d := tempDir(t)
	s := recordRunning(t, Options{Events: taskEvents}, start(t, program(t, "storm"), d), 0)
	type task struct{ span, parent uint64 }
	tasks := map[string]task{}
	exits := map[uint64]bool{}
	opens := map[string]*event.Event{}
	forked := 0
	for _, ev := range s.events {
		switch ev.Kind {
		case &event.Kinds[event.ProcFork]:
			forked++
		case &event.Kinds[event.PathOpen]:
			opens[filepath.Base(string(ev.Get("path").Text))] = ev
			tasks[strconv.Itoa(int(ev.TID))] = task{ev.SpanID, ev.ParentSpanID}
		case &event.Kinds[event.ProcExit]:
			exits[ev.SpanID] = true
		}
	}
	files, err := os.ReadDir(d)
	if err != nil {
		t.Fatal(err)
	}
	root := fmt.Sprint(s.session.Targets[0])
	for _, f := range files {
		ids := strings.Split(f.Name(), ".")
		pid, tid, maker := ids[0], ids[1], ids[2]
		ev := opens[f.Name()]
		if ev == nil {
			t.Errorf("thread %s of process %s was missed", tid, pid)
			continue
		}
		if fmt.Sprint(ev.PID) != pid || fmt.Sprint(ev.TID) != tid {
			t.Errorf("%s is by pid %d tid %d", f.Name(), ev.PID, ev.TID)
		}
		if maker != root && ev.ParentSpanID != tasks[maker].span {
			t.Errorf("%s is under span %x, its maker's is %x", f.Name(), ev.ParentSpanID, tasks[maker].span)
		}
		if !exits[ev.SpanID] {
			t.Errorf("the exit of thread %s was missed", tid)
		}
	}
	t.Logf("%d tasks, of which %d were made while they were watched", len(files), forked)
	if len(files) < 20 || len(opens) != len(files) {
		t.Errorf("%d files, %d opens", len(files), len(opens))
	}
}

// TestOwnProcess: the one who watches is not watched, though it is a child of
// a target.
func TestOwnProcess(t *testing.T) {
	p := newProbe(t, Options{PIDs: []int{os.Getppid()}, Events: events(event.PathOpen)})
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, func() {
		os.ReadFile("/proc/self/status")
		stop()
	})
	for _, ev := range finish(t, ctx, p).events {
		if ev.PID == uint32(os.Getpid()) {
			t.Errorf("seen: %s", eventtest.Show(ev))
		}
	}
}

// TestReusedID: a task whose end was missed leaves nothing to the next one
// with its id.
func TestReusedID(t *testing.T) {
	d := tempDir(t)
	first := start(t, program(t, "once"), d+"/first")
	last := start(t, program(t, "once"), d+"/last")
	p := newProbe(t, Options{PIDs: []int{first.pid, last.pid}, Events: taskEvents})
	if err := p.bpf.links["sched_process_exit"].Close(); err != nil {
		t.Fatal(err)
	}
	delete(p.bpf.links, "sched_process_exit")
	first.end()
	// Not watched, but one with the id of one that was.
	if status := start(t, program(t, "once"), d+"/other", strconv.Itoa(first.pid)).end(); status != 0 {
		t.Errorf("status %d", status)
	}
	last.end()
	s := finish(t, t.Context(), p)
	if _, err := os.Stat(d + "/other"); err != nil {
		t.Error(err)
	}
	compareThreads(t, s, map[string][]string{"0": {touched(d + "/first")}, "1": {touched(d + "/last")}})
}

// TestLeaderEnds: a process is watched until its last thread ends, also one whose
// first has ended before, and one that observes meanwhile.
func TestLeaderEnds(t *testing.T) {
	for _, c := range []struct {
		when string
		opt  Options
		want []string
	}{
		{"before", Options{}, []string{"thread", "child", "last"}},
		{"during", Options{}, []string{"unseen", "thread", "child", "last"}},
		{"during", Options{Spans: spansFrom(t, "observe")}, []string{"thread", "child", "last"}},
	} {
		t.Run(fmt.Sprintf("%s, %d", c.when, len(c.want)), func(t *testing.T) {
			d := tempDir(t)
			c.opt.Events = taskEvents
			r := start(t, program(t, "leader"), d, c.when)
			s := recordRunning(t, c.opt, r, 5)
			var got []string
			for _, ev := range s.events {
				if path := string(ev.Get("path").Text); ev.Kind == &event.Kinds[event.PathOpen] && filepath.Dir(path) == d {
					got = append(got, filepath.Base(path))
				}
			}
			compare(t, got, c.want)
			if p := s.session.Processes; len(p) != 1 || p[0].PID != uint32(r.pid) || p[0].Path != program(t, "leader") || len(p[0].Argv) != 3 {
				t.Errorf("process %d runs %+v", r.pid, p)
			}
			if s.end.Reason != "exited" || s.end.Alive != 0 {
				t.Errorf("%+v", s.end)
			}
		})
	}
}

// inNamespace tells the test's own binary that it is in a pid namespace of its
// own.
const inNamespace = "VIV_TEST_IN_NAMESPACE"

// TestOwnPIDNamespace: in a pid namespace of its own viv-probe tells the ids that
// ps and its programs know there, and finds its processes in /proc by them. So the
// tests of what runs already, of its threads and children, of libraries and
// probes, hold there as they do outside.
func TestOwnPIDNamespace(t *testing.T) {
	needRoot(t)
	if os.Getenv(inNamespace) != "" {
		t.Skip("is in a pid namespace already")
	}
	unshare := tool(t, "unshare")
	if out, err := exec.Command(unshare, "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("the kernel refuses a pid namespace (CAP_SYS_ADMIN): %v: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := []string{"TestTasks", "TestNoFollow", "TestOwnProcess", "TestReusedID", "TestUSDT", "TestTLSMidConnection",
		"TestOnlyWatched", "TestReplacedLibrary", "TestObserve", "TestWays", "TestEvents"}
	for i, name := range run {
		run[i] = "^" + name + "$"
	}
	cmd := exec.Command(unshare, "--pid", "--fork", "--mount-proc",
		"sh", "-c", `"$0" "$@"; exit $?`, self, "-test.v", "-test.timeout=30m", "-test.run", strings.Join(run, "|"))
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range run {
		if !bytes.Contains(out, []byte("=== RUN   "+strings.Trim(name, "^$")+"\n")) {
			t.Errorf("%s did not run", name)
		}
	}
}
