package attach

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// library writes a library without anything in it.
func library(t testing.TB, path string) {
	t.Helper()
	b := make([]byte, 64+56)
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(elf.EM_X86_64))
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	if err := os.WriteFile(path, b, 0o700); err != nil {
		t.Fatal(err)
	}
}

// one finds one place in each library.
var one = Finder{Kind: "calls", Find: func(*File) (Found, error) {
	return Found{Sites: []Site{{Program: "none"}}}, nil
}}

// idle is an Attacher whose state is the test's.
func idle(t testing.TB, finders ...Finder) *Attacher {
	t.Helper()
	a := newAttacher(Config{Finders: finders})
	t.Cleanup(func() {
		close(a.quit)
		a.end()
	})
	return a
}

func self(t testing.TB, a *Attacher) (int, *process) {
	t.Helper()
	p := a.process(os.Getpid())
	if p == nil {
		t.Fatal("no pidfd of ourselves")
	}
	return os.Getpid(), p
}

// lookAt looks at a file as if the process had mapped it.
func lookAt(a *Attacher, pid int, p *process, path string) *file {
	at := place{pid: pid, path: path}
	id, err := at.look()
	if err != nil {
		a.unseen(pid, p, fmt.Sprintf("%q", path), err)
		return nil
	}
	return a.look(pid, p, at, id, true)
}

func said(a *Attacher) string {
	var all []string
	for _, f := range a.Failures() {
		all = append(all, f.Error())
	}
	return strings.Join(all, "\n")
}

// TestOpen: what holds up who opens it, what does something then, and what is no
// file, is not opened; what is a file is, in the process's root.
func TestOpen(t *testing.T) {
	d := t.TempDir()
	if err := errors.Join(
		unix.Mkfifo(d+"/fifo", 0o600),
		os.Symlink("/dev/zero", d+"/device"),
		os.Symlink(d+"/fifo", d+"/tofifo"),
		os.Symlink("/proc/self/exe", d+"/magic"),
		os.Symlink("loop", d+"/loop"),
	); err != nil {
		t.Fatal(err)
	}
	library(t, d+"/lib")
	for path, want := range map[string]string{
		d + "/fifo": "not a regular file", d + "/tofifo": "not a regular file", d + "/device": "not a regular file", d: "not a regular file",
		d + "/none": "no such file", d + "/magic": "too many levels of symbolic links", d + "/loop": "too many levels of symbolic links",
	} {
		f, _, err := place{pid: os.Getpid(), path: path}.open()
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{d + "/lib", "/../.." + d + "/./lib"} {
		f, id, err := place{pid: os.Getpid(), path: path}.open()
		if err != nil || id.size != 120 {
			t.Fatalf("%s: %v", path, err)
		}
		f.Close()
	}
	f, id, err := openOwn("/proc/self/exe")
	if err != nil || id.size == 0 {
		t.Fatalf("ourselves: %v", err)
	}
	f.Close()
	if _, _, err := openOwn(d + "/fifo"); !errors.Is(err, errNoFile) {
		t.Errorf("a FIFO of ours: %v", err)
	}
}

// TestOther: where only the name leads to a mapped file, another file of that name
// is not opened.
func TestOther(t *testing.T) {
	d := t.TempDir()
	library(t, d+"/lib")
	library(t, d+"/other")
	mapped, err := identify(unix.AT_FDCWD, d+"/lib")
	if err != nil {
		t.Fatal(err)
	}
	// One that map_files does not let us follow.
	at := place{pid: os.Getpid(), path: d + "/lib", mapped: "1-2", id: mapped.fileID}
	if _, _, err := at.find(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("what is not mapped: %v", err)
	}
	line := fmt.Sprintf("7f00-7f10 r-xp 00000000 %02x:%02x %d %s", unix.Major(mapped.dev), unix.Minor(mapped.dev), mapped.ino, d+"/lib")
	p, ok := parseMap(line)
	if !ok || p.id != mapped.fileID || p.path != d+"/lib" || p.mapped != "7f00-7f10" {
		t.Errorf("%q: %+v", line, p)
	}
	if _, ok := parseMap("7f00-7f10 rw-p 00000000 00:01 7 /x"); ok {
		t.Error("what is not executable")
	}
}

// TestLease: a file on which a program has a lease is not waited for, and said.
func TestLease(t *testing.T) {
	signal.Ignore(unix.SIGIO)
	d := t.TempDir()
	library(t, d+"/lib")
	fd, err := unix.Open(d+"/lib", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no leases here: %v", err)
	}
	a := idle(t, one)
	pid, p := self(t, a)
	if lookAt(a, pid, p, d+"/lib") != nil {
		t.Error("it was looked at")
	}
	want := fmt.Sprintf("process %d: calls in %q are not seen: open: a program has a lease on it: resource temporarily unavailable", pid, d+"/lib")
	if got := said(a); got != want {
		t.Errorf("said is: %s", got)
	}
}

// TestHostile: files that a watched program could map hold nothing up.
func TestHostile(t *testing.T) {
	d := t.TempDir()
	if err := errors.Join(unix.Mkfifo(d+"/fifo", 0o600), os.WriteFile(d+"/script", []byte("#!/bin/sh\n"), 0o700),
		os.Symlink("/dev/zero", d+"/device")); err != nil {
		t.Fatal(err)
	}
	library(t, d+"/lib")
	broken := Finder{Kind: "probes", Find: func(*File) (Found, error) { return Found{}, errors.New("a probe note is cut") }}
	for name, want := range map[string]struct {
		looked bool
		said   string
	}{
		"fifo": {true, ""}, "script": {true, ""}, "device": {true, ""}, "lib": {true, "probes in " + d + "/lib: a probe note is cut"},
		"missing": {false, "probes in \"" + d + "/missing\" are not seen: "},
	} {
		a := idle(t, broken)
		pid, p := self(t, a)
		f := lookAt(a, pid, p, filepath.Join(d, name))
		if (f != nil) != want.looked || f != nil && f.file != nil {
			t.Errorf("%s was looked at: %+v", name, f)
		}
		if got := said(a); (got == "") != (want.said == "") || !strings.Contains(got, want.said) {
			t.Errorf("of %s is said: %q", name, got)
		}
	}
}

// TestNoAnswer: one who never answers is not waited for, nor asked again; when too
// many do not answer the others are not asked either.
func TestNoAnswer(t *testing.T) {
	defer func(d time.Duration) { lookLimit = d }(lookLimit)
	lookLimit = 50 * time.Millisecond
	d := t.TempDir()
	library(t, d+"/lib")
	library(t, d+"/other")
	asked := 0
	answer := make(chan struct{})
	// What reads slowly looks the same.
	a := idle(t, Finder{Kind: "calls", Find: func(f *File) (Found, error) {
		asked++
		f.ReaderAt.(reader).w.do(func() { <-answer })
		return Found{}, nil
	}})
	pid, p := self(t, a)
	for range 2 {
		start := time.Now()
		lookAt(a, pid, p, d+"/lib")
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it was waited for %v", took)
		}
	}
	if want := fmt.Sprintf("process %d: calls in %q are not seen: no answer in time", pid, d+"/lib"); said(a) != want || asked != 1 {
		t.Errorf("asked %d times; said is: %s", asked, said(a))
	}
	late := make(chan int, maxHelpers)
	for i := range maxHelpers - 1 {
		_, err := ask(a, func(w *watch) (int, error) { w.do(func() { <-answer }); return i, nil }, func(i int) { late <- i })
		if !errors.Is(err, errSlow) {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	if lookAt(a, pid, p, d+"/other") != nil {
		t.Error("one was asked while too many do not answer")
	}
	if want := fmt.Sprintf("process %d: calls in %q are not seen: too many others have not answered", pid, d+"/other"); !strings.HasSuffix(said(a), want) {
		t.Errorf("said is: %s", said(a))
	}
	close(answer)
	for range maxHelpers - 1 { // what comes late is closed
		select {
		case <-late:
		case <-time.After(10 * time.Second):
			t.Fatal("an answer that came late is lost")
		}
	}
	for len(a.helpers) > 0 {
		time.Sleep(time.Millisecond)
	}
	if v, err := ask(a, func(*watch) (int, error) { return 7, nil }, nil); v != 7 || err != nil {
		t.Errorf("afterwards: %d, %v", v, err)
	}
}

// closed counts how often it was.
type closed struct {
	link.Link
	n chan struct{}
}

func (c closed) Close() error { c.n <- struct{}{}; return nil }

// TestLate: what the kernel attached too late is kept as long as its process and
// file are, and else taken back.
func TestLate(t *testing.T) {
	a := New(Config{Finders: []Finder{one}})
	l := closed{n: make(chan struct{}, 1)}
	var kept []link.Link
	keep := func(links []link.Link) { kept = append(kept, links...) }
	a.late(func() bool { return true }, keep)([]link.Link{l})
	if len(kept) != 1 || len(l.n) != 0 {
		t.Errorf("%d are kept", len(kept))
	}
	a.late(func() bool { return false }, keep)([]link.Link{l})
	<-l.n
	a.Close()
	a.late(func() bool { return true }, keep)([]link.Link{l}) // when all is over
	<-l.n
	if len(kept) != 1 {
		t.Errorf("%d are kept", len(kept))
	}
}

// TestClose: the end does not wait for who does not answer.
func TestClose(t *testing.T) {
	answer, asked := make(chan struct{}), make(chan struct{})
	defer close(answer)
	a := New(Config{Finders: []Finder{{Kind: "calls", Find: func(f *File) (Found, error) {
		close(asked)
		f.ReaderAt.(reader).w.do(func() { <-answer })
		return Found{}, nil
	}}}})
	d := t.TempDir()
	library(t, d+"/lib")
	go a.call(func() {
		if p := a.process(os.Getpid()); p != nil {
			lookAt(a, os.Getpid(), p, d+"/lib")
		}
	})
	<-asked
	start := time.Now()
	a.Close()
	if took := time.Since(start); took > lookLimit/2 {
		t.Errorf("it took %v", took)
	}
	if said(a) != "" {
		t.Errorf("said is: %s", said(a))
	}
	a.Close()
}

// TestQueue: a change waits once, only so many wait, and what does not fit is said.
func TestQueue(t *testing.T) {
	a := newAttacher(Config{Finders: []Finder{one}})
	for pid := range maxQueue + 10 {
		a.Changed(1<<30+pid, 0, 1)
		a.Changed(1<<30+pid, 0, 2)
	}
	got := a.queue.take()
	if len(got) != maxQueue || got[1] != (queued{change{1<<30 + 1, 0}, 2}) {
		t.Errorf("%d wait, the second is %+v", len(got), got[1])
	}
	if left := a.queue.take(); len(left) != 0 {
		t.Errorf("%d wait still", len(left))
	}
	go a.run()
	a.Close()
	if want := "a process that was made, or mapped a file, is not looked at: they were too many at once (and 19 more failures)"; said(a) != want {
		t.Errorf("said is: %s", said(a))
	}
}

// TestSweep: files that no process has mapped are let go, and there is a bound of
// those that are kept.
func TestSweep(t *testing.T) {
	a := idle(t, one)
	pid, p := self(t, a)
	d := t.TempDir()
	look := func(name string) *file {
		path := filepath.Join(d, name)
		library(t, path)
		f := lookAt(a, pid, p, path)
		if f == nil {
			t.Fatalf("%s cannot be looked at: %s", name, said(a))
		}
		return f
	}
	p.mapped = map[*file]bool{look("mapped"): true}
	look("cached").keep = true
	other := look("other").file
	a.sweep(time.Now(), keepUnused)
	if a.open != 3 {
		t.Errorf("%d files are kept at once, want 3", a.open)
	}
	a.sweep(time.Now().Add(keepUnused), keepUnused)
	if a.open != 2 {
		t.Errorf("%d files are kept later, want 2", a.open)
	}
	if _, err := other.Stat(); err == nil {
		t.Error("a file that nobody has mapped is open")
	}
	for i := range maxFiles + 10 {
		p.mapped[look(strconv.Itoa(i))] = true
	}
	if a.open != maxFiles {
		t.Errorf("%d files are kept, want %d", a.open, maxFiles)
	}
	look("one more")
	if !strings.Contains(said(a), fmt.Sprintf("more than %d files with probes are mapped", maxFiles)) {
		t.Errorf("what could not be kept is said as: %s", said(a))
	}
	a.drop(pid)
	a.sweep(time.Now().Add(2*keepUnused), keepUnused)
	if a.open != 1 {
		t.Errorf("%d files are kept when all processes have ended, want 1", a.open)
	}
}

// TestReplaced: a file that was written since is looked at again.
func TestReplaced(t *testing.T) {
	found := 0
	a := idle(t, Finder{Kind: "calls", Find: func(*File) (Found, error) { found++; return Found{}, nil }})
	pid, p := self(t, a)
	path := t.TempDir() + "/lib"
	library(t, path)
	lookAt(a, pid, p, path)
	lookAt(a, pid, p, path)
	library(t, path)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	lookAt(a, pid, p, path)
	if found != 2 {
		t.Errorf("it was read %d times, want 2", found)
	}
}

// TestFailures: what fails for one cause is said once, with how often.
func TestFailures(t *testing.T) {
	a := idle(t)
	for i := range 2 * maxCauses {
		a.failures.add(strconv.Itoa(i), fmt.Errorf("failure %d", i))
	}
	a.failures.add("0", errors.New("another"))
	list := a.Failures()
	if len(list) != maxCauses || a.Failed() != 2*maxCauses+1 {
		t.Fatalf("%d causes of %d failures", len(list), a.Failed())
	}
	if got := list[0].Error(); got != "failure 0 (and 1 more failures)" {
		t.Error(got)
	}
	if got := list[maxCauses-1].N; got != maxCauses+1 {
		t.Errorf("of the last %d", got)
	}
}

// TestMountType: the type of a file system is found by the mount's id.
func TestMountType(t *testing.T) {
	path := t.TempDir() + "/mountinfo"
	text := "36 35 98:0 / / rw - ext4 /dev/root rw\n361 36 0:57 / /mnt\\040x rw,relatime shared:1 - fuse.sshfs a@b:/ rw,user_id=0\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for mount, want := range map[uint64]string{36: "ext4", 361: "fuse.sshfs", 3: "", 98: ""} {
		if got := mountType(path, mount); got != want {
			t.Errorf("mount %d: %q, want %q", mount, got, want)
		}
	}
	for typ, want := range map[string]bool{"fuse": true, "fuseblk": true, "fuse.sshfs": true, "fusectl": false, "ext4": false} {
		if isFUSE(typ) != want {
			t.Errorf("%s: %v", typ, !want)
		}
	}
}

// BenchmarkChanged is what a change costs who reads the ring.
func BenchmarkChanged(b *testing.B) {
	a := newAttacher(Config{Finders: []Finder{one}})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%maxQueue == 0 {
			a.queue.take()
		}
		a.Changed(1<<30+i%maxQueue, 0, uint64(i))
	}
}
