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
// the process has mapped, names: one that is attached when it is loaded is
// attached too late for what the program does with it at once.
func (s *siteSet) attachExtensions(pid int, p *siteProcess, dirs []string) {
	const most = 256 // files
	n := 0
	for _, dir := range dirs {
		root := fmt.Sprintf("/proc/%d/root", shown(pid))
		for _, pattern := range []string{"*.so", "*/*.so"} {
			found, _ := filepath.Glob(filepath.Join(root, dir, pattern)) // a bad pattern is the only error
			for _, name := range found {
				if n++; n > most {
					return
				}
				s.look(pid, p, name, strings.TrimPrefix(name, root))
			}
		}
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
