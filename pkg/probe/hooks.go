package probe

import (
	"slices"

	"vivarium/pkg/event"
)

// backend says on which of the two backends of an event a hook is used: with
// BPF LSM the kernel's own objects are seen, without it the system calls'
// arguments are.
type backend uint8

const (
	both backend = iota
	lsm
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
var hooks = []hook{
	{event.PathOpen, both, "open_exit", sysExit, opens},
	{event.PathOpen, lsm, "lsm_file_open", "lsm:file_open", nil},
	{event.MmapExec, both, "mmap_exit", sysExit, mappings},
	{event.MmapExec, lsm, "lsm_mmap_file", "lsm:mmap_file", nil},
	{event.SockConnect, both, "connect_exit", sysExit, connects},
	{event.SockConnect, both, "send_exit", sysExit, sends}, // MSG_FASTOPEN
	{event.SockConnect, lsm, "lsm_socket_connect", "lsm:socket_connect", nil},
	{event.OddSocket, both, "socket_exit", sysExit, sockets},
	{event.OddSocket, lsm, "lsm_socket_create", "lsm:socket_create", nil},
	{event.DNSReq, both, "send_exit", sysExit, slices.Concat(sends, writes)},
	{event.ProcFork, both, "sched_process_fork", "btf:sched_process_fork", nil},
	{event.ProcExec, both, "sched_process_exec", "btf:sched_process_exec", nil},
	{event.ProcExec, both, "exec_exit", sysExit, execs},
	{event.ProcExit, both, "sched_process_exit", "btf:sched_process_exit", nil},
	{event.PtraceCheck, both, "ptrace_exit", sysExit, ptraces},
	{event.PtraceCheck, lsm, "lsm_ptrace_access_check", "lsm:ptrace_access_check", nil},
	{event.SbMount, both, "names_exit", sysExit, mounts},
	{event.SbMount, lsm, "lsm_sb_mount", "lsm:sb_mount", nil},
	{event.SbMount, lsm, "lsm_move_mount", "lsm:move_mount", nil},
	{event.SbMount, floor, "names_enter", sysEnter, mounts},
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
	{event.FileSymlink, both, "names_exit", sysExit, symlinks},
	{event.FileSymlink, lsm, "lsm_path_symlink", "lsm:path_symlink", nil},
	{event.FileSymlink, floor, "names_enter", sysEnter, symlinks},
	{event.FileHardlink, both, "names_exit", sysExit, links},
	{event.FileHardlink, lsm, "lsm_path_link", "lsm:path_link", nil},
	{event.FileHardlink, floor, "names_enter", sysEnter, links},
	{event.FileRename, both, "names_exit", sysExit, renames},
	{event.FileRename, lsm, "lsm_path_rename", "lsm:path_rename", nil},
	{event.FileRename, floor, "names_enter", sysEnter, renames},
	{event.FileUnlink, both, "names_exit", sysExit, unlinks},
	{event.FileUnlink, lsm, "lsm_path_unlink", "lsm:path_unlink", nil},
	{event.FileUnlink, lsm, "lsm_path_rmdir", "lsm:path_rmdir", nil},
	{event.FileUnlink, floor, "names_enter", sysEnter, unlinks},
	{event.FileChmod, both, "names_exit", sysExit, chmods},
	{event.FileChmod, lsm, "lsm_path_chmod", "lsm:path_chmod", nil},
	{event.FileChmod, floor, "names_enter", sysEnter, chmods},
	{event.FileGetdents, both, "getdents_exit", sysExit, listings},
}

// always is what every probe needs, whichever events it records: tasks are
// followed by their forks and exits, and what is not seen is said.
var always = []hook{
	{event.ProcFork, both, "sched_process_fork", "btf:sched_process_fork", nil},
	{event.ProcExit, both, "sched_process_exit", "btf:sched_process_exit", nil},
	{event.NumKinds, both, "sys_exit", sysExit, nil},
	{event.NumKinds, both, "io_uring_exit", sysExit, uringing},
}

// markers are what the markers of spans come from.
var markers = []hook{{event.SpanStart, both, "marker_exit", sysExit, markerCalls}}

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
