// Package probe watches processes: it loads viv's BPF programs, marks the
// targets, and turns what the programs send into the events of a stream.
package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/mask"
	"vivarium/pkg/probe/attach"
	"vivarium/pkg/stream"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Options says what to watch and how.
type Options struct {
	PIDs    []int    // processes to watch; or
	Command []string // the command to start and watch

	User          string   // who the command runs as; "": the caller, also of sudo
	CommandStdout *os.File // the command's standard output

	Hooks        Hooks             // the backend
	Events       map[event.ID]bool // to record
	NoFollow     bool              // leave out processes that the targets make
	FailedOpens  bool              // record opens that failed, too
	Spans        Spans             // where method spans come from
	Duration     time.Duration     // end after this time; 0: never
	BufferSize   int               // of the ring buffer, bytes: a power of two, of at least a page
	TraceID      [16]byte          // zero: a new one
	ParentSpanID uint64            // of a joined trace
	NoMask       bool              // leave secrets in arguments and requests as they are
	TLSData      bool              // record what is written into TLS connections, too
	Version      string            // of viv-probe
}

// The reader looks into the ring buffer this often when the programs do not
// wake it: often enough to look live, rarely enough to cost nothing.
const drainEvery = 20 * time.Millisecond

// clockEvery is how often a stream gets a fresh anchor of wall time; a test
// does not want to wait that long.
var clockEvery = time.Minute

// Probe is a loaded and attached set of programs with its targets.
type Probe struct {
	opt      Options
	coll     *ebpf.Collection // the maps and the iterator
	bpf      attachment
	ruby     *rubyFiles // nil: nothing is put in front of Ruby programs
	sites    *siteSet   // nil: no probes in files are wanted
	reader   *ringbuf.Reader
	files    *attach.Attacher // nil: nothing is wanted in files
	session  stream.Session
	noLSM    map[string]error // by event: why it does not come from the LSM hook that it has
	targets  []target
	watched  []int    // the processes that the last pass found to be watched
	cmd      *Command // nil with PIDs
	released bool     // the command has been let go
}

// target is a process that is watched because the user said so.
type target struct {
	pid   int
	pidfd int
}

// New starts the command or finds the processes, loads the programs and
// attaches them. The command waits until Record. The caller closes the Probe.
func New(opt Options) (_ *Probe, err error) {
	p := &Probe{opt: opt}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if len(opt.Command) > 0 {
		env := os.Environ()
		if opt.Spans.Ruby {
			list, err := opt.Spans.rubyList()
			if err != nil {
				return nil, err
			}
			if p.ruby, err = newRubyFiles(list); err != nil {
				return nil, err
			}
			env = p.ruby.environ(env)
		}
		if p.cmd, err = startCommand(opt.Command, opt.User, opt.CommandStdout, env); err != nil {
			return nil, err
		}
		opt.PIDs = []int{p.cmd.PID()}
	}
	for _, pid := range opt.PIDs {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			return nil, fmt.Errorf("process %d: no such process", pid)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // before Linux 6.16, and since
			return nil, fmt.Errorf("process %d: it is a thread, name its process", pid)
		}
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		p.targets = append(p.targets, target{pid, fd})
	}
	if err := p.newSession(); err != nil {
		return nil, err
	}
	if err := p.load(); err != nil {
		return nil, explain(err)
	}
	if err := p.attach(); err != nil {
		return nil, explain(err)
	}
	if err := p.seed(); err != nil {
		return nil, explain(err)
	}
	if p.files != nil {
		if p.cmd != nil {
			p.files.Starting(p.cmd.PID(), opt.Command[0])
		} else {
			p.files.Running(p.watched)
		}
	}
	return p, nil
}

func (p *Probe) newSession() error {
	host, err := thisHost()
	if err != nil {
		return err
	}
	command := p.opt.Command
	if !p.opt.NoMask && len(command) > 0 {
		command = masked(command)
	}
	s := stream.Session{
		Version:      stream.Version,
		TraceID:      p.opt.TraceID,
		ParentSpanID: p.opt.ParentSpanID,
		Command:      command,
		Masked:       !p.opt.NoMask,
		Host:         host,
		Hooks:        map[string]string{},
		Missing:      map[string]string{},
		ProbeVersion: p.opt.Version,
	}
	s.Targets = make([]uint32, len(p.targets))
	if s.TraceID == [16]byte{} {
		if _, err := rand.Read(s.TraceID[:]); err != nil {
			return fmt.Errorf("make a trace id: %w", err)
		}
	}
	p.session = s
	return nil
}

// load loads the programs that the chosen events need.
func (p *Probe) load() error {
	spec, err := bpf.LoadViv()
	if err != nil {
		return fmt.Errorf("read the BPF programs: %w", err)
	}
	chosen := p.opt.Events
	level, namespace, err := ownNamespace(spec)
	if err != nil {
		return err
	}
	values := map[string]any{
		"own_level":     level,
		"own_namespace": namespace,
		"follow":        !p.opt.NoFollow,
		"failed_opens":  p.opt.FailedOpens,
		"emit_exec":     chosen[event.ProcExec],
		"emit_connect":  chosen[event.SockConnect],
		"emit_dns":      chosen[event.DNSReq],
		"emit_mmap":     chosen[event.MmapExec],
		"wakeup_bytes":  uint64(p.opt.BufferSize / 4),
	}
	values["watch_libraries"] = p.watchesLibraries() || len(p.opt.Spans.usdt) > 0
	for name, v := range values {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	spec.Maps["events"].MaxEntries = uint32(p.opt.BufferSize)
	base := spec.Copy()
	for name := range base.Programs {
		if name != "seed_tasks" {
			delete(base.Programs, name)
		}
	}
	if p.coll, err = ebpf.NewCollection(base); err != nil {
		return fmt.Errorf("load the BPF programs: %w", err)
	}
	p.noLSM = map[string]error{}
	p.bpf = attachment{maps: p.coll.Maps, spec: spec, programs: map[string]*ebpf.Program{}, links: map[string]link.Link{}}
	p.reader, err = ringbuf.NewReader(p.coll.Maps["events"])
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	return nil
}

// ownNamespace is the depth of viv-probe's pid namespace, as the ids in all
// events have it, and its inode.
func ownNamespace(spec *ebpf.CollectionSpec) (level, inode uint32, err error) {
	spec = spec.Copy()
	for name := range spec.Programs {
		if name != "find_level" {
			delete(spec.Programs, name)
		}
	}
	for name := range spec.Maps {
		if !strings.HasPrefix(name, ".") {
			delete(spec.Maps, name)
		}
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return 0, 0, fmt.Errorf("load the BPF programs: %w", err)
	}
	defer coll.Close()
	if _, err := coll.Programs["find_level"].Run(&ebpf.RunOptions{}); err != nil {
		return 0, 0, fmt.Errorf("find the own pid namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0, 0, fmt.Errorf("find the own pid namespace: /proc/self/ns/pid: %w", err)
	}
	if err := coll.Variables["found_level"].Get(&level); err != nil {
		return 0, 0, fmt.Errorf("find the own pid namespace: %w", err)
	}
	return level, uint32(st.Ino), nil
}

// attach attaches the programs of the chosen events; nothing is recorded yet,
// because no task is marked.
func (p *Probe) attach() error {
	p.bpf.prepare(p.opt.Events, p.opt.Hooks)
	for _, h := range always {
		if err := p.bpf.attach(h); err != nil {
			return fmt.Errorf("%s: %w", h.place, err)
		}
	}
	if err := p.attachSpans(); err != nil {
		return err
	}
	for _, id := range Recordable() {
		if !p.opt.Events[id] || slices.Contains(spanEvents, id) || slices.Contains(libraryEvents, id) {
			continue
		}
		name := event.Kinds[id].Name
		at, noLSM, err := p.bpf.attachEvent(id, p.opt.Hooks)
		p.noLSM[name] = noLSM
		if err != nil {
			if missing := explain(err); missing != err {
				return missing
			}
			p.session.Missing[name] = err.Error()
			continue
		}
		p.session.Hooks[name] = strings.Join(at, ",")
		if id == event.BprmCreds && !strings.Contains(p.session.Hooks[name], "lsm:") {
			if err := p.coll.Variables["exec_creds"].Set(true); err != nil {
				return fmt.Errorf("set exec_creds: %w", err)
			}
		}
	}
	if err := p.attachFiles(); err != nil {
		return err
	}
	if len(p.session.Hooks) == 0 {
		for name, why := range p.session.Missing {
			return fmt.Errorf("no event can be recorded; %s: %s", name, why)
		}
	}
	return nil
}

// seed marks the targets' tasks and their descendants. It goes over all tasks
// until a pass finds nobody new: the fork hook is attached, so whoever is made
// meanwhile is marked by its parent, or is found by the next pass.
func (p *Probe) seed() error {
	s := &p.session
	s.StartUnixNS, s.StartKtimeNS = clocks()
	for _, t := range p.targets {
		leaderOnly := uint8(0)
		if p.cmd != nil {
			leaderOnly = 1
		}
		if err := p.coll.Maps["targets"].Put(uint32(t.pid), bpf.VivTarget{LeaderOnly: leaderOnly}); err != nil {
			return fmt.Errorf("mark process %d: %w", t.pid, err)
		}
	}
	for {
		seeded, _, err := p.pass()
		if err != nil {
			return err
		}
		if seeded == 0 {
			break
		}
	}
	for i, t := range p.targets {
		var found bpf.VivTarget
		if err := p.coll.Maps["targets"].Lookup(uint32(t.pid), &found); err != nil {
			return fmt.Errorf("mark process %d: %w", t.pid, err)
		}
		if found.Found == 0 {
			return fmt.Errorf("process %d: it has ended", t.pid)
		}
		s.Targets[i] = uint32(t.pid)
	}
	s.MainTID, s.ObserverPID = s.Targets[0], s.Targets[0]
	if p.cmd == nil {
		s.Processes = p.started()
	}
	return nil
}

// pass runs the iterator once over all tasks. It returns how many it marked
// and how many watched processes beside the targets are running.
func (p *Probe) pass() (seeded, alive uint32, err error) {
	marked, running := p.coll.Variables["seeded"], p.coll.Variables["alive"]
	it, err := link.AttachIter(link.IterOptions{Program: p.coll.Programs["seed_tasks"]})
	if err != nil {
		return 0, 0, fmt.Errorf("attach to iter/task: %w", err)
	}
	defer it.Close()
	if err := errors.Join(marked.Set(uint32(0)), running.Set(uint32(0))); err != nil {
		return 0, 0, fmt.Errorf("look through the tasks: %w", err)
	}
	r, err := it.Open()
	if err != nil {
		return 0, 0, fmt.Errorf("look through the tasks: %w", err)
	}
	defer r.Close()
	pids, err := io.ReadAll(r)
	if err != nil {
		return 0, 0, fmt.Errorf("look through the tasks: %w", err)
	}
	p.watched = p.watched[:0]
	for ; len(pids) >= 4; pids = pids[4:] {
		p.watched = append(p.watched, int(binary.NativeEndian.Uint32(pids)))
	}
	if err := errors.Join(marked.Get(&seeded), running.Get(&alive)); err != nil {
		return 0, 0, fmt.Errorf("look through the tasks: %w", err)
	}
	return seeded, alive, nil
}

// Result is how a recording ended.
type Result struct {
	Events, Lost uint64
	Unseen       uint64  // of Lost: what processes began to do past all hooks, once per process and way
	Missed       uint64  // of Lost: files and processes that could not be attached to
	Unattached   []error // why not, by cause
	BadMarkers   uint64  // paths beginning with viv:// that say nothing
	Status       int     // of the command; 0 with PIDs
}

// Record lets the command go and writes the stream to out until the targets
// have ended, the duration is over or ctx is done. When nobody reads out any
// more, or it cannot be written, the recording ends, but not the command: it
// runs on unwatched, and Record returns when it has ended, with the write's
// error. When the duration is over, it waits in the same way. It closes out as
// soon as the stream is over. With a command, the signals that viv-probe gets
// are the command's.
func (p *Probe) Record(ctx context.Context, out *os.File) (Result, error) {
	r := &recording{p: p, w: stream.NewWriter(out), out: out, threads: methodThreads{}}
	r.ev.TraceID = p.session.TraceID
	if p.opt.Spans.Observe {
		r.obs = &observed{map[uint32]int{}}
	}
	err := r.w.Session(&p.session)
	if p.cmd != nil {
		defer p.forwardSignals()()
		if err := p.cmd.release(); err != nil {
			return Result{}, err
		}
		p.released = true
	}
	if err == nil {
		err = r.run(ctx)
	}
	if p.files != nil {
		p.files.Close()
	}
	err = errors.Join(err, p.bpf.detachAll())
	if err == nil {
		err = r.end()
	}
	err = errors.Join(err, out.Close())
	res := Result{Events: r.events, Lost: r.lost, Unseen: r.unseen, Missed: r.missed, BadMarkers: r.badMarkers}
	if p.files != nil {
		for _, f := range p.files.Failures() {
			res.Unattached = append(res.Unattached, f)
		}
	}
	if p.cmd != nil {
		<-p.cmd.Done()
		var werr error
		res.Status, werr = p.cmd.Status()
		err = errors.Join(err, werr)
	}
	return res, err
}

// forwardSignals makes the signals that come in the command's.
func (p *Probe) forwardSignals() (stop func()) {
	c := make(chan os.Signal, 16)
	for _, s := range ForwardedSignals {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
	go func() {
		for s := range c {
			p.cmd.Forward(s)
		}
	}()
	return func() {
		signal.Stop(c)
		close(c)
	}
}

// running says whether any watched process of a command may be alive, and so
// start a Ruby that needs our files.
func (p *Probe) running() bool {
	if p.cmd == nil || p.coll == nil {
		return false
	}
	select {
	case <-p.cmd.Done():
	default:
		return p.released
	}
	_, alive, err := p.pass()
	return err != nil || alive > 0
}

// Close detaches and unloads everything. A command that still waits is ended;
// one that runs is left alone.
func (p *Probe) Close() error {
	var err error
	if p.ruby != nil && !p.running() {
		err = errors.Join(err, p.ruby.remove())
	}
	if p.files != nil {
		p.files.Close()
	}
	err = errors.Join(err, p.bpf.close())
	if p.reader != nil {
		err = errors.Join(err, p.reader.Close())
	}
	if p.coll != nil {
		p.coll.Close()
	}
	for _, t := range p.targets {
		err = errors.Join(err, unix.Close(t.pidfd))
	}
	if p.cmd != nil {
		p.cmd.said.Close()
		p.cmd.let.Close()
	}
	return err
}

// recording is the state of one Record.
type recording struct {
	p            *Probe
	w            *stream.Writer
	out          *os.File
	dec          decoder
	tls          tlsWrites
	ev           event.Event
	span         event.Event // of a method that no probe told of
	threads      methodThreads
	raw          ringbuf.Record
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
		if err := r.unattached(max(r.ev.KtimeNS, r.p.session.StartKtimeNS), false); err != nil {
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
		case r.p.opt.Duration > 0 && now.Sub(start) >= r.p.opt.Duration:
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
	r.p.reader.SetDeadline(time.Now().Add(drainEvery))
	for range 1 << 16 {
		err := r.p.reader.ReadInto(&r.raw)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return r.w.Flush()
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		lost, err := r.dec.decode(r.raw.RawSample, &r.ev)
		if err != nil {
			return fmt.Errorf("decode a record: %w", err)
		}
		if lost > 0 {
			if err := r.writeLost(r.ev.KtimeNS, lost, "ring buffer full"); err != nil {
				return err
			}
			r.tls.lost()
		}
		if r.dec.inner {
			if err := r.inner(); err != nil {
				return err
			}
			continue
		}
		if cause := r.dec.blind; cause != "" {
			r.unseen++
			if err := r.writeLost(r.ev.KtimeNS, 1, cause); err != nil {
				return err
			}
			continue
		}
		if r.dec.bad {
			r.badMarkers++
			continue
		}
		if r.p.sites != nil {
			if !r.p.sites.see(&r.dec, &r.ev) {
				continue
			}
			if seen, err := r.methods(); err != nil {
				return err
			} else if !seen {
				continue
			}
		}
		if r.dec.id == event.ProcExec && !r.p.opt.NoMask {
			mask.Args(r.ev.Fields[1].List)
		}
		switch r.dec.id {
		case event.SSLWrite:
			r.tls.written(&r.ev, r.dec.data, r.p.opt)
		case event.ProcFork:
			r.tls.forget(uint32(r.ev.Fields[0].Num), r.ev.PID)
		}
		if err := r.record(r.dec.id, &r.ev); err != nil {
			return err
		}
	}
	return r.w.Flush()
}

// record writes an event, if it is to be recorded.
func (r *recording) record(id event.ID, ev *event.Event) error {
	seen := r.p.opt.Events[id]
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
			ev.Fields[0], ev.Fields[1] = event.Value{}, event.Value{}
		}
	}
	r.events++
	return r.w.Event(ev)
}

// poll says whether all targets have ended, and returns EPIPE when nobody
// reads the stream any more, which a write would show only at the next event.
func (r *recording) poll() (gone bool, err error) {
	fds := append(r.fds[:0], unix.PollFd{Fd: int32(r.out.Fd())})
	for _, t := range r.p.targets {
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
	if err := r.p.coll.Maps["counts"].Lookup(uint32(0), &counts); err != nil {
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
	_, alive, err := r.p.pass()
	if err != nil {
		return err
	}
	e.Events, e.Lost, e.Alive = r.events, r.lost, uint64(alive)
	if c := r.p.cmd; c != nil && r.reason == "exited" {
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
