package attach

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// HoldProgram does nothing. It is attached where nothing comes by, so that the
// kernel keeps a semaphore raised in one process (bpf/hooks/usdt.h).
const HoldProgram = "hold"

var (
	errLeaderEnded = errors.New("its first thread has ended, and calls in it are not seen")
	errNoPlace     = errors.New("there is no place to hold it")
)

// attachAll attaches the sites of a file that are for all processes. The error is
// counted already.
func (a *Attacher) attachAll(f *file) error {
	skip := -1
	var failed error
	for _, g := range f.all {
		if g.finder == skip {
			continue
		}
		links, err := ask(a, func(w *watch) ([]link.Link, error) { return a.attachGroup(w, f.exe, g, 0) },
			a.late(func() bool { return a.files[f.fileID] == f }, func(late []link.Link) { f.links = append(f.links, late...) }))
		f.links = append(f.links, links...)
		if err != nil {
			skip, failed = g.finder, errors.Join(failed, err)
			a.unattached(g.kind, f.path, err)
		}
	}
	return failed
}

// attach attaches a file's sites for a process, once.
func (a *Attacher) attach(pid int, p *process, f *file) {
	if _, ok := p.links[f]; ok || len(f.watched) == 0 {
		return
	}
	links, err := ask(a, func(w *watch) (links []link.Link, errs error) {
		at := Shown(pid)
		if a.cfg.Multi && at != pid {
			// The kernel takes the memory of the first thread, and no other thread.
			return nil, errLeaderEnded
		}
		skip := -1
		for _, g := range f.watched {
			if g.finder == skip {
				continue
			}
			got, err := a.attachGroup(w, f.exe, g, at)
			links = append(links, got...)
			if err != nil {
				skip, errs = g.finder, errors.Join(errs, err)
			}
		}
		return links, errs
	}, a.late(func() bool { return a.procs[pid] == p && a.files[f.fileID] == f },
		func(late []link.Link) { p.links[f] = append(p.links[f], late...) }))
	p.links[f] = links
	a.notAttached(pid, p, f, err)
}

// raise raises the semaphores of a file in a process, once.
func (a *Attacher) raise(pid int, p *process, f *file) {
	if _, ok := p.held[f]; ok || len(f.semaphores) == 0 {
		return
	}
	if a.holds >= maxHolds {
		a.failures.add("holds", fmt.Errorf("process %d: its probes' semaphores are not raised, because those of %d others are", pid, maxHolds))
		return
	}
	links, err := ask(a, func(w *watch) ([]link.Link, error) { return a.hold(w, f, f.semaphores, Shown(pid)) },
		a.late(func() bool { return a.procs[pid] == p && a.files[f.fileID] == f },
			func(late []link.Link) { p.held[f] = append(p.held[f], late...) }))
	p.held[f] = links
	a.holds++
	a.notAttached(pid, p, f, err)
}

// late is what becomes of links for which nobody waits any more: they are kept
// after all, if what they are of is still there.
func (a *Attacher) late(there func() bool, keep func([]link.Link)) func([]link.Link) {
	return func(links []link.Link) {
		kept := false
		a.call(func() {
			if kept = there(); kept {
				keep(links)
			}
		})
		if !kept {
			a.closers.add(links)
		}
	}
}

// notAttached counts a failure to attach for a process that lives.
func (a *Attacher) notAttached(pid int, p *process, f *file, err error) {
	if err != nil && !errors.Is(err, errEnd) && !endedOrEnding(p.pidfd, err) {
		a.failures.add("attach: "+cause(err), fmt.Errorf("attach to %q of process %d: %w", f.path, pid, err))
	}
}

// attachGroup attaches a program to the sites of a group, for one process or, with
// pid 0, for all. What it could attach to is attached also with an error.
func (a *Attacher) attachGroup(w *watch, exe *link.Executable, g group, pid int) (links []link.Link, err error) {
	prog := a.cfg.Programs[g.program]
	if a.cfg.Multi {
		opt := link.UprobeMultiOptions{PID: uint32(pid)}
		for _, s := range g.sites {
			opt.Addresses = append(opt.Addresses, s.Offset)
			opt.Cookies = append(opt.Cookies, s.Cookie)
			if pid != 0 {
				opt.RefCtrOffsets = append(opt.RefCtrOffsets, s.Semaphore)
			}
		}
		attach := exe.UprobeMulti
		if g.ret {
			attach = exe.UretprobeMulti
		}
		var l link.Link
		w.within(attachLimit, func() { l, err = attach(nil, prog, &opt) })
		if err != nil {
			return nil, err
		}
		return []link.Link{l}, nil
	}
	for _, s := range g.sites {
		opt := link.UprobeOptions{Address: s.Offset, Cookie: s.Cookie, PID: pid}
		if pid != 0 {
			opt.RefCtrOffset = s.Semaphore
		}
		attach := exe.Uprobe
		if g.ret {
			attach = exe.Uretprobe
		}
		var l link.Link
		w.within(attachLimit, func() { l, err = attach(fmt.Sprintf("at_%x", s.Offset), prog, &opt) })
		if err != nil {
			return links, a.cfg.refused(err)
		}
		links = append(links, l)
	}
	return links, nil
}

// hold keeps semaphores of a file raised in a process.
func (a *Attacher) hold(w *watch, f *file, semaphores []uint64, pid int) (links []link.Link, err error) {
	next := 0
	for _, sem := range semaphores {
		failed := errNoPlace
		for ; next < len(f.quiet) && failed != nil; next++ {
			var l link.Link
			w.within(attachLimit, func() {
				l, failed = f.exe.Uprobe("at_quiet", a.cfg.Programs[HoldProgram], &link.UprobeOptions{
					Address: f.quiet[next], RefCtrOffset: sem, PID: pid,
				})
			})
			if failed == nil {
				links = append(links, l)
			}
		}
		if errors.Is(failed, unix.ESRCH) {
			break
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("raise its semaphore: %w", a.cfg.refused(failed)))
		}
	}
	return links, err
}

// detach takes back what is attached in a file for a process.
func (a *Attacher) detach(p *process, f *file) {
	a.closers.add(p.links[f])
	delete(p.links, f)
	if links, ok := p.held[f]; ok {
		a.closers.add(links)
		delete(p.held, f)
		a.holds--
	}
}

const (
	maxClosing = 64 // links that are being closed
	closeLimit = 10 * time.Second
)

// closers close links, beside everything else: the kernel takes tens of
// milliseconds for each, in which it only waits.
type closers struct {
	mu      sync.Mutex
	todo    []link.Link
	at      int // work
	left    int // links that are not closed
	done    chan struct{}
	failed  func(error)
	waiting bool
}

func (c *closers) add(links []link.Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.todo = append(c.todo, links...)
	c.left += len(links)
	for range links {
		if c.at == maxClosing {
			break
		}
		c.at++
		go c.work()
	}
}

func (c *closers) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.todo) > 0 {
		l := c.todo[0]
		c.todo = c.todo[1:]
		c.mu.Unlock()
		err := l.Close()
		c.mu.Lock()
		if err != nil {
			c.failed(err)
		}
		c.left--
	}
	if c.at--; c.left == 0 && c.waiting {
		c.waiting = false
		close(c.done)
	}
}

// wait waits until all are closed, or not any longer. It returns how many are not.
func (c *closers) wait() int {
	c.mu.Lock()
	if c.left == 0 {
		c.mu.Unlock()
		return 0
	}
	c.done, c.waiting = make(chan struct{}), true
	c.mu.Unlock()
	timer := time.NewTimer(closeLimit)
	defer timer.Stop()
	select {
	case <-c.done:
		return 0
	case <-timer.C:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiting = false
		return c.left
	}
}
