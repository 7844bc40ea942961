// Package probe watches processes: it loads viv's BPF programs, marks the
// targets, and turns what the programs send into the events of a stream.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"
	"vivarium/pkg/probe/launch"
	"vivarium/pkg/probe/ring"
	"vivarium/pkg/probe/spans"
	"vivarium/pkg/stream"

	"github.com/cilium/ebpf"
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

// Probe is a loaded and attached set of programs with its targets.
type Probe struct {
	opt      Options
	coll     *ebpf.Collection // the maps and the iterator
	bpf      attachment
	tasks    *marker
	prepared []func() error // what the providers of spans left behind for the command
	sites    *spans.Table   // nil: no probes in files are wanted
	reader   *ring.Reader
	files    *attach.Attacher // nil: nothing is wanted in files
	session  stream.Session
	noLSM    map[string]error // by event: why it does not come from the LSM hook that it has
	targets  []target
	watched  []int           // the processes that are watched from the start
	cmd      *launch.Command // nil with PIDs
	released bool            // the command has been let go
}

// New starts the command or finds the processes, loads the programs and
// attaches them. The command waits until Record. The caller closes the Probe.
func New(opt Options) (_ *Probe, err error) {
	opt.Events = maps.Clone(opt.Events) // what cannot be seen is taken out
	p := &Probe{opt: opt}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if len(opt.Command) > 0 {
		env, err := p.prepareSpans(os.Environ())
		if err != nil {
			return nil, err
		}
		if p.cmd, err = launch.Start(opt.Command, opt.User, opt.CommandStdout, env); err != nil {
			return nil, err
		}
		opt.PIDs = []int{p.cmd.PID()}
	}
	if p.targets, err = openTargets(opt.PIDs); err != nil {
		return nil, err
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

// seed marks the targets and what they have made, and completes the session:
// from here on events are recorded.
func (p *Probe) seed() (err error) {
	s := &p.session
	s.StartUnixNS, s.StartKtimeNS = clocks()
	if p.watched, err = p.tasks.mark(p.targets, p.cmd != nil); err != nil {
		return err
	}
	for i, t := range p.targets {
		s.Targets[i] = uint32(t.pid)
	}
	s.MainTID, s.ObserverPID = s.Targets[0], s.Targets[0]
	if p.cmd == nil {
		s.Processes = p.started()
	}
	return nil
}

// Result is how a recording ended.
type Result struct {
	Events, Lost uint64
	Unseen       uint64  // of Lost: what processes began to do past all hooks, once per process and way
	Missed       uint64  // of Lost: files and processes that could not be attached to
	Unattached   []error // why not, by cause
	Withheld     uint64  // of Lost: what did not come until the end
	BadMarkers   uint64  // paths beginning with viv:// that say nothing
	Unfound      error   // which of the listed methods were not found; nil: none
	Status       int     // of the command; 0 with PIDs, and while it runs on
	RunsOn       int     // process id of a command that runs on, unwatched, after the duration; 0: none

	// Outlived is how many watched processes went on when the targets had ended,
	// and Survivors names some of them.
	Outlived  int
	Survivors []Survivor
}

// Survivor is a process that goes on unwatched.
type Survivor struct {
	PID  int
	Name string // its main thread's; empty: it has just ended
}

// Record lets the command go and writes the stream to out until the targets
// have ended, the duration is over or ctx is done. When nobody reads out any
// more, or it cannot be written, the recording ends, but not the command: it
// runs on unwatched, and Record returns when it has ended, with the write's
// error. When the duration is over, Record does not wait: the command runs on
// unwatched. It closes out as soon as the stream is over. With a command, the
// signals that viv-probe gets are the command's.
func (p *Probe) Record(ctx context.Context, out *os.File) (Result, error) {
	r := p.newRecording(out)
	err := r.w.Session(&p.session)
	if p.cmd != nil {
		defer p.cmd.ForwardSignals()()
		if err := p.cmd.Release(); err != nil {
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
	detached := p.bpf.detachAll()
	if errors.Is(detached, errUndetached) { // the recording has an end all the same
		r.undetached, detached = detached, nil
	}
	err = errors.Join(err, detached)
	if err == nil {
		err = r.end()
	}
	err = errors.Join(err, out.Close())
	res := Result{Events: r.events, Lost: r.lost, Unseen: r.unseen, Missed: r.missed, Withheld: r.withheld, BadMarkers: r.badMarkers,
		Outlived: r.outlived, Survivors: r.survivors}
	if p.files != nil {
		for _, f := range p.files.Failures() {
			res.Unattached = append(res.Unattached, f)
		}
	}
	if r.undetached != nil {
		res.Unattached = append(res.Unattached, r.undetached)
	}
	if r.lost == 0 { // else a report of a method can be lost, too
		res.Unfound = r.unfound()
	}
	if p.cmd == nil {
		return res, err
	}
	if r.reason == "duration" {
		select {
		case <-p.cmd.Done():
		default:
			res.RunsOn = p.cmd.PID()
			return res, err
		}
	}
	<-p.cmd.Done()
	var werr error
	res.Status, werr = p.cmd.Status()
	return res, errors.Join(err, werr)
}

// newRecording is what Record does, with what it needs of the probe.
func (p *Probe) newRecording(out *os.File) *recording {
	r := &recording{
		opt: &p.opt, ring: p.reader, counts: p.coll.Maps["counts"], late: p.coll.Variables["late_waiting"], tasks: p.tasks, targets: p.targets, cmd: p.cmd,
		sites: p.sites, decided: p.coll.Maps["methods"], files: p.files, start: p.session.StartKtimeNS,
		w: stream.NewWriter(out), out: out, threads: methodThreads{},
	}
	r.watchEntries = p.watchEntries
	if p.opt.Spans.report() {
		r.found = spans.NewFound(p.opt.Spans.Allow)
	}
	r.m.Event.TraceID = p.session.TraceID
	if name := p.opt.Spans.within(); name != "" {
		r.obs = &observed{name, map[uint32]int{}}
	}
	return r
}

// running says whether any watched process of a command may be alive, and so
// need what was prepared for it.
func (p *Probe) running() bool {
	if p.cmd == nil || p.coll == nil {
		return false
	}
	select {
	case <-p.cmd.Done():
	default:
		return p.released
	}
	_, alive, _, err := p.tasks.pass()
	return err != nil || alive > 0
}

// Close detaches and unloads everything. A command that still waits is ended;
// one that runs is left alone.
func (p *Probe) Close() error {
	err := p.unprepare()
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
		p.cmd.Close()
	}
	return err
}
