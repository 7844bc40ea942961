package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"vivarium/bpf"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// target is a process that is watched because the user said so.
type target struct {
	pid   int
	pidfd int
}

// openTargets finds processes. With an error it returns those that it found.
func openTargets(pids []int) (targets []target, err error) {
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			return targets, fmt.Errorf("process %d: no such process", pid)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // before Linux 6.16, and since
			return targets, fmt.Errorf("process %d: it is a thread, name its process", pid)
		}
		if err != nil {
			return targets, fmt.Errorf("process %d: %w", pid, err)
		}
		targets = append(targets, target{pid, fd})
	}
	return targets, nil
}

// marker marks tasks as watched, with the iterator of the BPF programs.
type marker struct {
	iterator      *ebpf.Program
	targets       *ebpf.Map
	seeded, alive *ebpf.Variable
}

func newMarker(c *ebpf.Collection) *marker {
	return &marker{c.Programs["seed_tasks"], c.Maps["targets"], c.Variables["seeded"], c.Variables["alive"]}
}

// mark marks the targets' tasks and their descendants, and returns the processes
// that are watched then. It goes over all tasks until a pass finds nobody new:
// the fork hook is attached, so whoever is made meanwhile is marked by its
// parent, or is found by the next pass. leaderOnly: the targets' other threads
// are not theirs.
func (m *marker) mark(targets []target, leaderOnly bool) (watched []int, err error) {
	for _, t := range targets {
		v := bpf.VivTarget{}
		if leaderOnly {
			v.LeaderOnly = 1
		}
		if err := m.targets.Put(uint32(t.pid), v); err != nil {
			return nil, fmt.Errorf("mark process %d: %w", t.pid, err)
		}
	}
	for {
		seeded, _, pids, err := m.pass()
		if err != nil {
			return nil, err
		}
		if seeded == 0 {
			watched = pids
			break
		}
	}
	for _, t := range targets {
		var found bpf.VivTarget
		if err := m.targets.Lookup(uint32(t.pid), &found); err != nil {
			return nil, fmt.Errorf("mark process %d: %w", t.pid, err)
		}
		if found.Found == 0 {
			return nil, fmt.Errorf("process %d: it has ended", t.pid)
		}
	}
	return watched, nil
}

// pass runs the iterator once over all tasks. It returns how many it marked,
// how many watched processes beside the targets are running, and the ids of all
// that are watched.
func (m *marker) pass() (seeded, alive uint32, watched []int, err error) {
	fail := func(err error) (uint32, uint32, []int, error) {
		return 0, 0, nil, fmt.Errorf("look through the tasks: %w", err)
	}
	it, err := link.AttachIter(link.IterOptions{Program: m.iterator})
	if err != nil {
		return 0, 0, nil, fmt.Errorf("attach to iter/task: %w", err)
	}
	defer it.Close()
	if err := errors.Join(m.seeded.Set(uint32(0)), m.alive.Set(uint32(0))); err != nil {
		return fail(err)
	}
	r, err := it.Open()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	pids, err := io.ReadAll(r)
	if err != nil {
		return fail(err)
	}
	for ; len(pids) >= 4; pids = pids[4:] {
		watched = append(watched, int(binary.NativeEndian.Uint32(pids)))
	}
	if err := errors.Join(m.seeded.Get(&seeded), m.alive.Get(&alive)); err != nil {
		return fail(err)
	}
	return seeded, alive, watched, nil
}
