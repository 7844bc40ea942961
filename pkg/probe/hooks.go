package probe

import (
	"slices"
	"strings"

	"vivarium/pkg/event"
)

// backend says on which of the two backends of an event a hook is used: with
// BPF LSM the kernel's own objects are seen, without it the system calls'
// arguments are.
type backend uint8

const (
	both backend = iota
	lsm
	lsmLater // as lsm, of a hook that later kernels have; in others one of lsm stands for it
	floor
)

// hook is one BPF program for one event, with the place where it is attached
// (btf:NAME of a tracepoint with typed arguments, lsm:NAME), or the
// system calls for whose entry or exit it runs.
type hook struct {
	event   event.ID
	backend backend
	program string
	place   string
	calls   []call
}

// The two places that serve all system calls.
const (
	sysEnter = "btf:sys_enter"
	sysExit  = "btf:sys_exit"
)

// hooks is every program but the iterator that marks existing tasks. An event
// one of whose hooks does not load or attach is missing.
var hooks = slices.Concat(
	[]hook{
		{event.PathOpen, both, "open_exit", sysExit, opens},
		{event.PathOpen, lsm, "lsm_file_open", "lsm:file_open", nil},
		{event.MmapExec, both, "mmap_exit", sysExit, mappings},
		{event.MmapExec, lsm, "lsm_mmap_file", "lsm:mmap_file", nil},
		{event.SockConnect, both, "connect_exit", sysExit, connects},
		{event.SockConnect, both, "send_exit", sysExit, sends}, // MSG_FASTOPEN
		{event.SockConnect, lsm, "lsm_socket_connect", "lsm:socket_connect", nil},
		{event.SockConnect, floor, "connect_enter", sysEnter, connects},
		{event.SockOutcome, both, "inet_sock_set_state", "btf:inet_sock_set_state", nil},
		{event.SockOutcome, both, "connect_exit", sysExit, connects},
		{event.SockOutcome, both, "send_exit", sysExit, sends}, // MSG_FASTOPEN
		{event.OddSocket, both, "socket_exit", sysExit, sockets},
		{event.OddSocket, lsm, "lsm_socket_create", "lsm:socket_create", nil},
		{event.DNSReq, both, "send_exit", sysExit, slices.Concat(sends, writes)},
		{event.DNSReq, lsm, "lsm_socket_sendmsg", "lsm:socket_sendmsg", nil},
		{event.DNSReq, floor, "send_enter", sysEnter, slices.Concat(sends, writes)},
		{event.ProcFork, both, "sched_process_fork", "btf:sched_process_fork", nil},
		{event.ProcExec, both, "sched_process_exec", "btf:sched_process_exec", nil},
		{event.ProcExec, both, "exec_exit", sysExit, execs},
		{event.ProcExit, both, "sched_process_exit", "btf:sched_process_exit", nil},
		{event.PtraceCheck, both, "ptrace_exit", sysExit, ptraces},
		{event.PtraceCheck, lsm, "lsm_ptrace_access_check", "lsm:ptrace_access_check", nil},
	},
	named(event.SbMount, mounts, "sb_mount", "move_mount"),
	[]hook{
		{event.KernelReadFile, both, "read_file_exit", sysExit, readFiles},
		{event.KernelReadFile, lsm, "lsm_kernel_read_file", "lsm:kernel_read_file", nil},
		{event.TaskKill, both, "kill_exit", sysExit, kills},
		{event.TaskKill, both, "signal_generate", "btf:signal_generate", nil},
		{event.TaskKill, lsm, "lsm_task_kill", "lsm:task_kill", nil},
		{event.SetidChange, both, "setid_exit", sysExit, setids},
		{event.SetidChange, lsm, "lsm_task_fix_setuid", "lsm:task_fix_setuid", nil},
		{event.SetidChange, lsm, "lsm_task_fix_setgid", "lsm:task_fix_setgid", nil},
		{event.SetidChange, floor, "setid_enter", sysEnter, setids},
		{event.CapableCheck, lsm, "lsm_capable", "lsm:capable", nil},
		{event.CapableCheck, floor, "cap_capable", "btf:cap_capable", nil},
		{event.BprmCreds, both, "exec_exit", sysExit, execs},
		{event.BprmCreds, lsm, "lsm_bprm_creds_from_file", "lsm:bprm_creds_from_file", nil},
		{event.BprmCreds, floor, "sched_process_exec", "btf:sched_process_exec", nil},
	},
	named(event.FileSymlink, symlinks, "path_symlink"),
	named(event.FileHardlink, links, "path_link"),
	named(event.FileRename, renames, "path_rename"),
	named(event.FileUnlink, unlinks, "path_unlink", "path_rmdir"),
	named(event.FileChmod, chmods, "path_chmod"),
	named(event.FileTruncate, truncates, "path_truncate", "later:file_truncate"),
	[]hook{
		{event.FileGetdents, both, "getdents_exit", sysExit, listings},
	},
)

// named are the hooks of an event of calls that name files (bpf/hooks/names.h),
// and of the LSM hooks that these come to.
func named(id event.ID, calls []call, lsmHooks ...string) []hook {
	rows := []hook{{id, both, "names_exit", sysExit, calls}, {id, floor, "names_enter", sysEnter, calls}}
	for _, name := range lsmHooks {
		use := lsm
		if later, ok := strings.CutPrefix(name, "later:"); ok {
			use, name = lsmLater, later
		}
		rows = append(rows, hook{id, use, "lsm_" + name, "lsm:" + name, nil})
	}
	return rows
}

// always is what every probe needs, whichever events it records: tasks are
// followed by their forks and exits, and what is not seen is said.
var always = []hook{
	{event.ProcFork, both, "sched_process_fork", "btf:sched_process_fork", nil},
	{event.ProcExit, both, "sched_process_exit", "btf:sched_process_exit", nil},
	{event.NumKinds, both, "sys_exit", sysExit, nil},
	{event.NumKinds, both, "io_uring_exit", sysExit, uringing},
	{event.NumKinds, both, "signal_deliver", "btf:signal_deliver", nil},
}

// spanHooks are those of providers of spans.
var spanHooks = []hook{{event.SpanStart, both, "marker_exit", sysExit, markerCalls}}

// mapped is what says that a process can have mapped another file.
var mapped = []hook{
	{event.NumKinds, both, "sched_process_exec", "btf:sched_process_exec", nil},
	{event.NumKinds, both, "mmap_exit", sysExit, mappings[:1]},
}

// Recordable lists the events that this probe has a hook, a span provider or functions of libraries for.
func Recordable() []event.ID {
	var have [event.NumKinds]bool
	for _, h := range hooks {
		have[h.event] = true
	}
	for _, id := range spanEvents {
		have[id] = true
	}
	for _, id := range libraryEvents {
		have[id] = true
	}
	var ids []event.ID
	for id, ok := range have {
		if ok {
			ids = append(ids, event.ID(id))
		}
	}
	return ids
}
