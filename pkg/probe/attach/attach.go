// Package attach attaches programs to places in the files of watched processes:
// where finders want them, in each process's own view of the file system, whatever
// has become of a file's name, and again when a process is made, executes or maps
// something.
//
// One goroutine, run, owns all of an Attacher's state. What another program can
// hold up (its files, its directories, what /proc shows of it, the kernel's work on
// its memory) is done by helpers, for which it waits for a limited time (see ask).
package attach

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The bounds of what is kept.
const (
	maxQueue      = 4096                   // changes of processes that wait
	maxProcesses  = 32768                  // that are known
	maxOtherFiles = 4096                   // files without sites that are remembered
	maxFiles      = 1024                   // files with sites, which are kept open
	maxHolds      = 4096                   // files of processes in which semaphores are raised
	keepUnused    = time.Minute            // how long a file is kept that no process has mapped
	sweepEvery    = 5 * time.Second        // how often such are looked for
	reapEvery     = 200 * time.Millisecond // how often ended processes are looked for
	endingFor     = 100 * time.Millisecond // how long a process that is ending may take for it
)

// Config says what is attached, and how.
type Config struct {
	Programs  map[string]*ebpf.Program // by name, as sites have it; loaded for many places at once if Multi
	Multi     bool                     // the kernel attaches to many places at once
	Finders   []Finder
	WellKnown []string // beginnings of the names of libraries that are attached before a process maps them

	// Refused and Unreadable name what is missing when the kernel refuses to
	// attach, or to let us look at a process or a file.
	Refused, Unreadable func(error) error
}

// Attacher attaches programs to processes' files. Its methods may be called from
// any goroutine.
type Attacher struct {
	cfg      Config
	kinds    []string // of the finders
	failures failures
	queue    queue
	helpers  chan struct{} // one element for each that is at work
	closers  closers
	calls    chan func() // for run
	quit     chan struct{}
	ended    chan struct{} // run has
	close    sync.Once

	// Of run alone.
	files map[fileID]*file
	own   []*file // of Program
	open  int     // files with sites
	procs map[int]*process
	holds int // files of processes in which semaphores are raised
	swept time.Time
}

// New makes an Attacher. The caller closes it.
func New(cfg Config) *Attacher {
	a := newAttacher(cfg)
	go a.run()
	return a
}

func newAttacher(cfg Config) *Attacher {
	a := &Attacher{
		cfg: cfg, helpers: make(chan struct{}, maxHelpers), calls: make(chan func()),
		quit: make(chan struct{}), ended: make(chan struct{}),
		files: map[fileID]*file{}, procs: map[int]*process{}, swept: time.Now(),
	}
	a.queue.init()
	for _, f := range cfg.Finders {
		if !slices.Contains(a.kinds, f.Kind) {
			a.kinds = append(a.kinds, f.Kind)
		}
	}
	a.closers.failed = func(err error) { a.failures.add(err.Error(), fmt.Errorf("detach: %w", err)) }
	return a
}

// Program attaches, for all processes, to what a finder finds in the program of
// that path, as we see it.
func (a *Attacher) Program(path string, find Finder) (err error) {
	a.call(func() { err = a.program(path, find) })
	return err
}

// Running attaches to what processes that run have mapped.
func (a *Attacher) Running(pids []int) {
	a.call(func() {
		for _, pid := range pids {
			if p := a.process(pid); p != nil {
				a.scan(pid, p)
				a.cached(pid, p)
			}
		}
	})
}

// Starting attaches to what a process will map that is about to execute a command:
// the program, the interpreter that it names, its loader, the libraries that it
// needs.
func (a *Attacher) Starting(pid int, command string) {
	a.call(func() {
		if p := a.process(pid); p != nil {
			a.command(pid, p, command)
			a.cached(pid, p)
		}
	})
}

// Changed takes note that a process may have mapped another file at that time, ns
// of CLOCK_MONOTONIC, or that parent made it then; else parent is 0. It does not
// wait, and allocates nothing.
func (a *Attacher) Changed(pid, parent int, ktime uint64) {
	if len(a.cfg.Finders) > 0 {
		a.queue.put(change{pid, parent}, ktime)
	}
}

// Close detaches everything. It waits for what takes the kernel long, but not
// for ever.
func (a *Attacher) Close() {
	a.close.Do(func() {
		close(a.quit)
		<-a.ended
		if n := a.queue.dropped.Load(); n > 0 {
			a.failures.addMany(n, "queue", errors.New("a process that was made, or mapped a file, is not looked at: they were too many at once"))
		}
		if n := a.closers.wait(); n > 0 {
			a.failures.addMany(uint64(n), "closing", errors.New("a probe could not be detached in time: the kernel does it when viv-probe has ended"))
		}
	})
}

// Counts is how much is attached.
type Counts struct {
	Processes int // that are known
	Files     int // with sites
	Holds     int // files of processes in which semaphores are raised
}

// Counts counts what is attached now, without the processes that have ended.
func (a *Attacher) Counts() (c Counts) {
	a.call(func() {
		a.reap(false)
		c = Counts{Processes: len(a.procs), Files: a.open, Holds: a.holds}
	})
	return c
}

// call has run call f, and waits for it. After Close it does nothing.
func (a *Attacher) call(f func()) {
	done := make(chan struct{})
	select {
	case a.calls <- func() { f(); close(done) }:
		<-done
	case <-a.quit:
	}
}

func (a *Attacher) run() {
	defer close(a.ended)
	reap := time.NewTicker(reapEvery)
	defer reap.Stop()
	for {
		select {
		case <-a.quit:
			a.end()
			return
		case f := <-a.calls:
			f()
		case <-a.queue.wake:
			a.changes()
		case <-reap.C:
			a.reap(true)
			if now := time.Now(); now.Sub(a.swept) >= sweepEvery {
				a.sweep(now, keepUnused)
			}
		}
	}
}

// changes does what is in the queue.
func (a *Attacher) changes() {
	for {
		todo := a.queue.take()
		if len(todo) == 0 {
			return
		}
		for _, c := range todo {
			select {
			case <-a.quit:
				return
			default:
			}
			a.changed(c.pid, c.parent, c.ktime)
		}
	}
}

func (a *Attacher) changed(pid, parent int, ktime uint64) {
	known := a.procs[pid]
	if parent == 0 && known != nil && known.since > ktime && !ended(known.pidfd) {
		return // it was looked at since
	}
	p := a.process(pid)
	if p == nil {
		return
	}
	if parent == 0 {
		a.scan(pid, p)
		return
	}
	a.inherit(pid, p)
	// A child has its semaphores from its parent's memory, unless it was made
	// before they were raised.
	if of := a.procs[parent]; of == nil || of.since > ktime {
		a.scan(pid, p)
	} else {
		p.mapped = of.mapped
	}
}

// end takes back all that is attached.
func (a *Attacher) end() {
	for pid := range a.procs {
		a.drop(pid)
	}
	for _, f := range a.files {
		a.forget(f)
	}
	for _, f := range a.own {
		a.release(f)
	}
	a.own = nil
}

// gone reports whether an error can be that of a process that has ended.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}
