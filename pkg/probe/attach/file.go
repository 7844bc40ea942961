package attach

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	velf "vivarium/pkg/probe/elf"

	"github.com/cilium/ebpf/link"
)

// Site is a place in a file where a program runs.
type Site struct {
	Program   string // by its name in Config.Programs
	Return    bool   // where the function that begins at Offset returns
	Offset    uint64 // in the file, bytes
	Cookie    uint64 // what the program is told of the place
	Semaphore uint64 // where in the file the counter is that is raised in watched processes; 0: it has none
	All       bool   // for all processes that run the file, so that none is missed that was just forked
}

// File is a program or library that a finder looks at. Reading it may fail at any
// place, and ends when the file does not answer.
type File struct {
	Path string // as the process calls it; another file may have this name now
	ELF  *elf.File
	io.ReaderAt
}

// Found is what a finder finds in a file.
type Found struct {
	Sites       []Site   // in the order in which they are to be attached
	Directories []string // in which processes that run the file look for more to load
}

// Finder finds the sites of a program or library. Find is called by several
// goroutines. With an error, what was found is attached all the same.
type Finder struct {
	Kind string // what is not seen where the sites cannot be attached: "calls"
	Find func(*File) (Found, error)
}

// maxSites bounds the sites that a finder finds in a file.
const maxSites = 65536

// group are sites that are attached at once.
type group struct {
	finder  int // groups of one are attached as long as none fails
	kind    string
	program string
	ret     bool
	sites   []Site
}

// file is a program or library that was looked at. One without sites is only
// remembered; one with sites is kept open, so that its inode stays its own.
type file struct {
	identity
	path        string
	file        *os.File // nil: no sites
	exe         *link.Executable
	all         []group     // for all processes
	watched     []group     // for watched ones
	links       []link.Link // of all
	semaphores  []uint64    // of all, in the file, bytes
	quiet       []uint64    // where in it an instruction begins that is not executed again, bytes
	directories []string
	errs        []failed
	err         error     // why it could not be looked at
	used        time.Time // when a process was last known to have it mapped
	keep        bool      // also while none has
}

// failed is a failure of a finder.
type failed struct {
	kind string
	err  error
}

func (f *file) same(id identity) bool { return f.mtime == id.mtime && f.size == id.size }

// read looks for sites in an open file, and keeps it if there are any.
func (a *Attacher) read(w *watch, r *os.File, id identity, path string, finders []Finder) (*file, error) {
	f := &file{identity: id, path: path}
	content := reader{r, w}
	e, err := velf.Open(content)
	if w.failed != nil {
		r.Close()
		return nil, w.failed
	}
	if err != nil {
		r.Close()
		return f, nil // nothing for us in it
	}
	for i, find := range finders {
		found, err := find.Find(&File{path, e, content})
		if err != nil {
			f.errs = append(f.errs, failed{find.Kind, err})
		}
		f.directories = append(f.directories, found.Directories...)
		f.add(i, find.Kind, found.Sites)
	}
	if len(f.all) == 0 && len(f.watched) == 0 {
		r.Close()
		return f, nil
	}
	if len(f.semaphores) > 0 {
		var taken []uint64
		for _, g := range f.all {
			for _, s := range g.sites {
				taken = append(taken, s.Offset)
			}
		}
		f.quiet = velf.QuietPlaces(e, taken)
	}
	// By the descriptor: the name may be another's, or nobody's, now.
	if f.exe, err = link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", r.Fd())); err != nil {
		r.Close()
		return nil, err
	}
	f.file = r
	return f, nil
}

// add sorts the sites of a finder into groups.
func (f *file) add(finder int, kind string, sites []Site) {
	if len(sites) > maxSites {
		f.errs = append(f.errs, failed{kind, fmt.Errorf("only %d of %d places", maxSites, len(sites))})
		sites = sites[:maxSites]
	}
	for _, s := range sites {
		to := &f.watched
		if s.All {
			to = &f.all
			if s.Semaphore != 0 && !slices.Contains(f.semaphores, s.Semaphore) {
				f.semaphores = append(f.semaphores, s.Semaphore)
			}
		}
		i := len(*to) - 1
		if i < 0 || (*to)[i].finder != finder || (*to)[i].program != s.Program || (*to)[i].ret != s.Return {
			*to = append(*to, group{finder: finder, kind: kind, program: s.Program, ret: s.Return})
			i++
		}
		(*to)[i].sites = append((*to)[i].sites, s)
	}
}

// look attaches in a file of a process, if it has sites. It returns nil if the
// file could not be looked at. id is what the file was a moment ago.
func (a *Attacher) look(pid int, p *process, at place, id identity, mapped bool) *file {
	f := a.files[id.fileID]
	if f != nil && !f.same(id) {
		a.forget(f) // what is in it is something else now
		f = nil
	}
	if f == nil {
		var err error
		if f, err = a.find(at); errors.Is(err, errEnd) {
			return nil
		} else if errors.Is(err, errSlow) || errors.Is(err, errFUSE) {
			f = &file{identity: id, path: at.path, err: err} // it is not asked again
		} else if err != nil {
			if mapped {
				a.unseen(pid, p, fmt.Sprintf("%q", at.path), err)
			}
			return nil
		}
		a.learn(pid, p, f)
	}
	if f.err != nil && mapped {
		if _, said := p.links[f]; !said {
			p.links[f] = nil
			a.unseen(pid, p, fmt.Sprintf("%q", at.path), f.err)
		}
	}
	a.attach(pid, p, f)
	a.raise(pid, p, f)
	return f
}

// find opens a file and looks for sites in it.
func (a *Attacher) find(at place) (*file, error) {
	return ask(a, func(w *watch) (f *file, err error) {
		var r *os.File
		var id identity
		w.do(func() { r, id, err = at.open() })
		if errors.Is(err, errNoFile) {
			return &file{identity: id, path: at.path}, nil
		}
		if err != nil {
			return nil, err
		}
		return a.read(w, r, id, at.path, a.cfg.Finders)
	}, (*file).discard)
}

// learn remembers a file, and attaches what is for all processes.
func (a *Attacher) learn(pid int, p *process, f *file) {
	f.used = time.Now()
	for _, e := range f.errs {
		a.unattached(e.kind, f.path, e.err)
	}
	f.errs = nil
	if f.file != nil && a.open >= maxFiles {
		a.sweep(f.used, time.Nanosecond)
		if a.open >= maxFiles {
			f.discard()
			f.file, f.all, f.watched, f.semaphores = nil, nil, nil, nil
			f.err = fmt.Errorf("more than %d files with probes are mapped", maxFiles)
		}
	}
	if f.file != nil {
		a.open++
		if err := a.attachAll(f); err != nil {
			f.semaphores = nil
		}
	} else if len(a.files)-a.open >= maxOtherFiles {
		for _, old := range a.files {
			if old.file == nil && old.err == nil {
				delete(a.files, old.fileID)
			}
		}
	}
	if old := a.files[f.fileID]; old != nil {
		a.forget(old)
	}
	a.files[f.fileID] = f
	if len(f.directories) > 0 {
		a.directories(pid, p, f.directories)
	}
}

// discard closes a file that nobody has any use for.
func (f *file) discard() {
	if f != nil && f.file != nil {
		f.file.Close()
	}
}

// release takes back what is attached in a file for all processes.
func (a *Attacher) release(f *file) {
	a.closers.add(f.links)
	f.links = nil
	f.discard()
}

// forget takes back all that is attached in a file.
func (a *Attacher) forget(f *file) {
	for _, p := range a.procs {
		a.detach(p, f)
		delete(p.mapped, f)
	}
	a.release(f)
	if f.file != nil {
		a.open--
	}
	delete(a.files, f.fileID)
}

// sweep forgets the files that no process had mapped for that long: to keep them
// open keeps a container's file system busy, and to attach them for each new
// process takes time. What is for all processes goes only when there is no room,
// because a process that begins to run it would be missed.
func (a *Attacher) sweep(now time.Time, unused time.Duration) {
	a.swept = now
	for _, p := range a.procs {
		for f := range p.mapped {
			f.used = now
		}
	}
	for _, f := range a.files {
		if f.file != nil && !f.keep && (len(f.all) == 0 || a.open >= maxFiles) && now.Sub(f.used) >= unused {
			a.forget(f)
		}
	}
}

// program attaches to a program of our own root, for all processes.
func (a *Attacher) program(path string, find Finder) error {
	f, err := ask(a, func(w *watch) (f *file, err error) {
		var r *os.File
		var id identity
		w.do(func() { r, id, err = openOwn(path) })
		if err != nil {
			return nil, err
		}
		e, err := velf.Open(reader{r, w})
		if err == nil {
			var found Found
			if found, err = find.Find(&File{path, e, reader{r, w}}); err == nil {
				f = &file{identity: id, path: path}
				f.add(0, find.Kind, found.Sites)
				f.exe, err = link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", r.Fd()))
			}
		}
		if err != nil {
			r.Close()
			return nil, err
		}
		f.file = r
		return f, nil
	}, (*file).discard)
	if err != nil {
		return err
	}
	a.own = append(a.own, f)
	return a.attachAll(f)
}
