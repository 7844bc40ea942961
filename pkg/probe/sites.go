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
	"sync"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/probe/wire"
	"vivarium/pkg/usdt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The bounds of what is attached to files.
const (
	maxSites = 4096  // sites of bpf/hooks/usdt.h
	maxOfOne = 128   // sites of a file; libraries have a dozen
	maxFiles = 16384 // that are remembered as looked at
	maxHolds = 4096  // processes' files whose semaphores are raised
)

// siteName is what a site is called, if its probe does not say it.
type siteName struct {
	name   []byte
	method bool // of Ruby
}

// fileID is a file, whatever its name.
type fileID struct{ dev, ino uint64 }

// siteSet is what is attached to files that watched processes have mapped.
//
// A site is attached once for all processes, and the programs leave those that
// are not watched: so nothing is missed in a process that was just forked. A
// semaphore, which makes code come by at a site, is raised in watched processes
// only (see hold in bpf/hooks/usdt.h).
type siteSet struct {
	p        *Probe
	multi    bool // the kernel takes many sites at once
	list     *methodList
	files    map[fileID]probedFile
	procs    map[int]*siteProcess
	reaped   uint64 // ktime of the last look for processes that have ended, ns
	names    []siteName
	n        int // sites
	holds    int // files of processes whose semaphores are raised
	links    []link.Link
	closing  sync.WaitGroup // of links that are being released
	mu       sync.Mutex     // of unclosed
	unclosed error
	fails    []error // why not everything could be attached, the first few
	blind    bool    // one of them is that a process or file cannot be looked at
}

// siteProcess is a process that was looked at.
type siteProcess struct {
	pidfd int
	since uint64                 // ktime when, ns
	held  map[fileID][]link.Link // by file: what keeps its semaphores raised
}

// probedFile is a file that was looked at. One with probes that are attached is
// kept open, so that its inode stays its own.
type probedFile struct {
	file       *os.File // nil: no probes
	mtime      unix.Timespec
	size       int64
	semaphores []uint64 // in the file, bytes
	extensions []string // directories in which the Ruby that it is looks for them
	quiet      []uint64 // where in it an instruction begins that is not executed again, bytes
}

// newSites makes the programs ready and attaches to the functions that were
// named.
func (p *Probe) newSites() (*siteSet, error) {
	s := &siteSet{p: p, multi: haveUprobeMulti(), files: map[fileID]probedFile{}, procs: map[int]*siteProcess{}}
	programs := []string{"usdt", "method_entry", "method_return", "method_jump"}
	if s.multi {
		for _, name := range programs {
			p.bpf.spec.Programs[name].AttachType = ebpf.AttachTraceUprobeMulti
		}
	}
	if err := p.bpf.load(append(programs, "func_entry", "func_return", "hold")...); err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	allow := p.opt.Spans.Allow
	if allow == nil {
		allow = defaultMethods
	}
	s.list = newMethodList(allow, p.opt.Spans.Allow != nil && p.opt.Spans.wholeNames())
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
	room := make(chan struct{}, maxClosing)
	for _, l := range s.links {
		room <- struct{}{}
		s.closing.Go(func() {
			s.shut(l)
			<-room
		})
	}
	for pid := range s.procs {
		s.drop(pid)
	}
	s.closing.Wait()
	err := s.unclosed
	for _, file := range s.files {
		if file.file != nil {
			err = errors.Join(err, file.file.Close())
		}
	}
	s.links, s.files = nil, nil
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
		f, _, err := openRegular(path)
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
	p := s.process(pid)
	if p == nil {
		return
	}
	for _, path := range append([]string{path}, neededBy(path)...) {
		s.look(pid, p, path, path)
	}
}

// process is the state of a running process, or nil.
func (s *siteSet) process(pid int) *siteProcess {
	if p := s.procs[pid]; p != nil {
		if !ended(p.pidfd) {
			return p
		}
		s.drop(pid) // another one had this id
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	p := &siteProcess{pidfd: fd, held: map[fileID][]link.Link{}}
	s.procs[pid] = p
	return p
}

// drop forgets a process that has ended. What is held in it is let go beside
// everything else: the kernel takes its time for that.
func (s *siteSet) drop(pid int) {
	p := s.procs[pid]
	delete(s.procs, pid)
	unix.Close(p.pidfd)
	if len(p.held) == 0 {
		return
	}
	s.holds -= len(p.held)
	s.closing.Go(func() {
		for _, links := range p.held {
			for _, l := range links {
				s.shut(l)
			}
		}
	})
}

func (s *siteSet) shut(l link.Link) {
	err := l.Close()
	s.mu.Lock()
	s.unclosed = errors.Join(s.unclosed, err)
	s.mu.Unlock()
}

// neededBy lists the libraries that an executable says it needs, where they are found.
func neededBy(path string) []string {
	f, _, err := openRegular(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	e, err := openELF(f)
	if err != nil {
		return nil
	}
	dirs := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	for _, paths := range dynamicTexts(e, elf.DT_RPATH, elf.DT_RUNPATH) {
		dirs = append(dirs, filepath.SplitList(strings.ReplaceAll(paths, "$ORIGIN", filepath.Dir(path)))...)
	}
	dirs = append(dirs[:min(len(dirs), 64)],
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/local/lib", "/lib", "/usr/lib")
	var found []string
	for _, name := range dynamicTexts(e, elf.DT_NEEDED) {
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
	p := s.process(pid)
	if p == nil {
		return
	}
	_, p.since = clocks()
	at := shown(pid)
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", at))
	if err != nil {
		s.unseen(unseen(pid, "probes in its libraries", err))
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 8192), 1<<16)
	for lines.Scan() {
		addr, path, ok := parseMap(lines.Text())
		if !ok {
			continue
		}
		// The mapped file itself, also if its name is another's by now.
		name := fmt.Sprintf("/proc/%d/map_files/%s", at, addr)
		if !s.look(pid, p, name, path) && !s.look(pid, p, filepath.Join(fmt.Sprintf("/proc/%d/root", at), path), path) {
			s.unseen(unseen(pid, "probes in "+strconv.Quote(path), readable(name)))
		}
	}
}

// unseen remembers the first file or process that cannot be looked at: there
// may be many.
func (s *siteSet) unseen(err error) {
	if err != nil && !s.blind {
		s.blind = true
		s.fail(err)
	}
}

// parseMap reads a line of /proc/PID/maps; ok: a file is mapped executable. The
// addresses are as the name in map_files has them.
func parseMap(line string) (addr, path string, ok bool) {
	f := strings.SplitN(line, " ", 6)
	if len(f) < 6 || len(f[1]) < 3 || f[1][2] != 'x' || f[4] == "0" {
		return "", "", false
	}
	from, to, _ := strings.Cut(f[0], "-")
	return strings.TrimLeft(from, "0") + "-" + strings.TrimLeft(to, "0"), strings.TrimLeft(f[5], " "), true
}

// look attaches to the probes of the file of that name, if it has any that are
// wanted, and raises their semaphores in a process that maps it. It reports
// whether the file could be looked at; path is what the process calls it.
func (s *siteSet) look(pid int, p *siteProcess, name, path string) bool {
	var st unix.Stat_t
	if unix.Stat(name, &st) != nil {
		return false
	}
	id := fileID{st.Dev, st.Ino}
	file, known := s.files[id]
	if !known || file.file == nil && (file.mtime != st.Mtim || file.size != st.Size) {
		f, st, err := openRegular(name)
		if err != nil {
			return false
		}
		id = fileID{st.Dev, st.Ino} // it may be another one by now
		file = s.attach(f, path)
		file.mtime, file.size = st.Mtim, st.Size
		if file.file == nil {
			f.Close()
		}
		if len(s.files) >= maxFiles {
			for id, file := range s.files {
				if file.file == nil {
					delete(s.files, id)
				}
			}
		}
		s.files[id] = file
		s.attachExtensions(pid, p, file.extensions)
	}
	s.hold(pid, p, id, &file)
	return true
}

// attach attaches to the probes of a file, if it has any that are wanted.
func (s *siteSet) attach(f *os.File, path string) (file probedFile) {
	e, err := openELF(f)
	if err != nil {
		return file // nothing for us in it
	}
	sites, err := usdt.Read(e, func(provider string) bool {
		return slices.ContainsFunc(s.p.opt.Spans.usdt, func(u usdtProvider) bool { return u.name == provider })
	})
	if err != nil {
		s.fail(fmt.Errorf("probes in %s: %w", path, err))
	}
	if s.p.opt.Spans.RubyC {
		s.attachMethods(f, e, path, &file)
	}
	if len(sites) == 0 {
		return file
	}
	ex, err := link.OpenExecutable(fdPath(f))
	if err != nil {
		s.fail(fmt.Errorf("probes in %s: %w", path, err))
		return file
	}
	var places, cookies []uint64
	for i := range sites {
		site := &sites[i]
		if len(places) >= maxOfOne {
			s.fail(fmt.Errorf("probes in %s: only %d of %d sites", path, i, len(sites)))
			break
		}
		for j := range s.p.opt.Spans.usdt {
			u := &s.p.opt.Spans.usdt[j]
			probe, ok := u.probes[site.Name]
			if !ok || u.name != site.Provider {
				continue
			}
			cookie, err := s.site(u, probe, site)
			if err != nil {
				s.fail(fmt.Errorf("%s:%s in %s: %w", site.Provider, site.Name, path, err))
				continue
			}
			places, cookies = append(places, site.Offset), append(cookies, uint64(cookie))
			if site.Semaphore != 0 && !slices.Contains(file.semaphores, site.Semaphore) {
				file.semaphores = append(file.semaphores, site.Semaphore)
			}
		}
	}
	if len(places) == 0 {
		return file
	}
	if err := s.link(ex, "usdt", places, cookies); err != nil {
		s.fail(fmt.Errorf("probes in %s: %w", path, err))
		return probedFile{file: file.file, extensions: file.extensions}
	}
	file.file = f
	if len(file.semaphores) > 0 {
		file.quiet = quietPlaces(e, sites)
	}
	return file
}

// fdPath is a path that leads to an open file, whatever its name.
func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// link attaches to sites in a file, for all processes. To detach from them one
// by one takes the kernel its time for each.
func (s *siteSet) link(ex *link.Executable, program string, places, cookies []uint64) error {
	prog := s.p.bpf.programs[program]
	if s.multi {
		l, err := ex.UprobeMulti(nil, prog, &link.UprobeMultiOptions{Addresses: places, Cookies: cookies})
		if err == nil {
			s.links = append(s.links, l)
		}
		return err
	}
	for i, place := range places {
		l, err := ex.Uprobe("", prog, &link.UprobeOptions{Address: place, Cookie: cookies[i]})
		if err != nil {
			return attachRefusal(err)
		}
		s.links = append(s.links, l)
	}
	return nil
}

// site tells the programs about a site. It returns the cookie by which they know
// it.
func (s *siteSet) site(u *usdtProvider, p probe, site *usdt.Site) (cookie uint32, err error) {
	v := bpf.VivSite{Kind: uint16(p.kind)}
	if s.p.opt.Spans.Allow != nil && p.kind != event.SpanRaise {
		v.Flags |= uint16(bpf.VivSiteFlagSITE_LISTED)
	}
	if u.inMethod {
		v.Flags |= uint16(bpf.VivSiteFlagSITE_IN_METHOD)
	}
	for role, n := range p.args {
		if n == 0 {
			continue
		}
		if n > len(site.Args) || site.Args[n-1].Kind == usdt.None {
			return 0, fmt.Errorf("argument %d cannot be read", n)
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
	if cookie, err = s.next("", false); err != nil {
		return 0, err
	}
	return cookie, s.p.coll.Maps["sites"].Put(cookie, &v)
}

// next is the number of a new site.
func (s *siteSet) next(name string, method bool) (uint32, error) {
	if s.n >= maxSites {
		return 0, fmt.Errorf("more than %d sites", maxSites)
	}
	s.n++
	s.names = append(s.names, siteName{[]byte(name), method})
	return uint32(s.n - 1), nil
}

// fail remembers what could not be attached.
func (s *siteSet) fail(err error) {
	if len(s.fails) < 8 {
		s.fails = append(s.fails, err)
	}
}

// hold keeps the semaphores of a file raised in a process, once.
func (s *siteSet) hold(pid int, p *siteProcess, id fileID, file *probedFile) {
	if _, held := p.held[id]; held || len(file.semaphores) == 0 {
		return
	}
	if s.holds >= maxHolds {
		s.fail(fmt.Errorf("probes of process %d: those of %d others have their semaphores raised", pid, maxHolds))
		return
	}
	ex, err := link.OpenExecutable(fdPath(file.file))
	if err != nil {
		s.fail(err)
		return
	}
	p.held[id] = nil
	s.holds++
	next := 0
	for _, sem := range file.semaphores {
		err := errors.New("no place to hold it")
		for ; next < len(file.quiet) && err != nil; next++ {
			var l link.Link
			l, err = ex.Uprobe("", s.p.bpf.programs["hold"], &link.UprobeOptions{
				Address: file.quiet[next], RefCtrOffset: sem, PID: shown(pid),
			})
			if err == nil {
				p.held[id] = append(p.held[id], l)
			}
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			s.fail(fmt.Errorf("semaphore of process %d: %w", pid, err))
		}
	}
}

// quietPlaces are places in a file's code where an instruction begins that is
// probably never executed again when a process runs: best first.
func quietPlaces(e *elf.File, sites []usdt.Site) []uint64 {
	const most = 64
	var places []uint64
	taken := map[uint64]bool{}
	for _, site := range sites {
		taken[site.Offset] = true
	}
	add := func(addr uint64) {
		if at, ok := fileOffset(e, addr); ok && !taken[at] && len(places) < most {
			taken[at] = true
			places = append(places, at)
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
	for _, addr := range maybeInit(e) { // what initialises runs once
		add(addr)
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
	if len(fn.symbol) >= 4096 {
		return errors.New("no function has so long a name")
	}
	f, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := openELF(f)
	if err != nil {
		return err
	}
	if e.Section(".go.buildinfo") != nil || e.Section(".gopclntab") != nil {
		return errors.New("a Go program moves its stacks, and a probe on a function's return would crash it")
	}
	at, err := functions(e, map[string]bool{fn.symbol: true})
	if err != nil {
		return err
	}
	if _, ok := at[fn.symbol]; !ok {
		return errors.New("it has no function of that name, or only in its debug symbols")
	}
	place := at[fn.symbol]
	// An endbr64 in front must be stepped through (see entry); behind it the
	// return address is still on top of the stack.
	code := make([]byte, 4)
	if _, err := f.ReadAt(code, int64(place)); err == nil && string(code) == "\xf3\x0f\x1e\xfa" {
		place += 4
	}
	ex, err := link.OpenExecutable(fdPath(f))
	if err != nil {
		return err
	}
	i, err := s.next(fn.symbol, false)
	if err != nil {
		return err
	}
	opt := &link.UprobeOptions{Address: place, Cookie: uint64(i)}
	ret, err := ex.Uretprobe("", s.p.bpf.programs["func_return"], opt)
	if err != nil {
		return err
	}
	s.links = append(s.links, ret)
	entry, err := ex.Uprobe("", s.p.bpf.programs["func_entry"], opt)
	if err != nil {
		return err
	}
	s.links = append(s.links, entry)
	return nil
}

// start attaches to what the processes that are watched by now have mapped.
func (s *siteSet) start() {
	if s.p.cmd != nil {
		s.before(s.p.cmd.PID(), s.p.opt.Command)
		return
	}
	for _, pid := range s.p.watched {
		s.scan(pid)
	}
}

// changed notes that a process may have mapped another file at that time, ns of
// ktime; parent made it, or is 0.
func (s *siteSet) changed(pid, parent int, ktime uint64) {
	if !s.p.opt.Spans.mapped() {
		return
	}
	if ktime-s.reaped >= uint64(reapEvery) {
		s.reaped = ktime
		for pid, p := range s.procs {
			if ended(p.pidfd) {
				s.drop(pid)
			}
		}
	}
	if parent != 0 {
		// A child has its semaphores from its parent's memory, unless it was
		// made before they were raised.
		if p := s.procs[parent]; p != nil && p.since > ktime {
			s.scan(pid)
		}
	} else if p := s.procs[pid]; p == nil || p.since <= ktime {
		s.scan(pid)
	}
}

// see completes the events of sites, and decides about the methods that the
// list does not have yet. It reports whether the event is to be recorded.
func (s *siteSet) see(m *wire.Message) bool {
	if m.ID != event.SpanStart && m.ID != event.SpanStop {
		return true
	}
	name := &m.Event.Fields[event.SpanName]
	if m.Function.Site != 0 {
		*name = textValue(s.name(m.Function.Site))
	}
	return !m.Undecided || s.list.decide(string(name.Text), s.p.coll.Maps["methods"])
}

// name is that of a function, as wire.Function has it.
func (s *siteSet) name(function uint64) []byte {
	if function == 0 || function > uint64(len(s.names)) {
		return nil
	}
	return s.names[function-1].name
}

// isMethod says whether a function is a method of Ruby.
func (s *siteSet) isMethod(function uint64) bool {
	return function > 0 && function <= uint64(len(s.names)) && s.names[function-1].method
}
