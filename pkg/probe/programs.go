package probe

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Hooks chooses the backend.
type Hooks string

// The choices of a backend. HooksAuto takes, event by event, the LSM hooks where
// they load and attach and the system calls where not.
const (
	HooksAuto       Hooks = "auto"
	HooksLSM        Hooks = "lsm"
	HooksTracepoint Hooks = "tracepoint"
)

// attachment is what New has loaded and attached.
type attachment struct {
	maps     map[string]*ebpf.Map
	spec     *ebpf.CollectionSpec
	programs map[string]*ebpf.Program
	links    map[string]link.Link // by program
	noLSM    error                // not nil: no LSM program can be loaded
}

// load loads programs that are not loaded yet, all or none. Together is faster
// than one by one: what a load has found out about the kernel's types is kept
// for the others.
func (a *attachment) load(names ...string) error {
	spec := a.spec.Copy()
	for name := range spec.Programs {
		if !slices.Contains(names, name) || a.programs[name] != nil {
			delete(spec.Programs, name)
		}
	}
	if len(spec.Programs) == 0 {
		return nil
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: a.maps})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer coll.Close()
	for name := range spec.Programs {
		a.programs[name] = coll.DetachProgram(name)
	}
	return nil
}

// prepare loads what the chosen events need at the best. A program that this
// kernel refuses is no error here: it takes the others with it, and each is
// tried alone when it is attached.
func (a *attachment) prepare(chosen map[event.ID]bool, choice Hooks) {
	var common, lsms []string
	for _, h := range append(slices.Clone(always), hooks...) {
		switch {
		case h.event != event.NumKinds && !chosen[h.event]:
		case h.backend == both:
			common = append(common, h.program)
		case h.backend == lsm && choice != HooksTracepoint:
			lsms = append(lsms, h.program)
		}
	}
	_ = a.load(append(common, "sys_exit")...)
	if len(lsms) > 0 {
		if a.noLSM = a.tryLSM(); a.noLSM == nil {
			_ = a.load(lsms...)
		}
	}
}

// tryLSM says why no LSM program can be used, or nil. Where BPF is not among the
// active security modules they load and attach, and are never asked.
func (a *attachment) tryLSM() error {
	const name = "lsm_try"
	spec := a.spec.Copy()
	for program := range spec.Programs {
		if program != name {
			delete(spec.Programs, program)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: a.maps})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer coll.Close()
	l, err := link.AttachLSM(link.LSMOptions{Program: coll.Programs[name]})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer l.Close()
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	f.Close()
	var asked bool
	if err := coll.Variables["lsm_asked"].Get(&asked); err != nil {
		return fmt.Errorf("read lsm_asked: %w", err)
	}
	if !asked {
		return errors.New("bpf is not among the active security modules (lsm= on the kernel's command line)")
	}
	return nil
}

// refusal is why a hook cannot be had.
type refusal struct {
	hook hook
	err  error
}

func (r *refusal) Error() string {
	kind, name, _ := strings.Cut(r.hook.place, ":")
	switch {
	case kind == "lsm" && errors.Is(r.err, unix.EPERM):
		return "the kernel refuses BPF LSM programs"
	case kind == "lsm" && errors.Is(r.err, ebpf.ErrNotSupported):
		return "the kernel has no BPF LSM hook " + name
	case kind == "btf" && errors.Is(r.err, ebpf.ErrNotSupported):
		return "the kernel has no tracepoint " + name
	}
	return fmt.Sprintf("%s: %v", r.hook.place, r.err)
}

func (r *refusal) Unwrap() error { return r.err }

// attach attaches a hook.
func (a *attachment) attach(h hook) error {
	if h.backend == lsm && a.noLSM != nil {
		return a.noLSM
	}
	if err := a.load(h.program); err != nil {
		return err
	}
	if h.calls == nil {
		return a.link(h.program, h.place)
	}
	at, table := "sys_exit", "exits"
	if h.place == sysEnter {
		at, table = "sys_enter", "entries"
	}
	for _, c := range h.calls {
		if err := a.maps[table].Put(c.nr, a.programs[h.program]); err != nil {
			return fmt.Errorf("attach to %s of %s: %w", at, c.name, err)
		}
	}
	return a.link(at, h.place)
}

// link attaches a program at a place, once.
func (a *attachment) link(program, place string) error {
	if a.links[program] != nil {
		return nil
	}
	if err := a.load(program); err != nil {
		return err
	}
	prog := a.programs[program]
	var l link.Link
	var err error
	if strings.HasPrefix(place, "lsm:") {
		l, err = link.AttachLSM(link.LSMOptions{Program: prog})
	} else {
		l, err = link.AttachTracing(link.TracingOptions{Program: prog})
	}
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	a.links[program] = l
	return nil
}

// detach takes back the attachment of a hook that has a program of its own.
func (a *attachment) detach(h hook) error {
	l := a.links[h.program]
	if l == nil {
		return nil
	}
	delete(a.links, h.program)
	return l.Close()
}

// attachEvent attaches the hooks of one event on the best backend that there
// is, and returns where it comes from. Without LSM, noLSM says why.
func (a *attachment) attachEvent(id event.ID, choice Hooks) (at []string, noLSM, err error) {
	use := floor
	if choice != HooksTracepoint {
		if noLSM = a.attachAll(id, lsm); noLSM == nil {
			use = lsm
			if err := a.attachAll(id, lsmLater); err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
				return nil, noLSM, err
			}
		} else if choice == HooksLSM {
			return nil, noLSM, noLSM
		}
	}
	if err := errors.Join(a.attachAll(id, both), a.attachAll(id, use)); err != nil {
		return nil, noLSM, err
	}
	for _, h := range hooks {
		used := h.backend == both || h.backend == use || h.backend == lsmLater && a.links[h.program] != nil
		if h.event == id && used && !slices.Contains(at, h.place) {
			at = append(at, h.place)
		}
	}
	return at, noLSM, nil
}

// attachAll attaches an event's hooks of one kind, or none of them.
func (a *attachment) attachAll(id event.ID, of backend) error {
	var err error
	for _, h := range hooks {
		if h.event != id || h.backend != of {
			continue
		}
		if err = a.attach(h); err != nil {
			err = &refusal{h, err}
			break
		}
	}
	if err == nil || of != lsm {
		return err
	}
	for _, h := range hooks {
		if h.event == id && h.backend == lsm {
			err = errors.Join(err, a.detach(h))
		}
	}
	return err
}

// detachMost is how long taking back all hooks may take; a test does not want to
// wait that long.
var detachMost = 10 * time.Second

// errUndetached is why hooks are left to the kernel. What somebody else's programs
// do can hold it up.
var errUndetached = errors.New("hooks could not be taken back in time: the kernel does it when viv-probe has ended")

// detachAll takes back all hooks, but does not wait for ever.
func (a *attachment) detachAll() error {
	closers := make([]io.Closer, 0, len(a.links))
	for _, l := range a.links {
		closers = append(closers, l)
	}
	clear(a.links)
	return closeAll(closers)
}

func closeAll(closers []io.Closer) error {
	done := make(chan error, 1)
	go func() {
		var err error
		for _, c := range closers {
			err = errors.Join(err, c.Close())
		}
		done <- err
	}()
	timer := time.NewTimer(detachMost)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errUndetached
	}
}

func (a *attachment) close() error {
	err := a.detachAll()
	for _, p := range a.programs {
		err = errors.Join(err, p.Close())
	}
	return err
}
