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
	"vivarium/pkg/probe/wire"
	"vivarium/pkg/stream"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
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

// recording is the state of one Record.
type recording struct {
	opt    *Options
	ring   *ringbuf.Reader
	counts *ebpf.Map // what did not fit into the ring
	tasks  *marker
	// watchEntries attaches what shows that the kernel does a call, where somebody else
	// can answer it: for all calls of everybody, so only when it is needed.
	watchEntries func() error
	targets      []target
	cmd          *launch.Command  // nil: processes that ran already
	sites        *siteSet         // nil: no probes in files are wanted
	files        *attach.Attacher // nil: nothing is wanted in files
	start        uint64           // of the recording, ns of the kernel's time

	w            *stream.Writer
	out          *os.File
	raw          ringbuf.Record
	m            wire.Message // the last record
	tls          tlsWrites
	span         event.Event // of a method that no probe told of
	threads      methodThreads
	fds          []unix.PollFd
	events, lost uint64
	unseen       uint64   // of lost
	missed       uint64   // of lost
	told         []uint64 // of missed, by cause
	badMarkers   uint64
	obs          *observed // nil: all is recorded
	reason       string    // why it ended
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
	r.ring.SetDeadline(time.Now().Add(drainEvery))
	for range drainMost {
		err := r.ring.ReadInto(&r.raw)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return r.w.Flush()
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		if err := r.m.Decode(r.raw.RawSample); err != nil {
			return fmt.Errorf("decode a record: %w", err)
		}
		if err := r.message(); err != nil {
			return err
		}
	}
	return r.w.Flush()
}

// message does what the last record says.
func (r *recording) message() error {
	m := &r.m
	if m.Lost > 0 {
		if err := r.writeLost(m.Event.KtimeNS, m.Lost, "ring buffer full"); err != nil {
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
	case wire.Blind:
		r.unseen++
		return r.writeLost(m.Event.KtimeNS, 1, m.Cause)
	case wire.Library:
		r.libraryChanged(&m.Changed)
	case wire.TLSEnd:
		r.tls.end(m.Event.PID, m.Conn)
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
	if r.sites != nil {
		if !r.sites.see(m) {
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
		r.tls.written(&m.Event, m.Data, r.opt)
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
	for n := r.events; ; n = r.events {
		if err := r.drain(); err != nil {
			return err
		}
		if r.events == n {
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
		if err := r.writeLost(e.StopKtimeNS, left, "ring buffer full"); err != nil {
			return err
		}
	}
	if err := r.unattached(e.StopKtimeNS, true); err != nil {
		return err
	}
	_, alive, _, err := r.tasks.pass()
	if err != nil {
		return err
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
