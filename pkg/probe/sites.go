package probe

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/usdt"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The bounds of what is attached to files.
const (
	maxSites = 4096  // sites of bpf/usdt.h
	maxFiles = 16384 // that are remembered as looked at
	maxHolds = 4096  // raised semaphores
)

// fileID is a file, whatever its name.
type fileID struct{ dev, ino uint64 }

// siteSet is what is attached to files that watched processes have mapped.
//
// A site is attached once for all processes, and the programs leave those that
// are not watched: so nothing is missed in a process that was just forked. A
// semaphore, which makes code come by at a site, is raised in watched processes
// only (see hold in bpf/usdt.h).
type siteSet struct {
	p     *Probe
	list  *methodList
	files map[fileID]*probedFile // nil: it has no probes
	held  map[heldKey]bool
	since map[int]uint64 // by process: ktime of its last scan, ns
	names [][]byte       // of functions, by site
	n     int            // sites
	links []link.Link
	fails []error // why not everything could be attached, the first few
}

type heldKey struct {
	pid  int
	file fileID
}

// probedFile is a file with probes that are attached.
type probedFile struct {
	path       string   // to attach by
	semaphores []uint64 // in the file, bytes
	quiet      []uint64 // where in it an instruction begins that is not executed again, bytes
}

// newSites makes the programs ready and attaches to the functions that were
// named.
func (p *Probe) newSites() (*siteSet, error) {
	s := &siteSet{p: p, files: map[fileID]*probedFile{}, held: map[heldKey]bool{}, since: map[int]uint64{}}
	if err := p.bpf.load("usdt", "func_entry", "func_return", "hold"); err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	allow := p.opt.Spans.Allow
	if allow == nil {
		allow = defaultMethods
	}
	s.list = newMethodList(allow)
	if err := p.coll.Variables["list_asks"].Set(len(s.list.globs) > 0); err != nil {
		return nil, fmt.Errorf("set list_asks: %w", err)
	}
	if err := s.list.put(p.coll.Maps["classes"], p.coll.Maps["methods"]); err != nil {
		return nil, err
	}
	for _, f := range p.opt.Spans.funcs {
		if err := s.function(f); err != nil {
			s.close()
			return nil, fmt.Errorf("func:%s:%s: %w", f.binary, f.symbol, err)
		}
	}
	return s, nil
}

func (s *siteSet) close() error {
	var err error
	for _, l := range s.links {
		err = errors.Join(err, l.Close())
	}
	s.links = nil
	return err
}

// before attaches to the files that a command will map when it starts, because
// it may come by at their sites before its mappings can be looked at: the
// program, the interpreter that it names, and the libraries that it needs.
func (s *siteSet) before(pid int, argv []string) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return // starting it says so
	}
	for range 4 { // scripts of scripts
		f, err := os.Open(path)
		if err != nil {
			return
		}
		head := make([]byte, 256)
		n, _ := f.Read(head)
		f.Close()
		line, script := bytes.CutPrefix(head[:n], []byte("#!"))
		fields := bytes.Fields(bytes.SplitN(line, []byte{'\n'}, 2)[0])
		if !script || len(fields) == 0 {
			break
		}
		path = string(fields[0])
		if filepath.Base(path) == "env" && len(fields) > 1 {
			if found, err := exec.LookPath(string(fields[len(fields)-1])); err == nil {
				path = found
			}
		}
	}
	for _, path := range append([]string{path}, neededBy(path)...) {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			continue
		}
		id := fileID{st.Dev, st.Ino}
		file, known := s.files[id]
		if !known {
			if f, err := os.Open(path); err == nil {
				file = s.attach(f, path)
				f.Close()
			}
			s.files[id] = file
		}
		if file != nil {
			s.hold(pid, id, file)
		}
	}
}

// neededBy lists the libraries that an executable says it needs, where they are found.
func neededBy(path string) []string {
	e, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer e.Close()
	names, err := e.ImportedLibraries()
	if err != nil {
		return nil
	}
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		paths, _ := e.DynString(tag)
		for _, p := range paths {
			dirs = append(dirs, filepath.SplitList(strings.ReplaceAll(p, "$ORIGIN", filepath.Dir(path)))...)
		}
	}
	dirs = append(append(dirs, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...),
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/local/lib", "/lib", "/usr/lib")
	var found []string
	for _, name := range names[:min(len(names), 64)] {
		for _, dir := range dirs {
			if lib := filepath.Join(dir, name); unix.Access(lib, unix.R_OK) == nil {
				found = append(found, lib)
				break
			}
		}
	}
	return found
}

// scan attaches to the files that a process has mapped executable. A process
// that is gone has none.
func (s *siteSet) scan(pid int) {
	_, s.since[pid] = clocks()
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 8192), 1<<16)
	for lines.Scan() {
		addr, id, path, ok := parseMap(lines.Text())
		if !ok {
			continue
		}
		file, known := s.files[id]
		if !known {
			if len(s.files) >= maxFiles {
				clear(s.files) // looked at again when they are met again
			}
			file = s.open(pid, addr, path)
			s.files[id] = file
		}
		if file != nil {
			s.hold(pid, id, file)
		}
	}
}

// parseMap reads a line of /proc/PID/maps; ok: a file is mapped executable.
func parseMap(line string) (addr string, id fileID, path string, ok bool) {
	f := strings.SplitN(line, " ", 6)
	if len(f) < 6 || len(f[1]) < 3 || f[1][2] != 'x' {
		return
	}
	major, minor, _ := strings.Cut(f[3], ":")
	ma, err1 := strconv.ParseUint(major, 16, 32)
	mi, err2 := strconv.ParseUint(minor, 16, 32)
	ino, err3 := strconv.ParseUint(f[4], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || ino == 0 {
		return
	}
	return f[0], fileID{unix.Mkdev(uint32(ma), uint32(mi)), ino}, strings.TrimLeft(f[5], " "), true
}

// open attaches to the probes of a mapped file.
func (s *siteSet) open(pid int, addr, path string) *probedFile {
	// The mapped file itself, also if its name is another's by now.
	f, err := os.Open(fmt.Sprintf("/proc/%d/map_files/%s", pid, addr))
	if err != nil {
		f, err = os.Open(filepath.Join(fmt.Sprintf("/proc/%d/root", pid), path))
	}
	if err != nil {
		return nil
	}
	defer f.Close()
	return s.attach(f, path)
}

// attach attaches to the probes of a file, if it has any that are wanted.
func (s *siteSet) attach(f *os.File, path string) *probedFile {
	sites, err := usdt.Read(f, func(provider string) bool {
		return slices.ContainsFunc(s.p.opt.Spans.usdt, func(u usdtProvider) bool { return u.name == provider })
	})
	if err != nil || len(sites) == 0 {
		return nil
	}
	file := &probedFile{path: fmt.Sprintf("/proc/self/fd/%d", f.Fd())}
	ex, err := link.OpenExecutable(file.path)
	if err != nil {
		return nil
	}
	any := false
	for i := range sites {
		site := &sites[i]
		attached := false
		for j := range s.p.opt.Spans.usdt {
			u := &s.p.opt.Spans.usdt[j]
			probe, ok := u.probes[site.Name]
			if !ok || u.name != site.Provider {
				continue
			}
			if err := s.site(ex, u, probe, site); err != nil {
				s.fail(fmt.Errorf("%s:%s in %s: %w", site.Provider, site.Name, path, err))
				continue
			}
			attached, any = true, true
		}
		if attached && site.Semaphore != 0 && !slices.Contains(file.semaphores, site.Semaphore) {
			file.semaphores = append(file.semaphores, site.Semaphore)
		}
	}
	if !any {
		return nil
	}
	if len(file.semaphores) > 0 {
		file.quiet = quietPlaces(f, sites)
		// It is attached to again for each process.
		kept, err := os.Open(file.path)
		if err != nil {
			return file
		}
		file.path = fmt.Sprintf("/proc/self/fd/%d", kept.Fd())
		s.links = append(s.links, keptFile{nil, kept})
	}
	return file
}

// keptFile is closed with the links.
type keptFile struct {
	link.Link
	f *os.File
}

func (k keptFile) Close() error { return k.f.Close() }

// site attaches to one site, for all processes.
func (s *siteSet) site(ex *link.Executable, u *usdtProvider, p probe, site *usdt.Site) error {
	v := bpf.VivSite{Kind: uint16(p.kind)}
	if s.p.opt.Spans.listed(u) && p.kind != event.SpanRaise {
		v.Flags = uint16(bpf.VivSiteFlagSITE_LISTED)
	}
	for role, n := range p.args {
		if n == 0 {
			continue
		}
		if n > len(site.Args) || site.Args[n-1].Kind == usdt.None {
			return fmt.Errorf("argument %d cannot be read", n)
		}
		a := &site.Args[n-1]
		spec := &v.Arg[role]
		*spec = bpf.VivArgSpec{Value: a.Value, Base: a.Base, Index: a.Index, Kind: uint8(a.Kind), Scale: a.Scale, Size: a.Size}
		if a.Signed {
			spec.Flags |= uint8(bpf.VivArgFlagARG_SIGNED)
		}
		if a.Shift == 8 {
			spec.Flags |= uint8(bpf.VivArgFlagARG_HIGH)
		}
	}
	i, err := s.next("")
	if err != nil {
		return err
	}
	if err := s.p.coll.Maps["sites"].Put(i, &v); err != nil {
		return err
	}
	l, err := ex.Uprobe("", s.p.bpf.programs["usdt"], &link.UprobeOptions{Address: site.Offset, Cookie: uint64(i)})
	if err != nil {
		return err
	}
	s.links = append(s.links, l)
	return nil
}

// next is the number of a new site.
func (s *siteSet) next(name string) (uint32, error) {
	if s.n >= maxSites {
		return 0, fmt.Errorf("more than %d sites", maxSites)
	}
	s.n++
	s.names = append(s.names, []byte(name))
	return uint32(s.n - 1), nil
}

// fail remembers what could not be attached.
func (s *siteSet) fail(err error) {
	if len(s.fails) < 8 {
		s.fails = append(s.fails, err)
	}
}

// hold keeps the semaphores of a file raised in a process, once.
func (s *siteSet) hold(pid int, id fileID, file *probedFile) {
	key := heldKey{pid, id}
	if len(file.semaphores) == 0 || s.held[key] {
		return
	}
	if len(s.held) >= maxHolds {
		s.fail(fmt.Errorf("probes of process %d: more than %d processes", pid, maxHolds))
		return
	}
	s.held[key] = true
	ex, err := link.OpenExecutable(file.path)
	if err != nil {
		s.fail(err)
		return
	}
	next := 0
	for _, sem := range file.semaphores {
		err := errors.New("no place to hold it")
		for ; next < len(file.quiet) && err != nil; next++ {
			var l link.Link
			l, err = ex.Uprobe("", s.p.bpf.programs["hold"], &link.UprobeOptions{
				Address: file.quiet[next], RefCtrOffset: sem, PID: pid,
			})
			if err == nil {
				s.links = append(s.links, l)
			}
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			s.fail(fmt.Errorf("semaphore of process %d: %w", pid, err))
		}
	}
}

// quietPlaces are places in a file's code where an instruction begins that is
// probably never executed again when a process runs: best first.
func quietPlaces(f *os.File, sites []usdt.Site) []uint64 {
	e, err := elf.NewFile(f)
	if err != nil {
		return nil
	}
	var places []uint64
	add := func(addr uint64) {
		for _, p := range e.Progs {
			if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || addr < p.Vaddr || addr-p.Vaddr >= p.Filesz {
				continue
			}
			at := addr - p.Vaddr + p.Off
			taken := slices.Contains(places, at) || slices.ContainsFunc(sites, func(s usdt.Site) bool { return s.Offset == at })
			if !taken && len(places) < 64 {
				places = append(places, at)
			}
			return
		}
	}
	if e.Entry != 0 {
		add(e.Entry)
	}
	for _, name := range []string{".init", ".fini"} {
		if s := e.Section(name); s != nil && s.Type == elf.SHT_PROGBITS {
			add(s.Addr)
		}
	}
	symbols, _ := e.DynamicSymbols()
	more, _ := e.Symbols()
	symbols = append(symbols, more...)
	for _, inits := range []bool{true, false} { // what initialises runs once
		for _, y := range symbols {
			if elf.ST_TYPE(y.Info) == elf.STT_FUNC && y.Section != elf.SHN_UNDEF && y.Value != 0 &&
				strings.Contains(strings.ToLower(y.Name), "init") == inits {
				add(y.Value)
			}
		}
	}
	return places
}

// function attaches to a function's entry and return.
func (s *siteSet) function(fn function) error {
	path := fn.binary
	if !strings.Contains(path, "/") {
		found, err := exec.LookPath(path)
		if err != nil {
			return err
		}
		path = found
	}
	e, err := elf.Open(path)
	if err != nil {
		return err
	}
	isGo := e.Section(".go.buildinfo") != nil || e.Section(".gopclntab") != nil
	e.Close()
	if isGo {
		return errors.New("a Go program moves its stacks, and a probe on a function's return would crash it")
	}
	ex, err := link.OpenExecutable(path)
	if err != nil {
		return err
	}
	i, err := s.next(fn.symbol)
	if err != nil {
		return err
	}
	opt := &link.UprobeOptions{Cookie: uint64(i)}
	ret, err := ex.Uretprobe(fn.symbol, s.p.bpf.programs["func_return"], opt)
	if err != nil {
		return err
	}
	s.links = append(s.links, ret)
	entry, err := ex.Uprobe(fn.symbol, s.p.bpf.programs["func_entry"], opt)
	if err != nil {
		return err
	}
	s.links = append(s.links, entry)
	return nil
}

// start attaches to what the targets and their descendants have mapped.
func (s *siteSet) start() {
	if s.p.cmd != nil {
		s.before(s.p.cmd.PID(), s.p.opt.Command)
		return
	}
	for _, t := range s.p.targets {
		for _, pid := range append([]int{t.pid}, descendants(t.pid)...) {
			s.scan(pid)
		}
	}
}

// descendants lists the children of a process and theirs.
func descendants(pid int) []int {
	var all []int
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// see looks at what processes do: a new program or library may have probes. It
// reports whether the event is to be recorded.
func (s *siteSet) see(d *decoder, ev *event.Event) bool {
	chosen := s.p.opt.Events[d.id]
	pid := int(ev.PID)
	switch d.id {
	case event.SpanStart, event.SpanStop:
		if n := d.function; n > 0 && n <= uint64(len(s.names)) {
			setText(ev, "name", s.names[n-1])
		}
		return !d.asks || s.list.decide(string(ev.Fields[0].Text), s.p.coll.Maps["methods"])
	case event.MmapExec, event.ProcExec:
		if len(s.p.opt.Spans.usdt) > 0 && len(ev.Error) == 0 && s.since[pid] <= ev.KtimeNS {
			s.scan(pid)
		}
		// A thread that becomes the first of its process must not be missed.
		return chosen || d.id == event.ProcExec && ev.Get("old_tid").Type != event.None
	case event.ProcFork:
		// A child has its semaphores from its parent's memory, unless it was
		// made before they were raised.
		if child := int(ev.Get("child_pid").Num); child != pid && s.since[pid] > ev.KtimeNS {
			s.scan(child)
		}
	case event.ProcExit:
		if ev.PID == ev.TID {
			delete(s.since, pid)
		}
	}
	return true
}
