package probe

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vivarium/pkg/cmethod"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attachMethods attaches to the functions of a file in which methods of Ruby
// that are on the list are written, and where exceptions leave them.
func (s *siteSet) attachMethods(f *os.File, e *elf.File, path string, file *probedFile) {
	fail := func(err error) { s.fail(fmt.Errorf("methods of Ruby in %s: %w", path, err)) }
	code, err := cmethod.Open(e)
	if err != nil {
		fail(err)
	}
	if code == nil {
		return
	}
	file.extensions = code.Directories()
	methods, err := code.Methods(s.list.has)
	if err != nil {
		fail(err)
	}
	jumps, err := code.Jumps()
	if err != nil {
		fail(err)
	}
	var entries, cookies, returns []uint64
	for _, m := range methods {
		name := m.Class + "#" + m.Name
		at, depth := code.Entry(m.Func)
		entry, ok := fileOffset(e, at)
		if !ok || slices.Contains(entries, entry) { // a function can be several methods
			continue
		}
		ends, err := code.Ends(m.Func)
		if err == nil && slices.Contains(ends, at) {
			err = errors.New("its function does nothing but jump to another one")
		}
		if err != nil {
			fail(fmt.Errorf("%s: %w", name, err))
			continue
		}
		site, err := s.next(name, true)
		if err != nil {
			fail(err)
			break
		}
		entries, cookies = append(entries, entry), append(cookies, depth<<32|uint64(site))
		returns = append(returns, ends...)
	}
	exe, err := link.OpenExecutable(fdPath(f))
	if err != nil {
		fail(err)
		return
	}
	// The entries last: what began before the rest is there would not end.
	for _, of := range []struct {
		program         string
		places, cookies []uint64
	}{{"method_jump", offsets(e, jumps), nil}, {"method_return", offsets(e, returns), nil}, {"method_entry", entries, cookies}} {
		if len(of.places) == 0 {
			continue
		}
		if of.cookies == nil {
			of.cookies = make([]uint64, len(of.places))
		}
		if err := s.link(exe, of.program, of.places, of.cookies); err != nil {
			fail(err)
			return
		}
		file.file = f
	}
}

// attachExtensions attaches to the extensions in directories that a Ruby, which
// the process has mapped, names, and in those below: one that is attached when
// it is loaded is attached too late for what the program does with it at once.
func (s *siteSet) attachExtensions(pid int, p *siteProcess, dirs []string) {
	const (
		most      = 256  // files, and for each of dirs directories
		mostNames = 4096 // of a directory
	)
	root := fmt.Sprintf("/proc/%d/root", shown(pid))
	opened, looked := 0, 0
	var attach func(dir string, below bool)
	attach = func(dir string, below bool) {
		// It may be anything: a program can name what it likes.
		fd, err := unix.Open(filepath.Join(root, dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if opened++; err != nil {
			return // Ruby looks in some that are not there
		}
		d := os.NewFile(uintptr(fd), dir)
		names, _ := d.Readdirnames(mostNames) // what cannot be read is seen when it is loaded
		d.Close()
		for _, name := range names {
			path := filepath.Join(dir, name)
			switch {
			case looked >= most || opened >= most:
				return
			case strings.HasSuffix(name, ".so"):
				looked++
				s.look(pid, p, filepath.Join(root, path), path)
			case below && !strings.Contains(name, "."):
				attach(path, false)
			}
		}
	}
	for _, dir := range dirs {
		opened = 0
		attach(dir, true)
	}
}

// offsets are the different places in the file of the addresses.
func offsets(e *elf.File, addrs []uint64) []uint64 {
	var places []uint64
	for _, addr := range addrs {
		if at, ok := fileOffset(e, addr); ok {
			places = append(places, at)
		}
	}
	slices.Sort(places)
	return slices.Compact(places)
}
