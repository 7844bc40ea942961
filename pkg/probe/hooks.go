package probe

import (
	"fmt"
	"strings"

	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// hook is one BPF program and the event that it is for.
type hook struct {
	program string
	// at is where it is attached, the hook's name in a session record:
	// group/name of a tracepoint, or btf:NAME.
	at     string
	events []event.ID
	always bool // it also follows tasks
}

func syscallExit(name string, id event.ID) hook {
	return hook{"sys_exit_" + name, "syscalls/sys_exit_" + name, []event.ID{id}, false}
}

// hooks is every program but the iterator that marks existing tasks.
var hooks = []hook{
	{"sched_process_fork", "btf:sched_process_fork", []event.ID{event.ProcFork}, true},
	{"sched_process_exec", "btf:sched_process_exec", []event.ID{event.ProcExec}, true},
	{"sched_process_exit", "btf:sched_process_exit", []event.ID{event.ProcExit}, true},
	syscallExit("execve", event.ProcExec),
	syscallExit("execveat", event.ProcExec),
	syscallExit("open", event.PathOpen),
	syscallExit("creat", event.PathOpen),
	syscallExit("openat", event.PathOpen),
	syscallExit("openat2", event.PathOpen),
	syscallExit("connect", event.SockConnect),
	syscallExit("socket", event.OddSocket),
	syscallExit("sendto", event.DNSReq),
	syscallExit("sendmsg", event.DNSReq),
	syscallExit("sendmmsg", event.DNSReq),
	syscallExit("write", event.DNSReq),
}

// wanted says whether one of the hook's events was chosen.
func (h hook) wanted(chosen map[event.ID]bool) bool {
	if h.always {
		return true
	}
	for _, id := range h.events {
		if chosen[id] {
			return true
		}
	}
	return false
}

func (h hook) attach(prog *ebpf.Program) (link.Link, error) {
	var l link.Link
	var err error
	if group, name, ok := strings.Cut(h.at, "/"); ok {
		l, err = link.Tracepoint(group, name, prog, nil)
	} else {
		l, err = link.AttachTracing(link.TracingOptions{Program: prog})
	}
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", h.at, err)
	}
	return l, nil
}

// Recordable lists the events that this probe has a hook for.
func Recordable() []event.ID {
	have := map[event.ID]bool{}
	for _, h := range hooks {
		for _, id := range h.events {
			have[id] = true
		}
	}
	var ids []event.ID
	for id := range event.NumKinds {
		if have[id] {
			ids = append(ids, id)
		}
	}
	return ids
}
