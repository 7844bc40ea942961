package attach

import (
	"errors"
	"fmt"
	"time"

	"vivarium/pkg/probe/ktime"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// process is one that is watched, with what is attached for it.
type process struct {
	pidfd  int
	since  uint64                // when it was looked at, ns of CLOCK_MONOTONIC
	links  map[*file][]link.Link // each file is attached once, also if that failed
	held   map[*file][]link.Link // what keeps semaphores raised, in the same way
	mapped map[*file]bool        // what it had mapped when it was looked at; it may be its parent's map
	slow   bool                  // what /proc shows of it did not come: it is not asked again
}

// process is the state of a running process, or nil.
func (a *Attacher) process(pid int) *process {
	if p := a.procs[pid]; p != nil {
		if !ended(p.pidfd) {
			return p
		}
		a.drop(pid) // another one had this id
	}
	if len(a.procs) >= maxProcesses {
		a.reap(false)
	}
	if len(a.procs) >= maxProcesses {
		a.failures.add("processes", fmt.Errorf("process %d: more than %d are watched", pid, maxProcesses))
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if !errors.Is(err, unix.ESRCH) {
			a.failures.add("pidfd: "+cause(err), fmt.Errorf("process %d: what it calls is not seen: %w", pid, err))
		}
		return nil
	}
	p := &process{pidfd: fd, links: map[*file][]link.Link{}, held: map[*file][]link.Link{}}
	a.procs[pid] = p
	return p
}

func ended(pidfd int) bool { return endedWithin(pidfd, 0) }

func endedWithin(pidfd int, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	return err == nil && n > 0
}

// endedOrEnding reports whether a process has ended, or an error says that it
// does: it cannot be found some time before it has ended.
func endedOrEnding(pidfd int, err error) bool {
	return ended(pidfd) || gone(err) && endedWithin(pidfd, endingFor)
}

// drop forgets a process that has ended.
func (a *Attacher) drop(pid int) {
	p := a.procs[pid]
	for f := range p.links {
		a.detach(p, f)
	}
	for f := range p.held {
		a.detach(p, f)
	}
	unix.Close(p.pidfd)
	delete(a.procs, pid)
}

// reap takes back what is attached for processes that have ended. If others wait
// it goes on later.
func (a *Attacher) reap(others bool) {
	for pid, p := range a.procs {
		if ended(p.pidfd) {
			a.drop(pid)
		}
		if others && len(a.queue.wake) > 0 {
			return
		}
	}
}

// inherit attaches all files that are known for a new process: it has its
// parent's, and those that it will map are most likely among the others.
func (a *Attacher) inherit(pid int, p *process) {
	var known []*file
	for _, f := range a.files {
		if len(f.watched) > 0 {
			known = append(known, f)
		}
	}
	changed, err := ask(a, func(w *watch) (changed []*file, err error) {
		w.do(func() {
			for _, f := range known {
				if id, err := identify(int(f.file.Fd()), ""); err != nil || !f.same(id) {
					changed = append(changed, f)
				}
			}
		})
		return changed, nil
	}, nil)
	if err != nil {
		a.unseen(pid, p, "its libraries", err)
		return
	}
	for _, f := range changed {
		a.forget(f)
	}
	for _, f := range known {
		if a.files[f.fileID] == f {
			a.attach(pid, p, f)
		}
	}
}

// scan attaches what a process has mapped.
func (a *Attacher) scan(pid int, p *process) {
	if p.slow {
		return
	}
	p.since = ktime.Now()
	list, err := ask(a, func(w *watch) ([]mapping, error) { return readMaps(w, pid) }, nil)
	if err != nil {
		p.slow = errors.Is(err, errSlow)
		a.unseen(pid, p, "its libraries", err)
	}
	if len(list) == 0 {
		return
	}
	p.mapped = map[*file]bool{}
	for _, m := range list {
		if m.err != nil {
			a.unseen(pid, p, fmt.Sprintf("%q", m.path), m.err)
			continue
		}
		if f := a.look(pid, p, m.place, m.now, true); f != nil && f.file != nil {
			p.mapped[f] = true
		}
	}
}
