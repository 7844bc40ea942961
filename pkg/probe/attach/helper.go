package attach

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// maxHelpers are how many looks may be without an answer at a time.
const maxHelpers = 16

// attachLimit is how long the kernel may take to attach to one place, or to many at
// once. It waits for all processors, and for the memory of each process that runs
// the file.
const attachLimit = 6 * time.Second

// workLimit is how long a helper may take in all, also for what it computes.
const workLimit = 30 * time.Second

// readLimit is how long all reads of a file may take together.
const readLimit = 5 * time.Second

// lookLimit is how long one operation on something of another program may take; a
// test does not want to wait that long.
var lookLimit = 2 * time.Second

var (
	errSlow = errors.New("no answer in time")
	errBusy = errors.New("too many others have not answered")
	errEnd  = errors.New("the recording has ended") // no failure
)

// watch measures how long the operations of a helper take that another program
// can hold up. What the helper computes in between does not count.
type watch struct {
	until  atomic.Int64 // how long the operation that is going on may take, ns of wall time; 0: none is
	spent  time.Duration
	failed error // why a file cannot be read
}

// do does such an operation.
func (w *watch) do(f func()) { w.within(lookLimit, f) }

// within does one that may take that long.
func (w *watch) within(limit time.Duration, f func()) {
	start := time.Now()
	w.until.Store(start.Add(limit).UnixNano())
	f()
	w.until.Store(0)
	w.spent += time.Since(start)
}

// left is how long the operation that is going on may still take.
func (w *watch) left(now time.Time) time.Duration {
	until := w.until.Load()
	if until == 0 {
		return lookLimit
	}
	return time.Unix(0, until).Sub(now)
}

// reader reads a file of another program.
type reader struct {
	r io.ReaderAt
	w *watch
}

func (r reader) ReadAt(b []byte, off int64) (n int, err error) {
	if r.w.spent > readLimit { // one that answers, but slowly
		r.w.failed = errSlow
		return 0, errSlow
	}
	r.w.do(func() { n, err = r.r.ReadAt(b, off) })
	if err != nil && err != io.EOF && off >= 0 {
		r.w.failed = err
	}
	return n, err
}

// ask has f called by a helper and returns what f does, or errSlow when one of its
// operations, or all of it, takes too long. What f returns then is given to late, which can be
// nil, by the helper.
func ask[T any](a *Attacher, f func(w *watch) (T, error), late func(T)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	select {
	case a.helpers <- struct{}{}:
	default:
		return none, errBusy
	}
	var w watch
	answers := make(chan answer, 1)
	var left atomic.Bool // by one of both: who does not wait any more, or who answers too late for that
	go func() {
		v, err := f(&w)
		<-a.helpers
		if left.CompareAndSwap(false, true) {
			answers <- answer{v, err}
		} else if late != nil {
			late(v)
		}
	}()
	end := time.Now().Add(workLimit)
	timer := time.NewTimer(lookLimit)
	defer timer.Stop()
	for {
		err := errEnd
		select {
		case got := <-answers:
			return got.v, got.err
		case <-a.quit:
		case now := <-timer.C:
			if d := min(w.left(now), end.Sub(now)); d > 0 {
				timer.Reset(d)
				continue
			}
			err = errSlow
		}
		if left.CompareAndSwap(false, true) {
			return none, err
		}
		got := <-answers // just now
		return got.v, got.err
	}
}
