package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/probe/ring"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// load makes the maps, with what the programs must know set, and loads the
// iterator; what the chosen events need is loaded as it is attached.
func (p *Probe) load() error {
	spec, err := bpf.LoadViv()
	if err != nil {
		return fmt.Errorf("read the BPF programs: %w", err)
	}
	chosen := p.opt.Events
	level, namespace, root, err := ownNamespace(spec)
	if err != nil {
		return err
	}
	values := map[string]any{
		"own_level":     level,
		"own_namespace": namespace,
		"own_root":      root,
		"follow":        !p.opt.NoFollow,
		"failed_opens":  p.opt.FailedOpens,
		"emit_exec":     chosen[event.ProcExec],
		"emit_connect":  chosen[event.SockConnect],
		"emit_dns":      chosen[event.DNSReq],
		"emit_mmap":     chosen[event.MmapExec],
		"wakeup_bytes":  uint64(p.opt.BufferSize / 4),
	}
	values["watch_libraries"] = p.watchesLibraries() || p.opt.Spans.inFiles()
	for name, v := range values {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	spec.Maps["calls"].Contents = callTable()
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
	p.tasks = newMarker(p.coll)
	p.noLSM = map[string]error{}
	p.bpf = attachment{maps: p.coll.Maps, spec: spec, programs: map[string]*ebpf.Program{}, links: map[string]link.Link{}}
	p.reader, err = ring.New(p.coll.Maps["events"])
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	return nil
}

// ownNamespace is the depth of viv-probe's pid namespace, as the ids in all
// events have it, its inode, and the address of viv-probe's root directory.
func ownNamespace(spec *ebpf.CollectionSpec) (level, inode uint32, root uint64, err error) {
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
		return 0, 0, 0, fmt.Errorf("load the BPF programs: %w", err)
	}
	defer coll.Close()
	if _, err := coll.Programs["find_level"].Run(&ebpf.RunOptions{}); err != nil {
		return 0, 0, 0, fmt.Errorf("find the own pid namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0, 0, 0, fmt.Errorf("find the own pid namespace: /proc/self/ns/pid: %w", err)
	}
	if err := coll.Variables["found_level"].Get(&level); err != nil {
		return 0, 0, 0, fmt.Errorf("find the own pid namespace: %w", err)
	}
	if err := coll.Variables["found_root"].Get(&root); err != nil {
		return 0, 0, 0, fmt.Errorf("find the own root directory: %w", err)
	}
	return level, uint32(st.Ino), root, nil
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
	for _, t := range p.targets {
		if isFiltered(t.pid) {
			if err := p.watchEntries(); err != nil {
				return err
			}
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
			var missing *PrivilegeError
			if errors.As(explain(err), &missing) {
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

// watchEntries has the programs see that the kernel does a call, and not a
// seccomp filter or a tracer in its place.
func (p *Probe) watchEntries() error {
	if err := p.bpf.link("sys_enter", sysEnter); err != nil {
		return fmt.Errorf("%s: %w", sysEnter, err)
	}
	return nil
}
