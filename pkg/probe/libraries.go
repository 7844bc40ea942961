package probe

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"vivarium/bpf"
	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// callSite is a place in a file where a program runs.
type callSite struct {
	program string
	offset  uint64 // in the file
	cookie  uint64
	refctr  uint64 // where in the file its semaphore is; 0: it has none
}

// finder finds the sites of a program or library.
type finder func(f *elf.File, r io.ReaderAt) ([]callSite, error)

// libraryFunction is one that libraries have and whose calls are an event, or tell
// what an event needs.
type libraryFunction struct {
	name    string
	event   event.ID
	program string
	call    bpf.VivCall
}

var libraryFunctions = []libraryFunction{
	{"dlopen", event.Dlopen, "dlopen_call", bpf.VivCallVIV_CALL_DLOPEN},
	{"getenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_GETENV},
	{"secure_getenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_SECURE_GETENV},
	{"setenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_SETENV},
	{"unsetenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_UNSETENV},
	{"putenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_PUTENV},
	{"clearenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_CLEARENV},
	{"SSL_write", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_WRITE},
	{"SSL_write_ex", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_WRITE_EX},
	{"gnutls_record_send", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_GNUTLS_RECORD_SEND},
	// The connection's address is free for another one then.
	{"SSL_free", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END},
	{"SSL_clear", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END},
	{"gnutls_deinit", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END},
}

// libraryEvents are the events that libraryFunctions make.
var libraryEvents = []event.ID{event.Dlopen, event.EnvCaccess, event.SSLWrite}

// wellKnown are libraries that are looked for before a process maps them, so
// that nothing of its first calls is missed.
var wellKnown = []string{"libc.so.6", "libdl.so.2", "libssl.so", "libgnutls.so"}

// findFunctions finds the functions of the chosen events.
func findFunctions(chosen map[event.ID]bool) finder {
	names := map[string]bool{}
	for _, fn := range libraryFunctions {
		if chosen[fn.event] {
			names[fn.name] = true
		}
	}
	return func(f *elf.File, r io.ReaderAt) ([]callSite, error) {
		offsets, err := functions(f, names)
		var sites []callSite
		for _, fn := range libraryFunctions {
			if off, ok := offsets[fn.name]; ok && chosen[fn.event] {
				code := make([]byte, 48)
				if n, _ := r.ReadAt(code, int64(off)); n > 0 {
					off += entry(code[:n])
				}
				sites = append(sites, callSite{program: fn.program, offset: off, cookie: uint64(fn.call)})
			}
		}
		return sites, err
	}
}

// libraries attaches programs in the files that watched processes map, for
// these processes only: in each process's own view of the file system, whatever
// has become of the file's name, and again when a process is made, executes or
// maps something. It works beside the reader of the ring, in one goroutine.
type libraries struct {
	programs map[string]*ebpf.Program
	finders  []finder
	multi    bool // the kernel takes many sites at once

	mu      sync.Mutex
	todo    []libraryTask
	wake    chan struct{}
	quit    chan struct{}
	ended   chan struct{}
	started bool  // the goroutine was
	err     error // the first failure that was not the end of a process
	failed  int   // how many there were

	closing sync.WaitGroup
	room    chan struct{} // of links that are being closed

	// Of the goroutine alone.
	files map[fileID]*library
	procs map[int]*libraryProcess
	swept time.Time
}

// libraryTask says that a process can have another library now.
type libraryTask struct{ pid, parent int }

// library is a file that was looked at. One without sites is only remembered;
// one with sites is kept open, so that its inode stays its own.
type library struct {
	file  *os.File // nil: no sites
	exe   *link.Executable
	mtime unix.Timespec
	size  int64
	sites map[string][]callSite // by program
	used  time.Time             // when a process was last known to have it mapped
	keep  bool                  // also while none has
}

// libraryProcess is a process with what is attached for it.
type libraryProcess struct {
	pidfd  int
	links  map[*library][]link.Link
	mapped map[*library]bool // what it had mapped when it was looked at
}

const (
	maxClosing    = 64                     // links that are being closed
	maxOtherFiles = 4096                   // files without sites that are remembered
	maxLibraries  = 1024                   // files with sites
	keepUnused    = time.Minute            // how long a file is kept that no process has mapped
	sweepEvery    = 5 * time.Second        // how often such are looked for
	reapEvery     = 200 * time.Millisecond // how often ended processes are looked for
)

func newLibraries(programs map[string]*ebpf.Program, multi bool, finders ...finder) *libraries {
	return &libraries{
		programs: programs, finders: finders, multi: multi,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		room:  make(chan struct{}, maxClosing),
		files: map[fileID]*library{}, procs: map[int]*libraryProcess{},
	}
}

// haveUprobeMulti reports whether the kernel can attach to many sites at once
// (Linux 6.6, for one process 6.10).
func haveUprobeMulti() bool { return features.HaveBPFLinkUprobeMulti() == nil }

// begin attaches for the processes that are watched from the start, then for
// what watch says. command is the file that the first of them will execute;
// "": it runs already.
func (l *libraries) begin(pids []int, command string) {
	l.swept = time.Now()
	for _, pid := range pids {
		p := l.process(pid)
		if p == nil {
			continue
		}
		if command == "" {
			l.scan(pid, p)
		} else {
			l.command(p, pid, command)
		}
		l.cached(p, pid)
	}
	l.started = true
	go l.run()
}

// watch takes note that a process can have another library: parent made it,
// or is 0. It does not wait.
func (l *libraries) watch(pid, parent int) {

	t := libraryTask{pid, parent}
	l.mu.Lock()
	if !slices.Contains(l.todo, t) {
		l.todo = append(l.todo, t)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// close detaches everything.
func (l *libraries) close() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
		if l.started {
			<-l.ended
		}
		for pid := range l.procs {
			l.drop(pid)
		}
		l.closing.Wait()
		for id := range l.files {
			l.forget(id)
		}
	}
}

// failure is the first failure to attach or detach, and how many there were, or
// nil. It leaves a library out, and not the recording.
func (l *libraries) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed > 1 {
		return fmt.Errorf("%w (and %d more failures)", l.err, l.failed-1)
	}
	return l.err
}

func (l *libraries) run() {
	defer close(l.ended)
	reap := time.NewTicker(reapEvery)
	defer reap.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-l.wake:
		case <-reap.C:
			l.reap()
			if now := time.Now(); now.Sub(l.swept) >= sweepEvery {
				l.sweep(now, keepUnused)
			}
		}
		for {
			l.mu.Lock()
			todo := l.todo
			l.todo = nil
			l.mu.Unlock()
			if len(todo) == 0 {
				break
			}
			for _, t := range todo {
				select {
				case <-l.quit:
					return
				default:
				}
				p := l.process(t.pid)
				if p == nil {
					continue
				}
				if t.parent != 0 {
					l.inherit(t.pid, p)
					if parent := l.procs[t.parent]; parent != nil {
						p.mapped = maps.Clone(parent.mapped)
					} else { // it has ended already
						l.scan(t.pid, p)
					}
				} else {
					l.scan(t.pid, p)
				}
			}
		}
	}
}

// process is the state of a running process, or nil.
func (l *libraries) process(pid int) *libraryProcess {
	p := l.procs[pid]
	if p != nil && !ended(p.pidfd) {
		return p
	}
	if p != nil {
		l.drop(pid) // another one had this id
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	p = &libraryProcess{pidfd: fd, links: map[*library][]link.Link{}}
	l.procs[pid] = p
	return p
}

func ended(pidfd int) bool { return endedWithin(pidfd, 0) }

func endedWithin(pidfd int, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	return err == nil && n > 0
}

func (l *libraries) drop(pid int) {
	p := l.procs[pid]
	for _, links := range p.links {
		l.detach(links)
	}
	unix.Close(p.pidfd)
	delete(l.procs, pid)
}

// reap takes back what is attached for processes that have ended.
func (l *libraries) reap() {
	for pid, p := range l.procs {
		if ended(p.pidfd) {
			l.drop(pid)
		}
		l.mu.Lock()
		busy := len(l.todo) > 0
		l.mu.Unlock()
		if busy {
			return
		}
	}
}

// sweep forgets the files that no process had mapped for that long: to keep
// them open keeps a container's file system busy, and to attach them for each
// new process takes time.
func (l *libraries) sweep(now time.Time, unused time.Duration) {
	l.swept = now
	for _, p := range l.procs {
		for lib := range p.mapped {
			lib.used = now
		}
	}
	for id, lib := range l.files {
		if lib.file != nil && !lib.keep && now.Sub(lib.used) >= unused {
			l.forget(id)
		}
	}
}

// full reports whether there is no room for another file with sites.
func (l *libraries) full() bool {
	n := 0
	for _, lib := range l.files {
		if lib.file != nil {
			n++
		}
	}
	return n >= maxLibraries
}

// inherit attaches all libraries that are known for a new process: it has its
// parent's, and those that it will map are most likely among the others.
func (l *libraries) inherit(pid int, p *libraryProcess) {

	for id, lib := range l.files {
		if lib.file == nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(int(lib.file.Fd()), &st) != nil || lib.mtime != st.Mtim || lib.size != st.Size {
			l.forget(id)
			continue
		}
		l.attach(pid, p, lib)
	}
}

// scan attaches what a process has mapped.
func (l *libraries) scan(pid int, p *libraryProcess) {

	at := shown(pid)
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", at))
	if err != nil {
		l.fail(unseen(pid, "calls in its libraries", err))
		return
	}
	defer f.Close()
	p.mapped = map[*library]bool{}
	var last []byte
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// 7f..-7f.. r-xp OFFSET DEV INODE      PATH
		fields := bytes.Fields(sc.Bytes())
		if len(fields) < 6 || len(fields[1]) < 3 || fields[1][2] != 'x' || string(fields[4]) == "0" {
			continue
		}
		if same := bytes.Join(fields[3:5], nil); bytes.Equal(last, same) {
			continue
		} else {
			last = same
		}
		from, to, _ := bytes.Cut(fields[0], []byte{'-'})
		name := fmt.Sprintf("/proc/%d/map_files/%s-%s", at, bytes.TrimLeft(from, "0"), bytes.TrimLeft(to, "0"))
		lib := l.look(pid, p, name)
		if i := bytes.IndexByte(sc.Bytes(), '/'); lib == nil && i >= 0 {
			lib = l.look(pid, p, fmt.Sprintf("/proc/%d/root%s", at, sc.Bytes()[i:]))
			if lib == nil {
				l.fail(unseen(pid, "calls in "+strconv.Quote(string(sc.Bytes()[i:])), readable(name)))
			}
		}
		if lib != nil && lib.file != nil {
			p.mapped[lib] = true
		}
	}
}

// cached attaches the well-known libraries that the process's loader would
// find.
func (l *libraries) cached(p *libraryProcess, pid int) {
	root := fmt.Sprintf("/proc/%d/root", shown(pid))
	// It is the process's and may be anything, also something that never ends.
	fd, err := unix.Open(inRoot(root, "/etc/ld.so.cache"), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "ld.so.cache")
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return
	}
	b, err := io.ReadAll(io.LimitReader(f, 16<<20))
	if err != nil {
		return
	}
	for text := range bytes.SplitSeq(b, []byte{0}) {
		if len(text) == 0 || text[0] != '/' || len(text) > 4096 {
			continue
		}
		for _, name := range wellKnown {
			if strings.HasPrefix(filepath.Base(string(text)), name) {
				if lib := l.look(pid, p, inRoot(root, string(text))); lib != nil {
					lib.keep = true
				}
			}
		}
	}
}

// inRoot is a path below root that leads nowhere else: links in it are links
// of that root.
func inRoot(root, path string) string {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return root + path
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return root + path
	}
	defer unix.Close(fd)
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return root + path
	}
	if at, err := os.Readlink(root); err == nil && at != "/" {
		real = strings.TrimPrefix(real, at)
	}
	return root + real
}

// command attaches in the program that a process will execute, in what its
// first line names if it is a script, and in its loader.
func (l *libraries) command(p *libraryProcess, pid int, name string) {
	for range 4 {
		path, err := exec.LookPath(name)
		if err != nil && !errors.Is(err, exec.ErrDot) {
			return
		}
		f, err := os.Open(path)
		if err != nil {
			return
		}
		line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
		if words := strings.Fields(strings.TrimPrefix(line, "#!")); strings.HasPrefix(line, "#!") && len(words) > 0 {
			f.Close()
			name = words[0]
			if filepath.Base(name) == "env" && len(words) > 1 {
				name = words[len(words)-1]
			}
			continue
		}
		l.look(pid, p, path)
		if e, err := openELF(f); err == nil {
			if in := interpreter(e); in != "" {
				l.look(pid, p, in)
			}
		}
		f.Close()
		return
	}
}

// look attaches in the file of that name, if it has sites. It returns nil if
// the file could not be looked at.
func (l *libraries) look(pid int, p *libraryProcess, name string) *library {
	var st unix.Stat_t
	if unix.Stat(name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	id := fileID{st.Dev, st.Ino}
	lib := l.files[id]
	if lib != nil && (lib.mtime != st.Mtim || lib.size != st.Size) {
		l.forget(id) // what is in it is something else now
		lib = nil
	}
	if lib == nil {
		lib = &library{mtime: st.Mtim, size: st.Size, used: time.Now()}
		if err := l.open(lib, name, id); err != nil {
			return nil
		}
		if lib.file != nil && l.full() {
			l.sweep(lib.used, time.Nanosecond)
			if l.full() {
				lib.file.Close()
				lib.file, lib.sites = nil, nil
				l.fail(fmt.Errorf("process %d has mapped one more than %d libraries: calls in it are not seen", pid, maxLibraries))
			}
		}
		if len(l.files) >= maxOtherFiles {
			for id, lib := range l.files {
				if lib.file == nil {
					delete(l.files, id)
				}
			}
		}
		l.files[id] = lib
	}
	l.attach(pid, p, lib)
	return lib
}

// open finds the sites of a file and keeps it open if it has any.
func (l *libraries) open(lib *library, name string, id fileID) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	keep := false
	defer func() {
		if !keep {
			f.Close()
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if id != (fileID{st.Dev, st.Ino}) {
		return unix.ESTALE
	}
	e, err := openELF(f)
	if err != nil {
		return nil // nothing for us in it
	}
	for _, find := range l.finders {
		sites, err := find(e, f)
		if err != nil {
			l.fail(fmt.Errorf("find functions in %s: %w", name, err))
		}
		for _, s := range sites {
			if lib.sites == nil {
				lib.sites = map[string][]callSite{}
			}
			lib.sites[s.program] = append(lib.sites[s.program], s)
		}
	}
	if len(lib.sites) == 0 {
		return nil
	}
	// By the descriptor: the name may be another's, or nobody's, now.
	if lib.exe, err = link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
		lib.sites = nil
		l.fail(fmt.Errorf("attach to %s: %w", name, err))
		return nil
	}
	lib.file, keep = f, true
	return nil
}

// forget takes back what is attached in a file.
func (l *libraries) forget(id fileID) {
	lib := l.files[id]
	for _, p := range l.procs {
		l.detach(p.links[lib])
		delete(p.links, lib)
		delete(p.mapped, lib)
	}
	if lib.file != nil {
		lib.file.Close()
	}
	delete(l.files, id)
}

// attach attaches a library's sites for a process, once.
func (l *libraries) attach(pid int, p *libraryProcess, lib *library) {
	if _, ok := p.links[lib]; ok || lib.file == nil {
		return
	}
	var links []link.Link
	for name, sites := range lib.sites {
		got, err := l.attachSites(pid, lib, l.programs[name], sites)
		links = append(links, got...)
		// A process that is ending cannot be found some time before it has ended.
		gone := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
		if err != nil && !ended(p.pidfd) && !(gone && endedWithin(p.pidfd, 100*time.Millisecond)) {
			l.fail(fmt.Errorf("attach to a library of process %d: %w", pid, err))
		}
	}
	p.links[lib] = links
}

func (l *libraries) attachSites(pid int, lib *library, prog *ebpf.Program, sites []callSite) ([]link.Link, error) {
	at := shown(pid)
	if l.multi {
		// The kernel takes the memory of the first thread, and no other thread.
		if at != pid {
			return nil, errors.New("its first thread has ended, and calls in it are not seen")
		}
		opt := link.UprobeMultiOptions{PID: uint32(pid)}
		for _, s := range sites {
			opt.Addresses = append(opt.Addresses, s.offset)
			opt.Cookies = append(opt.Cookies, s.cookie)
			opt.RefCtrOffsets = append(opt.RefCtrOffsets, s.refctr)
		}
		k, err := lib.exe.UprobeMulti(nil, prog, &opt)
		if err != nil {
			return nil, err
		}
		return []link.Link{k}, nil
	}
	var links []link.Link
	for _, s := range sites {
		k, err := lib.exe.Uprobe("at_"+strconv.FormatUint(s.offset, 16), prog,
			&link.UprobeOptions{Address: s.offset, PID: at, Cookie: s.cookie, RefCtrOffset: s.refctr})
		if err != nil {
			return links, attachRefusal(err)
		}
		links = append(links, k)
	}
	return links, nil
}

// detach closes links, beside everything else: the kernel takes tens of
// milliseconds for each, in which it only waits.
func (l *libraries) detach(links []link.Link) {
	for _, k := range links {
		l.room <- struct{}{}
		l.closing.Add(1)
		go func() {
			defer l.closing.Done()
			err := k.Close()
			<-l.room
			l.fail(err)
		}()
	}
}

func (l *libraries) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		return
	}
	l.failed++
	if l.err == nil {
		l.err = err
	}
}

// watchesLibraries reports whether a chosen event comes from libraries.
func (p *Probe) watchesLibraries() bool {
	return slices.ContainsFunc(libraryEvents, func(id event.ID) bool { return p.opt.Events[id] })
}

// attachLibraries loads the programs of the chosen library events, and attaches
// what says that a process can have another library.
func (p *Probe) attachLibraries() error {
	if !p.watchesLibraries() {
		return nil
	}
	multi := haveUprobeMulti()
	if multi {
		for _, fn := range libraryFunctions {
			p.bpf.spec.Programs[fn.program].AttachType = ebpf.AttachTraceUprobeMulti
		}
	}
	calls := map[event.ID][]string{}
	for _, fn := range libraryFunctions {
		if !p.opt.Events[fn.event] {
			continue
		}
		name := event.Kinds[fn.event].Name
		if err := p.bpf.load(fn.program); err != nil {
			var missing *PrivilegeError
			if errors.As(explain(err), &missing) {
				return missing
			}
			p.session.Missing[name] = err.Error()
			p.opt.Events[fn.event] = false
			continue
		}
		if fn.call != bpf.VivCallVIV_CALL_TLS_END {
			calls[fn.event] = append(calls[fn.event], "uprobe:"+fn.name)
		}
	}
	for id, at := range calls {
		p.session.Hooks[event.Kinds[id].Name] = strings.Join(at, ",")
	}
	if err := p.attachMaps(); err != nil {
		return err
	}
	p.libs = newLibraries(p.bpf.programs, multi, findFunctions(p.opt.Events))
	return nil
}

// attachMaps attaches what says that a process can have mapped another file.
func (p *Probe) attachMaps() error {
	for _, h := range mapped {
		if err := p.bpf.attach(h); err != nil {
			return fmt.Errorf("%s: %w", h.place, err)
		}
	}
	return nil
}
