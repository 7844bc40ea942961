package probe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenRegular: what holds up who opens it, and what is no file, is refused.
func TestOpenRegular(t *testing.T) {
	d := t.TempDir()
	if err := unix.Mkfifo(d+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		d + "/fifo": "not a regular file", d: "not a regular file", "/dev/zero": "not a regular file", d + "/none": "no such file",
	} {
		f, _, err := openRegular(name)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f, st, err := openRegular("/proc/self/exe")
	if err != nil || st.Size == 0 {
		t.Fatalf("ourselves: %v", err)
	}
	f.Close()
}

// TestHostileFiles: files that a watched program could map hold nothing up, and
// what cannot be read of their notes is said.
func TestHostileFiles(t *testing.T) {
	d := t.TempDir()
	if err := unix.Mkfifo(d+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	// A section of notes that is cut, and one that the file does not have.
	cut := elfFile([]byte("\x00.note.stapsdt\x00"), []uint32{0, 1}, 2)
	headers := binary.LittleEndian.Uint64(cut[40:])
	dynsym := cut[headers+64:]
	binary.LittleEndian.PutUint32(dynsym, 1)
	binary.LittleEndian.PutUint32(dynsym[4:], uint32(elf.SHT_NOTE))
	huge := bytes.Clone(cut)
	binary.LittleEndian.PutUint64(huge[headers+64+32:], 1<<40)
	binary.LittleEndian.PutUint64(dynsym[32:], 7)
	for name, b := range map[string][]byte{"cut": cut, "huge": huge, "none": elfFile([]byte{0}, []uint32{0}, 1), "script": []byte("#!/bin/sh\n")} {
		if err := os.WriteFile(filepath.Join(d, name), b, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		looked bool
		said   string
	}{
		"fifo": {false, ""}, "missing": {false, ""}, "none": {true, ""}, "script": {true, ""},
		"cut":  {true, "a probe note is cut"},
		"huge": {true, "1099511627776 bytes of probe notes"},
	} {
		s := &siteSet{p: &Probe{opt: Options{Spans: spans(t, ownProvider)}}, files: map[fileID]probedFile{}, procs: map[int]*siteProcess{}}
		p := s.process(os.Getpid())
		if p == nil {
			t.Fatal("no pidfd of ourselves")
		}
		path := filepath.Join(d, name)
		if looked := s.look(os.Getpid(), p, path, path); looked != want.looked {
			t.Errorf("%s was looked at: %v", name, looked)
		}
		said := ""
		for _, err := range s.fails {
			said += err.Error()
		}
		if (said == "") != (want.said == "") || !strings.Contains(said, want.said) {
			t.Errorf("of %s is said: %q", name, said)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDynamicTexts: of a library that says that it needs very many others, each
// with a very long name, only some is read.
func TestDynamicTexts(t *testing.T) {
	file := elfFile(append([]byte{0}, bytes.Repeat([]byte("x"), 1<<19)...), make([]uint32, 30_000), 1<<20)
	headers := binary.LittleEndian.Uint64(file[40:])
	binary.LittleEndian.PutUint32(file[headers+64+4:], uint32(elf.SHT_DYNAMIC))
	entries := file[120 : 120+24*30_000]
	for i := 0; i+16 <= len(entries); i += 16 {
		binary.LittleEndian.PutUint64(entries[i:], uint64(elf.DT_NEEDED))
		binary.LittleEndian.PutUint64(entries[i+8:], uint64(i+1))
	}
	f, err := openELF(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	all := dynamicTexts(f, elf.DT_NEEDED)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	if len(all) != 64 || len(all[1]) != 4096 {
		t.Errorf("%d texts, the second of %d bytes", len(all), len(all[1]))
	}
	self, err := os.Open(tool(t, "bash"))
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if f, err = openELF(self); err != nil {
		t.Fatal(err)
	}
	if all := dynamicTexts(f, elf.DT_NEEDED); !strings.Contains(strings.Join(all, " "), "libc.so") {
		t.Errorf("bash needs %q", all)
	}
}

// TestUSDTElsewhere: probes of programs whose files are not where their names
// say, or that have another C library.
func TestUSDTElsewhere(t *testing.T) {
	d := tempDir(t)
	copyFile(t, program(t, "usdt"), d+"/usdt")
	opt := Options{Events: maps.Clone(taskEvents), Spans: spans(t, "vivarium_usdt", ownProvider)}
	for _, id := range spanEvents {
		opt.Events[id] = true
	}
	check := func(t *testing.T, r *running) {
		s := recordRunning(t, opt, r, 1)
		got := spanThreads(t, s)
		compare(t, got["0"][:min(len(got["0"]), len(wantVivarium))], wantVivarium)
		if n := len(got["0"]); n != len(wantVivarium)+4 || len(got["0.1"]) != 2 || len(got["0.2"]) != 2 {
			t.Errorf("%q", got)
		}
	}
	t.Run("own root", func(t *testing.T) {
		cmd := exec.Command("/usdt", "/", "wait")
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: d, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
		check(t, startCmd(t, cmd))
	})
	t.Run("musl", func(t *testing.T) {
		check(t, start(t, compiled(t, "usdt", "musl-gcc", "-pthread"), d, "wait"))
	})
	t.Run("deleted", func(t *testing.T) {
		r := start(t, d+"/usdt", d, "wait")
		if err := os.Remove(d + "/usdt"); err != nil {
			t.Fatal(err)
		}
		copyFile(t, program(t, "opens"), d+"/usdt")
		check(t, r)
	})
}

// TestUSDTManyProcesses: what is held for processes that have ended is let go.
func TestUSDTManyProcesses(t *testing.T) {
	d := tempDir(t)
	p := newProbe(t, Options{Command: []string{"/bin/sh", "-c", "for i in 1 2 3 4 5; do $0 " + d + "; done; true", program(t, "usdt")},
		Events: events(spanEvents...), Spans: spans(t, ownProvider)})
	finish(t, t.Context(), p)
	s := p.sites
	if s.n == 0 {
		t.Fatal("nothing was attached")
	}
	_, now := clocks()
	s.changed(os.Getpid(), 0, now+uint64(reapEvery))
	if len(s.procs) != 1 || s.holds != 0 {
		t.Errorf("%d processes are known, in which %d files are held", len(s.procs), s.holds)
	}
}

// TestUSDTManySites: of a file that has very many sites only so many are
// attached, and that is said.
func TestUSDTManySites(t *testing.T) {
	s := record(t, Options{Events: events(spanEvents...), Spans: spans(t, "usdt:own:enter:leave")}, program(t, "sites"))
	if len(s.result.Unattached) != 1 || !strings.Contains(s.result.Unattached[0].Error(), "only 128 of 600 sites") {
		t.Errorf("said is: %v", s.result.Unattached)
	}
	if n := strings.Count(strings.Join(texts(s), "\n"), "span_start name=name source=usdt"); n != maxOfOne {
		t.Errorf("%d were seen", n)
	}
}
