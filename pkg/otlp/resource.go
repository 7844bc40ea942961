package otlp

import (
	"iter"
	"slices"
	"sort"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// schemaURL names the semantic conventions whose attributes are used.
const schemaURL = "https://opentelemetry.io/schemas/1.43.0"

// resource is an encoded OTLP Resource.
type resource struct{ encoded []byte }

// process is the state of a watched process. An exec replaces it by a new one.
type process struct {
	pid    uint32
	parent uint32 // process id; 0: unknown
	path   string
	args   []string
	spans  int // open spans of its threads and methods
	res    *resource
}

const (
	maxProcesses = 65536
	maxArgs      = 4096 // bytes of arguments that are kept for a process
)

// processes holds the processes of a session and their resources.
type processes struct {
	base *resource // of spans and events without a process
	all  map[uint32]*process
}

func newProcesses(s *stream.Session, extra map[string]string) processes {
	attrs := map[string]string{"service.name": "vivarium"}
	set := func(key, value string) {
		if value != "" {
			attrs[key] = value
		}
	}
	set("host.name", s.Host.Name)
	set("host.arch", arch(s.Host.Arch))
	if s.Host != (stream.Host{}) {
		set("os.type", "linux")
	}
	set("os.description", s.Host.OS)
	set("os.version", s.Host.Kernel)
	for k, v := range extra {
		attrs[valid(k)] = v
	}
	keys := make([]string, 0, len(attrs))
	for k := range attrs {
		if k != "service.name" {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	b := attrText(nil, 1, "service.name", attrs["service.name"])
	for _, k := range keys {
		b = attrText(b, 1, k, attrs[k])
	}
	ps := processes{&resource{b}, map[uint32]*process{}}
	for _, p := range s.Processes {
		if len(ps.all) < maxProcesses {
			ps.all[p.PID] = &process{pid: p.PID, path: cut(p.Path, maxArgs), args: keepArgs(slices.Values(p.Argv))}
		}
	}
	return ps
}

// keepArgs copies arguments, up to maxArgs bytes.
func keepArgs[T string | []byte](argv iter.Seq[T]) (args []string) {
	room := maxArgs
	for a := range argv {
		args = append(args, cut(a, room))
		if room -= len(a); room <= 0 {
			break
		}
	}
	return args
}

// arch returns the name in the semantic conventions for a machine name of uname.
func arch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return machine
}

// resource returns the resource of process pid.
func (ps *processes) resource(pid uint32) *resource {
	p := ps.all[pid]
	if p == nil {
		return ps.base
	}
	if p.res == nil {
		b := append([]byte(nil), ps.base.encoded...)
		b = attrInt(b, 1, "process.pid", int64(p.pid))
		if p.parent != 0 {
			b = attrInt(b, 1, "process.parent_pid", int64(p.parent))
		}
		if p.path != "" {
			b = attrText(b, 1, "process.executable.path", p.path)
		}
		if len(p.args) > 0 {
			b = attrList(b, 1, "process.command_args", slices.Values(p.args))
		}
		p.res = &resource{b}
	}
	return p.res
}

// spanOpened and spanClosed count the open spans of a process, which is removed with
// the last one.
func (ps *processes) spanOpened(pid uint32) {
	p := ps.all[pid]
	if p == nil {
		if len(ps.all) >= maxProcesses {
			return
		}
		p = &process{pid: pid}
		ps.all[pid] = p
	}
	p.spans++
}

func (ps *processes) spanClosed(pid uint32) {
	if p := ps.all[pid]; p != nil {
		if p.spans--; p.spans <= 0 {
			delete(ps.all, pid)
		}
	}
}

// forked adds a child process, which runs the same program as its parent.
func (ps *processes) forked(ev *event.Event) {
	child, tid := uint32(ev.Fields[event.ProcForkChildPID].Num), uint32(ev.Fields[event.ProcForkChildTID].Num)
	if len(ev.Error) > 0 || child == 0 || child == ev.PID || tid != 0 && tid != child || len(ps.all) >= maxProcesses {
		return
	}
	c := &process{pid: child, parent: ev.PID}
	if old := ps.all[child]; old != nil {
		if old.parent != 0 {
			return
		}
		c.spans = old.spans // its first event came before its fork
	}
	if p := ps.all[ev.PID]; p != nil {
		c.path, c.args = p.path, p.args
	}
	ps.all[child] = c
}

// executed sets the program of a process after an exec.
func (ps *processes) executed(ev *event.Event) {
	old := ps.all[ev.PID]
	if old == nil || len(ev.Error) > 0 {
		return
	}
	p := &process{pid: old.pid, parent: old.parent, spans: old.spans}
	p.path = cut(ev.Fields[event.ProcExecPath].Text, maxArgs)
	p.args = keepArgs(slices.Values(ev.Fields[event.ProcExecArgv].List))
	ps.all[ev.PID] = p
}
