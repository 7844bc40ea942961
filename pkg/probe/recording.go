package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/mask"
	"vivarium/pkg/probe/attach"
	"vivarium/pkg/probe/launch"
	"vivarium/pkg/probe/ring"
	"vivarium/pkg/probe/spans"
	"vivarium/pkg/probe/wire"
	"vivarium/pkg/stream"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The reader looks into the ring buffer this often when the programs do not
// wake it: often enough to look live, rarely enough to cost nothing.
const drainEvery = 20 * time.Millisecond

// drainMost is how many records are read between two looks at what may end the
// recording, however fast they come.
const drainMost = 1 << 16

// clockEvery is how often a stream gets a fresh anchor of wall time; a test
// does not want to wait that long.
var clockEvery = time.Minute

// endMost is how long the end waits for what the programs still send, or for a
// record that they do not complete.
const endMost = 3 * time.Second

// recording is the state of one Record.
type recording struct {
	opt    *Options
	ring   *ring.Reader
	counts *ebpf.Map // what did not fit into the ring
	tasks  *marker
	// watchEntries attaches what shows that the kernel does a call, where somebody else
	// can answer it: for all calls of everybody, so only when it is needed.
	watchEntries func() error
	targets      []target
	cmd          *launch.Command  // nil: processes that ran already
	sites        *spans.Table     // nil: no probes in files are wanted
	found        *spans.Found     // nil: nobody reports which methods there are
	decided      *ebpf.Map        // methods about which the list has decided
	files        *attach.Attacher // nil: nothing is wanted in files
	start        uint64           // of the recording, ns of the kernel's time

	w            *stream.Writer
	out          *os.File
	m            wire.Message // the last record
	tls          tlsWrites
	span         event.Event // of a method that no probe told of
	threads      methodThreads
	roots        roots
	fds          []unix.PollFd
	events, lost uint64
	unseen       uint64   // of lost
	missed       uint64   // of lost
	told         []uint64 // of missed, by cause
	badMarkers   uint64
	obs          *observed // nil: all is recorded
	outlived     int       // processes that go on when the targets have ended
	survivors    []Survivor
	busy         time.Time // since when the record at the front of the ring is not complete; zero: it is
	late         *ebpf.Variable
	withheld     uint64 // of lost
	undetached   error  // nil: all hooks are taken back
	reason       string // why it ended
}

// run copies records until there is a reason to end.
func (r *recording) run(ctx context.Context) error {
	start := time.Now()
	clock := start
	for {
		if err := r.drain(); err != nil {
			return err
		}
		if err := r.unattached(max(r.m.Event.KtimeNS, r.start), false); err != nil {
			return err
		}
		gone, err := r.poll()
		now := time.Now()
		switch {
		case err != nil:
			return err
		case gone:
			r.reason = "exited"
			return nil
		case ctx.Err() != nil:
			r.reason = "signal"
			return nil
		case r.opt.Duration > 0 && now.Sub(start) >= r.opt.Duration:
			r.reason = "duration"
			return nil
		}
		if now.Sub(clock) >= clockEvery {
			clock = now
			var c stream.Clock
			c.UnixNS, c.KtimeNS = clocks()
			if err := r.w.Clock(&c); err != nil {
				return err
			}
			if r.obs != nil {
				r.obs.sweep()
			}
		}
	}
}

// drain copies what is in the ring, and what comes within drainEvery; of an
// endless flood only so much that run can look after the rest.
func (r *recording) drain() error {
	deadline := time.Now().Add(drainEvery)
	for n := 0; n < drainMost; {
		raw, state := r.ring.Next()
		if state == ring.Record {
			n++
			r.busy = time.Time{}
			if err := r.m.Decode(raw); err != nil {
				return fmt.Errorf("decode a record: %w", err)
			}
			if err := r.message(); err != nil {
				return err
			}
			continue
		}
		now := time.Now()
		left := deadline.Sub(now)
		if state == ring.Busy && r.busy.IsZero() {
			r.busy = now
		}
		switch {
		case left <= 0:
			return r.w.Flush()
		case state == ring.Busy: // Wait would return at once
			time.Sleep(min(left, time.Millisecond))
		default:
			if err := r.ring.Wait(left); err != nil {
				return fmt.Errorf("wait for the ring buffer: %w", err)
			}
		}
	}
	return r.w.Flush()
}

// message does what the last record says.
func (r *recording) message() error {
	m := &r.m
	if m.Lost > 0 {
		if err := r.writeLost(m.Event.KtimeNS, m.Lost, stream.CauseBufferFull); err != nil {
			return err
		}
		r.tls.lost()
	}
	switch m.Type {
	case wire.Event:
		err := r.event()
		for err == nil && m.Next() {
			err = r.event()
		}
		return err
	case wire.BadMarker:
		r.badMarkers++
	case wire.FoundMarker:
		if r.found == nil || !r.found.See(m.Entry) {
			r.badMarkers++
		}
	case wire.Blind:
		r.unseen++
		return r.writeLost(m.Event.KtimeNS, 1, m.Cause)
	case wire.Library:
		r.libraryChanged(&m.Changed)
	case wire.TLSEnd:
		r.tls.end(m.Event.PID, m.Conn)
	case wire.Root:
		r.roots.told(m)
	case wire.TLSCork:
		r.tls.cork(m.Event.PID, m.Conn)
	case wire.TLSUncork:
		r.tls.uncork(m.Event.PID, m.Conn)
	case wire.Answerable:
		return r.watchEntries()
	case wire.MethodJump:
		return r.leaveMethods(m.StackPointer)
	}
	return nil
}

// event completes the event of the last record and writes it.
func (r *recording) event() error {
	m := &r.m
	m.Event.Root = r.roots.of(m)
	if m.ID == event.ProcExit {
		defer r.roots.forget(m)
	}
	if r.sites != nil {
		if !r.seeSpan(m) {
			return nil
		}
		if seen, err := r.methods(); err != nil || !seen {
			return err
		}
	}
	switch m.ID {
	case event.ProcExec:
		if !r.opt.NoMask {
			mask.Args(m.Event.Fields[event.ProcExecArgv].List)
		}
	case event.SSLWrite:
		if !r.tls.written(&m.Event, m.Data, r.opt) {
			return nil
		}
	case event.ProcFork:
		r.tls.forget(uint32(m.Event.Fields[event.ProcForkChildPID].Num), m.Event.PID)
	}
	return r.record(m.ID, &m.Event)
}

// libraryChanged has the process looked at that can have another library.
func (r *recording) libraryChanged(c *wire.LibraryChange) {
	if c.Exec {
		r.tls.forget(r.m.Event.PID, 0)
	}
	pid, parent := int(c.PID), int(c.Parent)
	if pid == 0 { // none in our namespace
		return
	}
	if r.files != nil {
		r.files.Changed(pid, parent, r.m.Event.KtimeNS)
	}
}

// record writes an event, if it is to be recorded.
func (r *recording) record(id event.ID, ev *event.Event) error {
	seen := r.opt.Events[id]
	if r.obs != nil && !r.obs.sees(id, ev) {
		switch id {
		case event.ProcFork, event.ProcExec, event.ProcExit:
			seen = false
		default:
			return nil
		}
	}
	if !seen {
		// Spans are rebuilt from it. It says no more than that needs.
		ev.Hidden = true
		if id == event.ProcExec {
			ev.Fields[event.ProcExecPath], ev.Fields[event.ProcExecArgv] = event.Value{}, event.Value{}
		}
	}
	r.events++
	return r.w.Event(ev)
}

// poll says whether all targets have ended, and returns EPIPE when nobody
// reads the stream any more, which a write would show only at the next event.
func (r *recording) poll() (gone bool, err error) {
	fds := append(r.fds[:0], unix.PollFd{Fd: int32(r.out.Fd())})
	for _, t := range r.targets {
		fds = append(fds, unix.PollFd{Fd: int32(t.pidfd), Events: unix.POLLIN})
	}
	r.fds = fds
	if _, err := unix.Poll(fds, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("poll the targets: %w", err)
	}
	if fds[0].Revents&unix.POLLERR != 0 {
		return false, unix.EPIPE
	}
	for _, fd := range fds[1:] {
		if fd.Revents&unix.POLLIN == 0 {
			return false, nil
		}
	}
	return true, nil
}

func (r *recording) writeLost(ktime, n uint64, cause string) error {
	r.lost += n
	return r.w.Lost(&stream.Lost{KtimeNS: ktime, Count: n, Cause: cause})
}

// end delivers what the programs left behind before they were detached, and
// the end record.
func (r *recording) end() error {
	// Where a hook could not be taken back, more may come for ever.
	for n, until := r.events, time.Now().Add(endMost); ; n = r.events {
		if err := r.drain(); err != nil {
			return err
		}
		if r.events == n && r.busy.IsZero() || !time.Now().Before(until) {
			break
		}
	}
	var counts []bpf.VivCount
	if err := r.counts.Lookup(uint32(0), &counts); err != nil {
		return fmt.Errorf("read the loss counters: %w", err)
	}
	e := stream.End{Reason: r.reason}
	e.StopUnixNS, e.StopKtimeNS = clocks()
	var left uint64
	for _, c := range counts {
		left += c.Lost
	}
	if left > 0 {
		if err := r.writeLost(e.StopKtimeNS, left, stream.CauseBufferFull); err != nil {
			return err
		}
	}
	if err := r.heldBack(e.StopKtimeNS); err != nil {
		return err
	}
	if err := r.unattached(e.StopKtimeNS, true); err != nil {
		return err
	}
	_, alive, watched, err := r.tasks.pass()
	if err != nil {
		return err
	}
	if r.reason == "exited" { // so none of them is a target
		r.outlived, r.survivors = int(alive), survivors(watched)
	}
	e.Events, e.Lost, e.Alive = r.events, r.lost, uint64(alive)
	if c := r.cmd; c != nil && r.reason == "exited" {
		<-c.Done()
		status, err := c.Status()
		if err != nil {
			return err
		}
		e.ExitCode, e.HasExit = int64(status), true
	}
	if err := r.w.End(&e); err != nil {
		return err
	}
	return r.w.Flush()
}

// heldBack writes as lost what did not come until the end.
func (r *recording) heldBack(ktime uint64) error {
	var waiting uint64
	if err := r.late.Get(&waiting); err != nil {
		return fmt.Errorf("read late_waiting: %w", err)
	}
	if waiting > 0 {
		r.withheld += waiting
		if err := r.writeLost(ktime, waiting, "the text of a library call was not in memory, and its thread did nothing more"); err != nil {
			return err
		}
	}
	if n := r.ring.Waiting(); n > 0 && !r.busy.IsZero() {
		r.withheld += n
		if err := r.writeLost(ktime, n, "the ring buffer was held up by a record that was not completed"); err != nil {
			return err
		}
	}
	if r.undetached != nil {
		r.withheld++
		return r.writeLost(ktime, 1, r.undetached.Error())
	}
	return nil
}

// unfound says which methods of the user's list were not found; nil: all were, or
// there is no such list.
func (r *recording) unfound() error {
	if r.found != nil {
		return r.found.Missing()
	}
	if r.sites == nil || r.sites.List == nil {
		return nil
	}
	err := r.sites.List.Missing()
	if err == nil {
		return nil
	}
	for _, p := range r.opt.Spans.Providers {
		if p.Unfound != "" {
			err = fmt.Errorf("%w; %s", err, p.Unfound)
		}
	}
	return err
}
