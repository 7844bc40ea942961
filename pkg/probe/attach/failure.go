package attach

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Failure is why something that was asked for cannot be seen.
type Failure struct {
	Err error  // the first of its cause
	N   uint64 // how many there were
}

func (f Failure) Error() string {
	if f.N > 1 {
		return fmt.Sprintf("%v (and %d more failures)", f.Err, f.N-1)
	}
	return f.Err.Error()
}

func (f Failure) Unwrap() error { return f.Err }

// maxCauses bounds the causes that are told apart.
const maxCauses = 16

// failures are what could not be attached, by cause.
type failures struct {
	total atomic.Uint64
	mu    sync.Mutex
	list  []Failure
	keys  map[string]int // in list
}

// add counts a failure; those of one cause are counted together.
func (f *failures) add(cause string, err error) { f.addMany(1, cause, err) }

func (f *failures) addMany(n uint64, cause string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.keys[cause]
	switch {
	case ok:
	case len(f.list) < maxCauses:
		if f.keys == nil {
			f.keys = map[string]int{}
		}
		i = len(f.list)
		f.keys[cause] = i
		f.list = append(f.list, Failure{Err: err})
	default:
		i = maxCauses - 1
	}
	f.list[i].N += n
	f.total.Add(n)
}

// Failed is how many failures there were up to now. It does not wait.
func (a *Attacher) Failed() uint64 { return a.failures.total.Load() }

// Failures are the failures up to now, by cause: each left something of a process
// out that lived then, and not the recording.
func (a *Attacher) Failures() []Failure {
	a.failures.mu.Lock()
	defer a.failures.mu.Unlock()
	return append([]Failure(nil), a.failures.list...)
}

// unseen counts that something of a process cannot be looked at, once for each
// kind of sites.
func (a *Attacher) unseen(pid int, p *process, what string, err error) {
	if errors.Is(err, errEnd) || endedOrEnding(p.pidfd, err) {
		return
	}
	err = a.cfg.unreadable(err)
	for _, kind := range a.kinds {
		a.failures.add(kind+": "+cause(err), fmt.Errorf("process %d: %s in %s are not seen: %w", pid, kind, what, err))
	}
}

// unattached counts that a place in a process or a file cannot be attached to.
func (a *Attacher) unattached(kind, where string, err error) {
	if err == nil || errors.Is(err, errEnd) {
		return
	}
	err = fmt.Errorf("%s in %s: %w", kind, where, err)
	a.failures.add(err.Error(), err)
}

// cause is what failures of one kind have in common.
func cause(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

func (c *Config) unreadable(err error) error {
	if c.Unreadable == nil {
		return err
	}
	return c.Unreadable(err)
}

func (c *Config) refused(err error) error {
	if c.Refused == nil {
		return err
	}
	return c.Refused(err)
}
