package probe

import (
	"fmt"
	"testing"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

var taskEvents = events(event.PathOpen, event.ProcFork, event.ProcExec, event.ProcExit)

func exited(code int) string { return fmt.Sprintf("proc_exit exit_code=%d", code) }

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
		"1":   {"proc_fork 1.1", exited(0)},
		"1.1": {"proc_exec path=${self} argv=[${self} exit 4] argc=3", exited(4)},
		// A worker, which makes a thread.
		"2":   {"proc_fork 2.1 thread", exited(0)},
		"2.1": {touched(d + "/thread"), exited(0)},
		// The main thread, which spawns, and makes two processes with the same id.
		"3": {
			touched(d + "/main"), "proc_fork 3.1", "proc_fork 3.2", "proc_fork 3.3", exited(0),
		},
		"3.1": {"proc_exec path=${self} argv=[${self} exit 5] argc=3", exited(5)},
		"3.2": {touched(d + "/same-pid-0"), exited(0)},
		"3.3": {touched(d + "/same-pid-1"), exited(1)},
		// The child that was there before, its thread and its child.
		"4": {touched(d + "/old"), exited(6)},
		"5": {touched(d + "/old-thread"), exited(0)},
		"6": {touched(d + "/grandchild"), exited(0)},
	})
}
