package probe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
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
// (btf:NAME of a tracepoint with typed arguments, lsm:NAME), or the numbers of
// the system calls for whose entry or exit it runs.
type hook struct {
	event   event.ID
	backend backend
	program string
	place   string
	calls   []uint32
}

// The two places that serve all system calls.
const (
	sysEnter = "btf:sys_enter"
	sysExit  = "btf:sys_exit"
)

// The calls of an event that an entry and an exit share.
var (
	unlinks  = []uint32{unix.SYS_UNLINK, unix.SYS_UNLINKAT, unix.SYS_RMDIR}
	renames  = []uint32{unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2}
	links    = []uint32{unix.SYS_LINK, unix.SYS_LINKAT}
	symlinks = []uint32{unix.SYS_SYMLINK, unix.SYS_SYMLINKAT}
	chmods   = []uint32{unix.SYS_CHMOD, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2}
	mounts   = []uint32{unix.SYS_MOUNT, unix.SYS_MOVE_MOUNT}
	setids   = []uint32{unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID,
		unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETFSUID, unix.SYS_SETFSGID}
	execs = []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT}
)

// hooks is every program but the iterator that marks existing tasks. An event
// one of whose hooks does not load or attach is missing.
var hooks = []hook{
	{event.PathOpen, both, "open_exit", sysExit, []uint32{unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_BY_HANDLE_AT}},
	{event.PathOpen, lsm, "lsm_file_open", "lsm:file_open", nil},
	{event.MmapExec, both, "mmap_exit", sysExit, []uint32{unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_PKEY_MPROTECT}},
	{event.MmapExec, lsm, "lsm_mmap_file", "lsm:mmap_file", nil},
	{event.SockConnect, both, "connect_exit", sysExit, []uint32{unix.SYS_CONNECT}},
	{event.SockConnect, both, "send_exit", sysExit, []uint32{unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG}}, // MSG_FASTOPEN
	{event.SockConnect, lsm, "lsm_socket_connect", "lsm:socket_connect", nil},
	{event.OddSocket, both, "socket_exit", sysExit, []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR}},
	{event.OddSocket, lsm, "lsm_socket_create", "lsm:socket_create", nil},
	{event.DNSReq, both, "send_exit", sysExit, []uint32{unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_WRITE, unix.SYS_WRITEV}},
	{event.ProcFork, both, "sched_process_fork", "btf:sched_process_fork", nil},
	{event.ProcExec, both, "sched_process_exec", "btf:sched_process_exec", nil},
	{event.ProcExec, both, "exec_exit", sysExit, execs},
	{event.ProcExit, both, "sched_process_exit", "btf:sched_process_exit", nil},
	{event.PtraceCheck, both, "ptrace_exit", sysExit, []uint32{unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV}},
	{event.PtraceCheck, lsm, "lsm_ptrace_access_check", "lsm:ptrace_access_check", nil},
	{event.SbMount, both, "names_exit", sysExit, mounts},
	{event.SbMount, lsm, "lsm_sb_mount", "lsm:sb_mount", nil},
	{event.SbMount, lsm, "lsm_move_mount", "lsm:move_mount", nil},
	{event.SbMount, floor, "names_enter", sysEnter, mounts},
	{event.KernelReadFile, both, "read_file_exit", sysExit, []uint32{unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_FILE_LOAD}},
	{event.KernelReadFile, lsm, "lsm_kernel_read_file", "lsm:kernel_read_file", nil},
	{event.TaskKill, both, "kill_exit", sysExit, []uint32{unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO}},
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
	{event.FileGetdents, both, "getdents_exit", sysExit, []uint32{unix.SYS_GETDENTS, unix.SYS_GETDENTS64}},
}

// always is what every probe needs, whichever events it records: tasks are
// followed by their forks and exits, and what is not seen is said.
var always = []hook{
	{event.ProcFork, both, "sched_process_fork", "btf:sched_process_fork", nil},
	{event.ProcExit, both, "sched_process_exit", "btf:sched_process_exit", nil},
	{event.NumKinds, both, "sys_exit", sysExit, nil},
	{event.NumKinds, both, "io_uring_exit", sysExit, []uint32{unix.SYS_IO_URING_SETUP}},
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
	for _, nr := range h.calls {
		if err := a.maps[table].Put(nr, a.programs[h.program]); err != nil {
			return fmt.Errorf("attach to %s of call %d: %w", at, nr, err)
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
		} else if choice == HooksLSM {
			return nil, noLSM, noLSM
		}
	}
	if err := errors.Join(a.attachAll(id, both), a.attachAll(id, use)); err != nil {
		return nil, noLSM, err
	}
	for _, h := range hooks {
		if h.event == id && (h.backend == both || h.backend == use) && !slices.Contains(at, h.place) {
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

func (a *attachment) detachAll() error {
	var err error
	for key, l := range a.links {
		err = errors.Join(err, l.Close())
		delete(a.links, key)
	}
	return err
}

func (a *attachment) close() error {
	err := a.detachAll()
	for _, p := range a.programs {
		err = errors.Join(err, p.Close())
	}
	return err
}
