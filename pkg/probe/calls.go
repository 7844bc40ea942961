package probe

import (
	"slices"

	"vivarium/bpf"
	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// call is a system call: the only place that knows its number, and where its
// arguments are that the BPF programs read (struct syscall in bpf/lib/calls.h).
type call struct {
	name string
	nr   uint32
	args args
}

// args are positions of a call's arguments, counted from 1; 0: it has none.
type args struct {
	form        bpf.VivForm // what text 0 is
	dfd0, name0 uint8       // of text 0; dfd 0: the working directory
	dfd1, name1 uint8       // of text 1
	num         uint8       // number 0
	mask        uint64      // bits of it; 0: all
	value       uint64      // number 0, where it is in no argument
	extra       uint8       // a process id, argv, a file system type, a struct open_how
}

const (
	flags32   = 1<<32 - 1 // flags are ints
	modeBits  = 0o7777
	isFile    = bpf.VivFormFORM_FILE
	isString  = bpf.VivFormFORM_STRING
	isMove    = bpf.VivFormFORM_MOVE
	isMount   = bpf.VivFormFORM_MOUNT
	isGroupID = bpf.VivFormFORM_GROUP_IDS
)

// The calls of an event, or those that an entry and an exit share.
var (
	opens = []call{
		{"open", unix.SYS_OPEN, args{name0: 1, num: 2, mask: flags32}},
		{"creat", unix.SYS_CREAT, args{name0: 1, value: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC}},
		{"openat", unix.SYS_OPENAT, args{dfd0: 1, name0: 2, num: 3, mask: flags32}},
		{"openat2", unix.SYS_OPENAT2, args{form: bpf.VivFormFORM_HOW, dfd0: 1, name0: 2, extra: 3}},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, args{form: bpf.VivFormFORM_HANDLE, num: 3, mask: flags32}},
	}
	mappings = []call{
		{"mmap", unix.SYS_MMAP, args{form: bpf.VivFormFORM_MAP}},
		{"mprotect", unix.SYS_MPROTECT, args{form: bpf.VivFormFORM_PROTECT}},
		{"pkey_mprotect", unix.SYS_PKEY_MPROTECT, args{form: bpf.VivFormFORM_PROTECT}},
	}
	connects = []call{{"connect", unix.SYS_CONNECT, args{}}}
	sends    = []call{ // of messages, which may connect
		{"sendto", unix.SYS_SENDTO, args{form: bpf.VivFormFORM_SENDTO}},
		{"sendmsg", unix.SYS_SENDMSG, args{form: bpf.VivFormFORM_MESSAGE}},
		{"sendmmsg", unix.SYS_SENDMMSG, args{form: bpf.VivFormFORM_MESSAGES}},
	}
	writes = []call{
		{"write", unix.SYS_WRITE, args{form: bpf.VivFormFORM_BUFFER}},
		{"writev", unix.SYS_WRITEV, args{form: bpf.VivFormFORM_VECTOR}},
	}
	sockets = []call{{"socket", unix.SYS_SOCKET, args{}}, {"socketpair", unix.SYS_SOCKETPAIR, args{}}}
	execs   = []call{
		{"execve", unix.SYS_EXECVE, args{name0: 1, extra: 2}},
		{"execveat", unix.SYS_EXECVEAT, args{dfd0: 1, name0: 2, extra: 3}},
	}
	ptraces = []call{
		{"ptrace", unix.SYS_PTRACE, args{form: bpf.VivFormFORM_PTRACE}},
		{"process_vm_readv", unix.SYS_PROCESS_VM_READV, args{}},
		{"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, args{}},
	}
	mounts = []call{
		{"mount", unix.SYS_MOUNT, args{form: isMount, name0: 1, name1: 2, extra: 3, num: 4}},
		{"move_mount", unix.SYS_MOVE_MOUNT, args{form: isMove, dfd0: 1, name0: 2, dfd1: 3, name1: 4, value: unix.MS_MOVE}},
	}
	readFiles = []call{ // the value is one of enum kernel_read_file_id
		{"finit_module", unix.SYS_FINIT_MODULE, args{value: 2}},
		{"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, args{value: 3}},
	}
	kills = []call{
		{"kill", unix.SYS_KILL, args{extra: 1, num: 2}},
		{"tkill", unix.SYS_TKILL, args{extra: 1, num: 2}},
		{"tgkill", unix.SYS_TGKILL, args{extra: 1, num: 3}},
		{"pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, args{num: 2}},
		{"rt_sigqueueinfo", unix.SYS_RT_SIGQUEUEINFO, args{extra: 1, num: 2}},
		{"rt_tgsigqueueinfo", unix.SYS_RT_TGSIGQUEUEINFO, args{extra: 1, num: 3}},
	}
	setids = []call{ // the value is LSM_SETID_ID, _RE, _RES, _FS
		{"setuid", unix.SYS_SETUID, args{value: 1}},
		{"setgid", unix.SYS_SETGID, args{value: 1, form: isGroupID}},
		{"setreuid", unix.SYS_SETREUID, args{value: 2}},
		{"setregid", unix.SYS_SETREGID, args{value: 2, form: isGroupID}},
		{"setresuid", unix.SYS_SETRESUID, args{value: 4}},
		{"setresgid", unix.SYS_SETRESGID, args{value: 4, form: isGroupID}},
		{"setfsuid", unix.SYS_SETFSUID, args{value: 8}},
		{"setfsgid", unix.SYS_SETFSGID, args{value: 8, form: isGroupID}},
	}
	symlinks = []call{
		{"symlink", unix.SYS_SYMLINK, args{form: isString, name0: 1, name1: 2}},
		{"symlinkat", unix.SYS_SYMLINKAT, args{form: isString, name0: 1, dfd1: 2, name1: 3}},
	}
	links = []call{
		{"link", unix.SYS_LINK, args{name0: 1, name1: 2}},
		{"linkat", unix.SYS_LINKAT, args{dfd0: 1, name0: 2, dfd1: 3, name1: 4}},
	}
	renames = []call{
		{"rename", unix.SYS_RENAME, args{name0: 1, name1: 2}},
		{"renameat", unix.SYS_RENAMEAT, args{dfd0: 1, name0: 2, dfd1: 3, name1: 4}},
		{"renameat2", unix.SYS_RENAMEAT2, args{dfd0: 1, name0: 2, dfd1: 3, name1: 4, num: 5, mask: flags32}},
	}
	unlinks = []call{
		{"unlink", unix.SYS_UNLINK, args{name0: 1}},
		{"unlinkat", unix.SYS_UNLINKAT, args{dfd0: 1, name0: 2}},
		{"rmdir", unix.SYS_RMDIR, args{name0: 1}},
	}
	chmods = []call{
		{"chmod", unix.SYS_CHMOD, args{name0: 1, num: 2, mask: modeBits}},
		{"fchmod", unix.SYS_FCHMOD, args{form: isFile, dfd0: 1, num: 2, mask: modeBits}},
		{"fchmodat", unix.SYS_FCHMODAT, args{dfd0: 1, name0: 2, num: 3, mask: modeBits}},
		{"fchmodat2", unix.SYS_FCHMODAT2, args{dfd0: 1, name0: 2, num: 3, mask: modeBits}},
	}
	truncates = []call{
		{"truncate", unix.SYS_TRUNCATE, args{name0: 1, num: 2}},
		{"ftruncate", unix.SYS_FTRUNCATE, args{form: isFile, dfd0: 1, num: 2}},
	}
	listings = []call{{"getdents", unix.SYS_GETDENTS, args{}}, {"getdents64", unix.SYS_GETDENTS64, args{}}}
	uringing = []call{{"io_uring_setup", unix.SYS_IO_URING_SETUP, args{}}}

	// In whose path a marker can be. Each says nothing but whether a file exists
	// and what it is.
	markerCalls = []call{
		{"stat", unix.SYS_STAT, args{name0: 1}},
		{"lstat", unix.SYS_LSTAT, args{name0: 1}},
		{"newfstatat", unix.SYS_NEWFSTATAT, args{dfd0: 1, name0: 2}},
		{"statx", unix.SYS_STATX, args{dfd0: 1, name0: 2}},
		{"access", unix.SYS_ACCESS, args{name0: 1}},
		{"faccessat", unix.SYS_FACCESSAT, args{dfd0: 1, name0: 2}},
		{"faccessat2", unix.SYS_FACCESSAT2, args{dfd0: 1, name0: 2}},
	}

	// Calls without a hook, that others behave in otherwise.
	clones = []call{
		{"clone", unix.SYS_CLONE, args{}}, {"clone3", unix.SYS_CLONE3, args{}},
	}
	pidfds = []call{{"pidfd_open", unix.SYS_PIDFD_OPEN, args{}}}
	memory = []call{
		{"munmap", unix.SYS_MUNMAP, args{}}, {"mremap", unix.SYS_MREMAP, args{}}, {"brk", unix.SYS_BRK, args{}},
		{"madvise", unix.SYS_MADVISE, args{}}, {"shmat", unix.SYS_SHMAT, args{}},
		{"fork", unix.SYS_FORK, args{}}, {"vfork", unix.SYS_VFORK, args{}},
	}
)

// quiet are the events that an LSM hook does not report of some calls.
var quiet = []struct {
	event event.ID
	calls []call
}{
	// Their exits show it themselves.
	{event.FileTruncate, opens}, // O_TRUNC, which path_open has
	{event.MmapExec, mappings},
	{event.OddSocket, sockets},
	{event.SockConnect, sends}, // whether or not a kernel asks
	{event.MmapExec, execs},    // the program and its loader, which proc_exec stands for
	// A pidfd is a file to newer kernels.
	{event.PathOpen, pidfds},
	{event.PathOpen, clones},
	// The kernel's own estimate of free memory asks for CAP_SYS_ADMIN.
	{event.CapableCheck, memory},
	{event.CapableCheck, clones},
	{event.CapableCheck, execs},
	{event.CapableCheck, mappings[:2]},
}

// callTable is what the BPF programs know about system calls (the map calls),
// from the rows of the hooks. It is the same whichever hooks are attached.
func callTable() []ebpf.MapKV {
	table := map[uint32]*bpf.VivSyscall{}
	row := func(c call) *bpf.VivSyscall {
		if table[c.nr] == nil {
			r := c.args.row()
			table[c.nr] = &r
		}
		return table[c.nr]
	}
	for _, h := range slices.Concat(hooks, always, spanHooks) {
		for _, c := range h.calls {
			r := row(c)
			if h.backend == both && hasLSM(h.event) {
				r.Pends |= 1 << h.event
			}
			if h.program == "names_exit" {
				r.Kind = uint8(h.event)
			}
		}
	}
	for _, q := range quiet {
		for _, c := range q.calls {
			row(c).Quiet |= 1 << q.event
		}
	}
	var list []ebpf.MapKV
	for nr, r := range table {
		list = append(list, ebpf.MapKV{Key: nr, Value: r})
	}
	return list
}

// row is what the BPF programs read.
func (a args) row() bpf.VivSyscall {
	dfd := func(arg, name uint8) uint8 {
		if arg == 0 && name != 0 {
			return uint8(bpf.VivArgumentARGUMENT_CWD)
		}
		return arg
	}
	r := bpf.VivSyscall{
		Form: uint8(a.form),
		Dfd:  [2]uint8{dfd(a.dfd0, a.name0), dfd(a.dfd1, a.name1)}, Name: [2]uint8{a.name0, a.name1},
		Num: a.num, Mask: a.mask, Value: a.value, Extra: a.extra,
	}
	if a.num != 0 || a.value != 0 {
		r.Nums = 1
	}
	if a.mask == 0 {
		r.Mask = ^uint64(0)
	}
	return r
}

// hasLSM says whether an event has an LSM hook.
func hasLSM(id event.ID) bool {
	return slices.ContainsFunc(hooks, func(h hook) bool { return h.event == id && h.backend == lsm })
}
