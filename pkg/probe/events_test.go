package probe

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"vivarium/bpf"
	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
)

// noLSM says why no BPF LSM program can be used here, or is nil.
var noLSM = sync.OnceValue(func() error {
	spec, err := bpf.LoadViv()
	if err != nil {
		return err
	}
	a := attachment{maps: map[string]*ebpf.Map{}, spec: spec}
	return a.tryLSM()
})

// eachBackend runs a test with each backend by its name.
func eachBackend(t *testing.T, test func(t *testing.T, hooks Hooks)) {
	needRoot(t)
	for _, hooks := range []Hooks{HooksTracepoint, HooksLSM} {
		t.Run(string(hooks), func(t *testing.T) {
			if hooks == HooksLSM && noLSM() != nil {
				t.Skip("this kernel refuses BPF LSM programs")
			}
			test(t, hooks)
		})
	}
}

// eventRow is what the program does under one mark, and what is to be seen of
// one event: on both backends the same, or with LSM hooks something else.
type eventRow struct {
	event event.ID
	name  string
	want  []string
	lsm   []string // nil: as want
	why   string   // they differ
}

const (
	// An LSM hook sees the file, an entry what the program called it.
	linksFollowed = "without LSM the path is as the program gave it"
	// Security modules are asked one after the other, and the first to refuse is the last to be asked.
	grantedOnly = "the LSM hook is not asked about what was refused already; the tracepoint does not know the options"
)

// TestEvents: each event by each system call that is behind it, on each
// backend, with the same expectations.
func TestEvents(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		compareEvents(t, record(t, Options{Hooks: hooks, Spans: spansFrom(t, "markers")}, program(t, "events"), d), d, hooks, Recordable())
	})
}

// compareEvents holds what was seen of events.c, whose directory is d, against
// the rows of these events in the table, which has some of each.
func compareEvents(t *testing.T, s *seen, d string, hooks Hooks, ids []event.ID) {
	rows := eventTable(d)
	for _, id := range Recordable() {
		if !slices.ContainsFunc(rows, func(r eventRow) bool { return r.event == id }) {
			t.Errorf("%s: has no row", event.Kinds[id].Name)
		}
	}
	got := map[event.ID]map[string][]string{}
	marked := s.only().rows()
	for _, r := range rows {
		name := event.Kinds[r.event].Name
		if !slices.Contains(ids, r.event) {
			continue
		}
		t.Run(name+"/"+r.name, func(t *testing.T) {
			if _, ok := marked[r.name]; !ok {
				t.Fatal("the program did not get there")
			}
			if r.event == event.CapableCheck && hooks == HooksTracepoint && s.session.Missing[name] != "" {
				t.Skip("this kernel has no tracepoint cap_capable")
			}
			if s.session.Hooks[name] == "" {
				t.Fatalf("missing: %s", s.session.Missing[name])
			}
			if (r.lsm != nil) != (r.why != "") {
				t.Fatal("the row does not say why the backends differ")
			}
			want := r.want
			if hooks == HooksLSM && r.lsm != nil {
				want = r.lsm
			}
			if got[r.event] == nil {
				got[r.event] = s.only(r.event).rows()
			}
			compare(t, got[r.event][r.name], s.expand(want))
		})
	}
	for name := range marked {
		if name != "" && name != "end" && !slices.ContainsFunc(rows, func(r eventRow) bool { return r.name == name }) {
			t.Errorf("%s: is in no table", name)
		}
	}
	if len(s.lost) > 0 {
		t.Errorf("lost: %+v", s.lost)
	}
}

func eventTable(d string) []eventRow {
	var rows []eventRow
	add := func(id event.ID, name string, want ...string) {
		for i := range want {
			want[i] = event.Kinds[id].Name + " " + want[i]
		}
		if want == nil {
			want = []string{}
		}
		rows = append(rows, eventRow{event: id, name: name, want: want})
	}
	// What LSM hooks show of the last row.
	withLSM := func(why string, want ...string) {
		r := &rows[len(rows)-1]
		for i := range want {
			want[i] = event.Kinds[r.event].Name + " " + want[i]
		}
		if want == nil {
			want = []string{}
		}
		r.lsm, r.why = want, why
	}
	const http = `"http/1.x request: GET /index.html HTTP/1.1"`
	add(event.PathOpen, "open", "path="+d+"/text flags=0")
	add(event.SockOutcome, "connect")
	add(event.SockConnect, "connect", "family=2 addr=127.0.0.1 port=4000 proto=udp")
	add(event.OddSocket, "socket", "family=2 socktype=3 protocol=1")
	add(event.DNSReq, "DNS question", "qname=www.example.org qtype=A addr=127.0.0.1")
	add(event.ProcFork, "fork and exit", "child_pid=${forked} child_tid=${forked}")
	add(event.ProcExit, "fork and exit", "exit_code=3 process=1")
	add(event.ProcExec, "execve", "path="+d+"/self argv=[x exit] argc=2")
	add(event.Dlopen, "dlopen", "path=libnone.so")
	add(event.EnvCaccess, "getenv", "op=getenv key=VIV_NONE")
	add(event.SSLWrite, "SSL_write", "len=47 captured=47 summary="+http+" conn=1")
	add(event.SpanStart, "marker", "name=job file=/srv/run.c line=7 source=marker")
	add(event.SpanRaise, "marker", "error=EIO source=marker")
	add(event.SpanStop, "marker", "name=job source=marker")

	const enoent, efault, ebadf = " error=ENOENT", "error=EFAULT truncated", " error=EBADF"

	path := func(p string) string { return "path=" + d + "/" + p }
	add(event.FileUnlink, "unlink", path("sub/f0"))
	add(event.FileUnlink, "unlink, relative", path("sub/f1"))
	add(event.FileUnlink, "unlink, through a link", path("way/f2"))
	withLSM(linksFollowed, path("sub/f2"))
	add(event.FileUnlink, "unlink, ENOENT", path("none")+enoent)
	add(event.FileUnlink, "unlink, EISDIR", path("sub")+" error=EISDIR")
	add(event.FileUnlink, "unlink, EFAULT", efault)
	add(event.FileUnlink, "unlink, a name that is not in memory", path("sub/f5"))
	add(event.FileUnlink, "unlinkat", path("sub/f3"))
	add(event.FileUnlink, "unlinkat, EBADF", "path=f3"+ebadf)
	add(event.FileUnlink, "unlinkat, a directory", path("sub/dir"))
	add(event.FileUnlink, "rmdir", path("sub/dir"))
	add(event.FileUnlink, "rmdir, ENOTEMPTY", path("sub")+" error=ENOTEMPTY")

	two := func(old, new string) string { return "old_path=" + d + "/" + old + " path=" + d + "/" + new }
	add(event.FileRename, "rename", two("sub/f4", "sub/g4"))
	add(event.FileRename, "rename, through a link", two("way/g4", "sub/f4"))
	withLSM(linksFollowed, two("sub/g4", "sub/f4"))
	add(event.FileRename, "rename, ENOENT", two("none", "sub/none")+enoent)
	add(event.FileRename, "rename, ENOTEMPTY", two("dir", "sub")+" error=ENOTEMPTY")
	add(event.FileRename, "renameat", two("sub/f4", "sub/g4"))
	add(event.FileRename, "renameat2", two("sub/g4", "f4"))
	add(event.FileRename, "renameat2, exchanged", two("f4", "sub/f5")+" flags=2")
	add(event.FileRename, "renameat2, EEXIST", two("f4", "sub/f5")+" flags=1 error=EEXIST")

	add(event.FileHardlink, "link", two("f4", "l1"))
	add(event.FileHardlink, "link, EEXIST", two("f4", "l1")+" error=EEXIST")
	add(event.FileHardlink, "link, ENOENT", two("none", "l2")+enoent)
	add(event.FileHardlink, "linkat", two("sub/f5", "sub/l5"))
	add(event.FileHardlink, "linkat, a descriptor", two("f4", "sub/l6"))

	add(event.FileSymlink, "symlink", `target="some/where else" `+path("s1"))
	add(event.FileSymlink, "symlink, EEXIST", "target=x "+path("s1")+" error=EEXIST")
	add(event.FileSymlink, "symlinkat", "target=/else/../where "+path("sub/s2"))

	add(event.FileChmod, "chmod", "mode=416 "+path("f4"))
	add(event.FileChmod, "chmod, through a link", "mode=416 "+path("way/f5"))
	withLSM(linksFollowed, "mode=416 "+path("sub/f5"))
	add(event.FileChmod, "chmod, special bits", "mode=3565 "+path("f4"))
	add(event.FileChmod, "chmod, ENOENT", "mode=384 "+path("none")+enoent)
	add(event.FileChmod, "fchmod", "mode=384 "+path("f4"))
	add(event.FileChmod, "fchmod, a pipe", `mode=384 path="pipe:[${pipe}]"`)
	add(event.FileChmod, "fchmod, EBADF", "mode=384"+ebadf)
	add(event.FileChmod, "fchmodat", "mode=384 "+path("sub/f5"))
	add(event.FileChmod, "fchmodat2", "mode=420 "+path("f4")+"${fchmodat2}")

	add(event.FileTruncate, "truncate", path("f4")+" length=7")
	add(event.FileTruncate, "truncate, through a link", path("way/f5")+" length=0")
	withLSM(linksFollowed, path("sub/f5")+" length=0")
	add(event.FileTruncate, "truncate, ENOENT", path("none")+" length=7"+enoent)
	add(event.FileTruncate, "truncate, EINVAL", path("f4")+" length=-1 error=EINVAL")
	add(event.FileTruncate, "ftruncate", path("f4")+" length=5000000000")
	add(event.FileTruncate, "ftruncate, memfd", "path=/memfd:cut length=3")
	add(event.FileTruncate, "ftruncate, EBADF", "length=3"+ebadf)
	add(event.FileTruncate, "open, O_TRUNC")

	add(event.MmapExec, "mmap", path("f4"))
	add(event.MmapExec, "mmap, not executable")
	add(event.MmapExec, "mprotect", path("f4"))
	add(event.MmapExec, "pkey_mprotect", path("f4"))
	add(event.MmapExec, "mprotect, back")
	add(event.MmapExec, "mprotect, anonymous", `path="[anon]"`)
	add(event.MmapExec, "mprotect, ENOMEM", `path="[anon]" error=ENOMEM`)
	add(event.MmapExec, "mmap, anonymous")
	add(event.MmapExec, "mmap, EACCES", path("f4")+" error=EACCES")
	add(event.MmapExec, "mmap, memfd", "path=/memfd:code")

	add(event.FileGetdents, "getdents64", "fd=${list} count=1024 "+path("sub"))
	add(event.FileGetdents, "getdents", "fd=${list} count=512 "+path("sub"))
	add(event.FileGetdents, "getdents64, ENOTDIR", "fd=${file} count=1024 "+path("f4")+" error=ENOTDIR")
	add(event.FileGetdents, "getdents64, EBADF", "fd=77 count=1024"+ebadf)

	kill := func(name, rest string) { add(event.TaskKill, name, "sig=10 sig_name=USR1 target_pid="+rest) }
	kill("kill", "${child}")
	add(event.TaskKill, "kill, no signal", "sig=0 sig_name=EXIT target_pid=${child}")
	kill("kill, a group", "-${child}")
	kill("kill, ESRCH", "1073741823 error=ESRCH")
	add(event.TaskKill, "kill, EINVAL", "sig=99 target_pid=${child} error=EINVAL")
	add(event.TaskKill, "kill, EPERM", "sig=15 sig_name=TERM target_pid=${child} error=EPERM")
	kill("tkill", "${child}")
	kill("tgkill", "${child}")
	kill("tgkill, ESRCH", "${child} error=ESRCH")
	kill("pidfd_send_signal", "${child}")
	add(event.TaskKill, "pidfd_send_signal, EBADF", "sig=10 sig_name=USR1"+ebadf)
	kill("rt_sigqueueinfo", "${child}")
	kill("rt_tgsigqueueinfo", "${child}")

	ptrace := func(name string, target ...string) {
		for i := range target {
			target[i] = "mode=18 target_pid=" + target[i]
		}
		add(event.PtraceCheck, name, target...)
	}
	ptrace("ptrace, attach", "${child}")
	ptrace("ptrace, once attached")
	ptrace("ptrace, seize", "${child}")
	ptrace("ptrace, ESRCH", "1073741823 error=ESRCH")
	ptrace("ptrace, EPERM", "${self} error=EPERM")
	ptrace("process_vm_readv", "${child}")
	ptrace("process_vm_writev", "${child}")
	ptrace("process_vm_readv, ESRCH", "1073741823 error=ESRCH")

	ids := func(name string, flags, old, new, rest string) {
		group := "0"
		if strings.Contains(strings.SplitN(name, ",", 2)[0], "gid") {
			group = "1"
		}
		add(event.SetidChange, name, "flags="+flags+" old_ids="+old+" new_ids="+new+" group="+group+rest)
	}
	const root, user = "0,0,0,0", "1000,1000,1000,1000"
	ids("setuid", "1", root, user, "")
	ids("setgid", "1", root, user, "")
	ids("setreuid", "2", root, "0,1000,1000,1000", "")
	ids("setregid", "2", root, "1000,0,0,0", "")
	ids("setresuid", "4", root, "1000,1001,1002,1001", "")
	ids("setresgid", "4", root, "1000,1001,1002,1001", "")
	ids("setfsuid", "8", root, "0,0,0,1000", "")
	ids("setfsgid", "8", root, "0,0,0,1000", "")
	ids("setresuid, nothing", "4", root, root, "")
	changed := "flags=1 old_ids=" + root + " new_ids=" + user + " group=0"
	add(event.SetidChange, "setuid, EPERM", changed, "flags=1 old_ids="+user+" new_ids="+user+" group=0 error=EPERM")
	add(event.SetidChange, "setfsuid, refused", changed, "flags=8 old_ids="+user+" new_ids="+user+" group=0")

	add(event.SbMount, "mount, propagation", "flags=278528 dev=none path=/")
	add(event.SbMount, "mount", "flags=2 dev=none fstype=tmpfs "+path("mnt"))
	add(event.SbMount, "mount, bind", "flags=4096 dev="+d+"/sub "+path("bound"))
	add(event.SbMount, "mount, relative", "flags=0 dev=none fstype=tmpfs "+path("mnt2"))
	add(event.SbMount, "mount, ENODEV", "flags=0 dev=none fstype=nofs "+path("mnt")+" error=ENODEV")
	add(event.SbMount, "mount, ENOENT", "flags=0 dev=none fstype=tmpfs "+path("none")+enoent)
	add(event.SbMount, "mount, move", "flags=8192 dev="+d+"/mnt "+path("mnt2"))
	add(event.SbMount, "move_mount", "flags=8192 dev="+d+"/mnt2 "+path("mnt"))
	add(event.SbMount, "move_mount, a detached one", `flags=8192 dev="${bound}" fstype=${bound_type} `+path("mnt2"))
	add(event.SbMount, "move_mount, a detached file system", "flags=8192 dev=none fstype=tmpfs "+path("mnt2"))
	add(event.SbMount, "move_mount, a new one", `flags=8192 dev="a source" fstype=tmpfs `+path("mnt2"))
	add(event.SbMount, "move_mount, a new one, ENOENT", "flags=8192 dev=none fstype=tmpfs "+path("none")+enoent)
	add(event.SbMount, "move_mount, EINVAL", "flags=8192 dev="+d+"/sub "+path("mnt")+" error=EINVAL")

	add(event.KernelReadFile, "finit_module", "id=2 contents=1 "+path("text")+" id_name=kernel-module${finit}")
	add(event.KernelReadFile, "finit_module, EBADF", "id=2 contents=1 id_name=kernel-module${finit_bad}")
	add(event.KernelReadFile, "kexec_file_load", "id=3 contents=1 "+path("text")+" id_name=kexec-image${kexec}")

	creds := func(name, file, bits string) { add(event.BprmCreds, name, "has_file=1 "+path(file)+" "+bits) }
	creds("exec", "self", "setuid=0 setgid=0")
	creds("exec, a script", "self", "setuid=0 setgid=0")
	creds("exec, setuid", "self", "setuid=1 setgid=0")
	creds("exec, setgid", "self", "setuid=0 setgid=1")
	add(event.BprmCreds, "exec, ENOENT")
	add(event.BprmCreds, "exec, ENOEXEC")

	capable := func(name, cap, opts string) {
		add(event.CapableCheck, name, "cap="+cap)
		withLSM(grantedOnly, "cap="+cap+" opts="+opts)
	}
	capable("CAP_DAC_OVERRIDE", "1 cap_name=CAP_DAC_OVERRIDE", "0")
	capable("CAP_SETUID", "7 cap_name=CAP_SETUID", "4")
	capable("CAP_SYS_ADMIN", "21 cap_name=CAP_SYS_ADMIN", "0")
	capable("CAP_SYS_ADMIN, unshare", "21 cap_name=CAP_SYS_ADMIN", "0")
	add(event.CapableCheck, "CAP_CHOWN, not a risky one")
	add(event.CapableCheck, "CAP_SYS_TIME, refused",
		"cap=7 cap_name=CAP_SETUID", "cap=25 cap_name=CAP_SYS_TIME error=EPERM")
	withLSM(grantedOnly, "cap=7 cap_name=CAP_SETUID opts=4")
	return rows
}
