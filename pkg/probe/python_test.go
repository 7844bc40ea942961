package probe

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

// The script makes threads and processes in the ways that Python has. What the
// interpreter opens for itself is left out of the comparison.
const script = `
import os, subprocess, sys, threading

d = sys.argv[1]

def touch(name):
    open(d + "/" + name, "w").close()

def work(name):
    touch(name)
    subprocess.run(["/bin/true", name], check=True)

for name in "one", "two":
    t = threading.Thread(target=work, args=(name,))
    t.start()
    t.join()

pid = os.fork()
if pid == 0:
    touch("forked")
    os._exit(5)
os.waitpid(pid, 0)

os.environ["PATH"] = d + "/none:/bin:/usr/bin"
subprocess.run(["true"], check=True)
try:
    subprocess.run([d + "/missing"])
except FileNotFoundError:
    pass
os.system("exit 3")
touch("last")
os.execv("/bin/true", ["renamed", ""])
`

// TestPython: a script, whole: each thread's own events and their order.
func TestPython(t *testing.T) {
	// What is called python3 may be a script that looks for it.
	out, err := exec.Command(tool(t, "python3"), "-c", "import sys; print(sys.executable, end='')").Output()
	if err != nil {
		t.Fatal(err)
	}
	python := string(out)
	real := func(path string) string {
		file, err := filepath.EvalSymlinks(path)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	d := tempDir(t)
	file := d + "/script.py"
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	s := record(t, Options{Events: taskEvents}, python, "-I", file, d)
	kept := s.events[:0]
	for _, ev := range s.events {
		path := ev.Get("path").Text
		if ev.Kind != &event.Kinds[event.PathOpen] || bytes.HasPrefix(path, []byte(d+"/")) && string(path) != file {
			kept = append(kept, ev)
		}
	}
	s.events = kept
	write := func(name string) string {
		return opened(d+"/"+name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC)
	}
	run := func(path string, argv ...string) []string {
		return []string{executed(real(path), len(argv), argv...), exited(0)}
	}
	compareThreads(t, s, map[string][]string{
		"0": {
			executed(real(python), 4, python, "-I", file, d),
			"proc_fork 0.1 thread",
			"proc_fork 0.2 thread",
			"proc_fork 0.3",
			"proc_fork 0.4",
			"proc_fork 0.5",
			"proc_fork 0.6",
			write("last"),
			executed(real("/bin/true"), 2, "renamed", ""),
			exited(0),
		},
		"0.1":   {write("one"), "proc_fork 0.1.1", threadExited},
		"0.1.1": run("/bin/true", "/bin/true", "one"),
		"0.2":   {write("two"), "proc_fork 0.2.1", threadExited},
		"0.2.1": run("/bin/true", "/bin/true", "two"),
		"0.3":   {write("forked"), exited(5)},
		"0.4": append([]string{executed(d+"/none/true", 1, "true") + " error=ENOENT"},
			run("/bin/true", "true")...),
		"0.5": {executed(d+"/missing", 1, d+"/missing") + " error=ENOENT", exited(255)},
		"0.6": {executed(real("/bin/sh"), 3, "sh", "-c", "exit 3"), exited(3)},
	})
}
