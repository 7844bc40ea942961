package attach

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	velf "vivarium/pkg/probe/elf"

	"golang.org/x/sys/unix"
)

// The bounds of what is looked at before a process maps it. What is left out is
// attached when it is mapped.
const (
	maxScripts     = 4        // scripts whose interpreters are scripts
	maxLibraryDirs = 64       // of those that a program names
	maxCache       = 16 << 20 // bytes of /etc/ld.so.cache
	maxExtensions  = 256      // files, and directories
	maxNames       = 4096     // of a directory
	aheadLimit     = 5 * time.Second
)

// libraryDirs are where a loader looks in the end.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/local/lib", "/lib", "/usr/lib"}

// ahead attaches in a file that a process has not mapped yet. What cannot be looked
// at is told when it is mapped.
func (a *Attacher) ahead(pid int, p *process, path string) *file {
	at := place{pid: pid, path: path}
	id, err := ask(a, func(w *watch) (id identity, err error) {
		at.pid = Shown(pid)
		w.do(func() { id, err = at.look() })
		return id, err
	}, nil)
	if err != nil || !id.regular() {
		return nil
	}
	return a.look(pid, p, at, id, false)
}

// command attaches in the program that a process will execute, in what its first
// line names if it is a script, in its loader, and in the libraries that it needs.
func (a *Attacher) command(pid int, p *process, name string) {
	paths, _ := ask(a, func(w *watch) (paths []string, err error) { // starting it says what is wrong
		w.do(func() { paths = files(pid, name) })
		return paths, nil
	}, nil)
	for _, path := range paths {
		a.ahead(pid, p, path)
	}
}

// files are those that a process maps when it executes a command, as far as can be
// told.
func files(pid int, name string) []string {
	for range maxScripts {
		path, err := exec.LookPath(name)
		if err != nil && !errors.Is(err, exec.ErrDot) {
			return nil
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil
		}
		f, _, err := place{pid: pid, path: path}.open()
		if err != nil {
			return nil
		}
		head := make([]byte, 256)
		n, _ := f.ReadAt(head, 0)
		line, script := bytes.CutPrefix(head[:n], []byte("#!"))
		line, _, _ = bytes.Cut(line, []byte{'\n'})
		words := strings.Fields(string(line))
		if script && len(words) > 0 {
			f.Close()
			if name = words[0]; filepath.Base(name) == "env" && len(words) > 1 {
				name = words[len(words)-1]
			}
			continue
		}
		found := []string{path}
		if e, err := velf.Open(f); err == nil {
			if loader := velf.Interpreter(e); loader != "" {
				found = append(found, loader)
			}
			found = append(found, needed(pid, path, e)...)
		}
		f.Close()
		return found
	}
	return nil
}

// needed are the libraries that a program says it needs, where they are found.
func needed(pid int, path string, e *elf.File) []string {
	dirs := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	for _, paths := range velf.DynamicTexts(e, elf.DT_RPATH, elf.DT_RUNPATH) {
		dirs = append(dirs, filepath.SplitList(strings.ReplaceAll(paths, "$ORIGIN", filepath.Dir(path)))...)
	}
	dirs = append(dirs[:min(len(dirs), maxLibraryDirs)], libraryDirs...)
	var found []string
	for _, name := range velf.DynamicTexts(e, elf.DT_NEEDED) {
		for _, dir := range dirs {
			lib, err := filepath.Abs(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			if fd, err := openBelow(pid, lib, unix.O_PATH); err == nil {
				unix.Close(fd)
				found = append(found, lib)
				break
			}
		}
	}
	return found
}

// cached attaches the well-known libraries that the process's loader would find.
func (a *Attacher) cached(pid int, p *process) {
	if len(a.cfg.WellKnown) == 0 {
		return
	}
	paths, _ := ask(a, func(w *watch) (paths []string, err error) { // without a cache there are none
		w.do(func() { paths, err = readCache(Shown(pid), a.cfg.WellKnown) })
		return paths, err
	}, nil)
	for _, path := range paths {
		if f := a.ahead(pid, p, path); f != nil {
			f.keep = true
		}
	}
}

// readCache lists the libraries in /etc/ld.so.cache whose names begin so.
func readCache(pid int, names []string) (paths []string, err error) {
	f, _, err := place{pid: pid, path: "/etc/ld.so.cache"}.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCache))
	if err != nil {
		return nil, err
	}
	for text := range bytes.SplitSeq(b, []byte{0}) {
		if len(text) == 0 || text[0] != '/' || len(text) > 4096 || len(paths) >= maxExtensions {
			continue
		}
		base := filepath.Base(string(text))
		if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(base, name) }) {
			paths = append(paths, string(text))
		}
	}
	return paths, nil
}

// directories attaches to the libraries in directories of a process, and in those
// below: one that is attached when it is loaded is attached too late for what the
// program does with it at once.
func (a *Attacher) directories(pid int, p *process, dirs []string) {
	paths, _ := ask(a, func(w *watch) (paths []string, err error) { // what cannot be read is seen when it is loaded
		w.do(func() { paths = extensions(Shown(pid), dirs) })
		return paths, nil
	}, nil)
	until := time.Now().Add(aheadLimit)
	for _, path := range paths {
		if time.Now().After(until) {
			return
		}
		a.ahead(pid, p, path)
	}
}

// extensions lists the libraries in directories of a process and one level below.
func extensions(pid int, dirs []string) (found []string) {
	opened := 0
	var list func(dir string, below bool)
	list = func(dir string, below bool) {
		fd, err := openBelow(pid, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
		if opened++; err != nil {
			return // Ruby looks in some that are not there
		}
		d := os.NewFile(uintptr(fd), dir)
		names, _ := d.Readdirnames(maxNames)
		d.Close()
		for _, name := range names {
			switch {
			case len(found) >= maxExtensions || opened >= maxExtensions:
				return
			case strings.HasSuffix(name, ".so"):
				found = append(found, filepath.Join(dir, name))
			case below && !strings.Contains(name, "."):
				list(filepath.Join(dir, name), false)
			}
		}
	}
	for _, dir := range dirs {
		opened = 0
		list(dir, true)
	}
	return found
}
