package probe

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"

	"golang.org/x/sys/unix"
)

// own is what was seen of env.c's own variables, by the process that it was:
// libraries read others.
func own(s *seen) (got []string) {
	for _, ev := range s.events {
		text := eventtest.Show(ev)
		if ev.Kind != &event.Kinds[event.EnvCaccess] || ev.Hidden {
			continue
		}
		if strings.Contains(text, "key=VIV_") || strings.Contains(text, "op=clearenv") {
			got = append(got, text)
		}
	}
	return got
}

// environment is what env.c does. The C library's own secure_getenv calls
// getenv, its putenv of a bare name unsetenv.
var environment = []string{
	"env_caccess op=getenv key=VIV_GET",
	"env_caccess op=secure_getenv key=VIV_SECURE",
	"env_caccess op=getenv key=VIV_SECURE",
	"env_caccess op=setenv key=VIV_SET",
	"env_caccess op=unsetenv key=VIV_UNSET",
	"env_caccess op=putenv key=VIV_PUT",
	"env_caccess op=putenv key=VIV_BARE",
	"env_caccess op=unsetenv key=VIV_BARE",
	"env_caccess op=getenv key=VIV_OVER_TWO_PAGES",
	"env_caccess op=getenv key=VIV_" + strings.Repeat("L", 251) + " truncated",
	"env_caccess op=getenv key=VIV_CHILD",
	"env_caccess op=clearenv",
}

func without(list []string, text string) []string {
	var out []string
	for _, s := range list {
		if !strings.HasSuffix(s, text) {
			out = append(out, s)
		}
	}
	return out
}

func noSecret(t testing.TB, s *seen) {
	t.Helper()
	// As it is, and as the user:password of basic authentication.
	for _, secret := range []string{"hunter2", base64.StdEncoding.EncodeToString([]byte("me:hunter2"))} {
		if i := bytes.Index(s.raw, []byte(secret)); i >= 0 {
			t.Errorf("a secret is in the stream: %q", s.raw[max(0, i-200):i+len(secret)])
		}
	}
}

// TestEnvironment: each way to use the environment, by name only, in a static
// program, which carries the functions itself.
func TestEnvironment(t *testing.T) {
	s := record(t, Options{Events: events(event.EnvCaccess)}, program(t, "env"))
	// The program's own child may be faster than we are.
	compare(t, without(own(s), "CHILD"), without(environment, "CHILD"))
	noSecret(t, s)
}

// compiled is a dynamically linked program of testdata, or one for musl.
func compiled(t testing.TB, name, cc string, args ...string) string {
	t.Helper()
	if dir := os.Getenv("VIV_TEST_PROGRAMS"); dir != "" {
		kind := map[string]string{"cc": ".dynamic", "musl-gcc": ".musl"}[cc]
		return filepath.Join(dir, name+kind)
	}
	path := filepath.Join(t.TempDir(), name)
	args = append([]string{"-O2", "-o", path, "testdata/" + name + ".c"}, args...)
	if out, err := exec.Command(tool(t, cc), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s.c: %v\n%s", cc, name, err, out)
	}
	return path
}

// TestEnvironmentDynamic: the same in the C library's file, and dlopen, of a
// process that was started with us and of one that ran before.
func TestEnvironmentDynamic(t *testing.T) {
	path := compiled(t, "env", "cc", "-ldl")
	opt := Options{Events: events(event.EnvCaccess, event.Dlopen)}
	for name, s := range map[string]*seen{
		"started": record(t, opt, path, "x", "dlopen"),
		"running": recordRunning(t, opt, start(t, path, "wait", "dlopen"), 0),
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, without(own(s), "CHILD"), without(environment, "CHILD"))
			if !strings.Contains(strings.Join(texts(s), "\n"), "dlopen path=viv-none.so") {
				t.Error("its dlopen was not seen")
			}
			noSecret(t, s)
		})
	}
}

func texts(s *seen) (all []string) {
	for _, ev := range s.events {
		all = append(all, eventtest.Show(ev))
	}
	return all
}

// TestChildLibraries: of what a watched shell starts, too.
func TestChildLibraries(t *testing.T) {
	path := compiled(t, "env", "cc", "-ldl")
	s := record(t, Options{Events: events(event.EnvCaccess, event.Dlopen)}, "/bin/sh", "-c", path+" late; "+path+" late; true")
	want := without(environment, "CHILD")
	compare(t, without(own(s), "CHILD"), append(want[:len(want):len(want)], want...))
}

// TestMusl: a C library that is its own loader.
func TestMusl(t *testing.T) {
	path := compiled(t, "env", "musl-gcc")
	s := record(t, Options{Events: events(event.EnvCaccess, event.Dlopen)}, path, "x", "dlopen")
	all := strings.Join(texts(s), "\n")
	for _, want := range environment {
		if strings.HasSuffix(want, "CHILD") {
			continue
		}
		if !strings.Contains(all, want) {
			t.Errorf("not seen: %s", want)
		}
	}
	if !strings.Contains(all, "dlopen path=viv-none.so") {
		t.Error("its dlopen was not seen")
	}
	noSecret(t, s)
}

// TestReplacedLibrary: a program whose file is deleted, with another one of
// that name in its place, is found by what it has mapped.
func TestReplacedLibrary(t *testing.T) {
	d := tempDir(t)
	copyFile(t, program(t, "env"), d+"/env")
	r := start(t, d+"/env", "wait")
	if err := os.Remove(d + "/env"); err != nil {
		t.Fatal(err)
	}
	copyFile(t, program(t, "opens"), d+"/env")
	s := recordRunning(t, Options{Events: events(event.EnvCaccess)}, r, 0)
	compare(t, without(own(s), "CHILD"), without(environment, "CHILD"))
}

// TestOwnRoot: a program in a root of its own, where its file has another name.
func TestOwnRoot(t *testing.T) {
	d := tempDir(t)
	copyFile(t, program(t, "env"), d+"/env")
	cmd := exec.Command("/env", "wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: d, Cloneflags: unix.CLONE_NEWNS}
	r := startCmd(t, cmd)
	s := recordRunning(t, Options{Events: events(event.EnvCaccess)}, r, 0)
	compare(t, without(inRoot(t, d, own(s)), "CHILD"), without(environment, "CHILD"))
}

// inRoot checks that all texts are of a process with that root, and leaves it out.
func inRoot(t *testing.T, root string, texts []string) []string {
	t.Helper()
	var all []string
	for _, text := range texts {
		rest := strings.Replace(text, " root="+root, "", 1)
		if rest == text {
			t.Errorf("without its root: %s", text)
		}
		all = append(all, rest)
	}
	return all
}

// TestHostileRoot: a loader's cache that is no file, in the root of a process
// that is watched from the start, holds nothing up.
func TestHostileRoot(t *testing.T) {
	d := tempDir(t)
	copyFile(t, program(t, "env"), d+"/env")
	if err := os.Mkdir(d+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(d+"/etc/ld.so.cache", 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/env", "wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: d}
	s := recordRunning(t, Options{Events: events(event.EnvCaccess)}, startCmd(t, cmd), 0)
	compare(t, without(inRoot(t, d, own(s)), "CHILD"), without(environment, "CHILD"))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyWatched: for a process that is not watched nothing is attached.
func TestOnlyWatched(t *testing.T) {
	path := program(t, "env")
	other := start(t, path, "wait")
	r := start(t, path, "wait")
	p := newProbe(t, Options{PIDs: []int{r.pid}, Events: events(event.EnvCaccess)})
	if n := p.files.Counts().Processes; n != 1 {
		t.Errorf("attached for %d processes", n)
	}
	if status := other.end(); status != 0 {
		t.Errorf("the other one ended with %d", status)
	}
	r.end()
	s := finish(t, t.Context(), p)
	for _, ev := range s.events {
		if ev.PID == uint32(other.pid) {
			t.Errorf("of the other one: %s", eventtest.Show(ev))
		}
	}
}

// TestAttachGap prints how long it takes until the calls of a program that a
// watched shell starts are seen: of one that was never seen before, and again.
func TestAttachGap(t *testing.T) {
	for name, path := range map[string]string{"static": program(t, "env"), "dynamic": compiled(t, "env", "cc")} {
		d := tempDir(t)
		copyFile(t, path, d+"/env")
		s := record(t, Options{Events: events(event.EnvCaccess, event.ProcExec)}, "/bin/sh", "-c", d+"/env gap; "+d+"/env gap; true")
		var exec uint64
		runs, calls := 0, map[uint32]int{}
		for _, ev := range s.events {
			if ev.Kind == &event.Kinds[event.ProcExec] && strings.HasPrefix(string(ev.Get("path").Text), d) {
				exec = ev.KtimeNS
				runs++
			}
			if strings.HasPrefix(string(ev.Get("key").Text), "VIV_") {
				if calls[ev.PID]++; calls[ev.PID] == 1 {
					t.Logf("%s, run %d: the first call that is seen is of %s, %v after the exec", name, runs, ev.Get("key").Text, time.Duration(ev.KtimeNS-exec))
				}
			}
		}
		if len(calls) != 2 {
			t.Errorf("%s: of 2 runs %d were seen", name, len(calls))
		}
	}
}
