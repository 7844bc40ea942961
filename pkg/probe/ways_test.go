package probe

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

// way is a way around a hook, or past it: what the program does under one mark
// and what is to be seen of it. docs/events.md lists the ways.
type way struct {
	name string
	says string   // what viv reports, for people; "": as the way before
	want []string // what is to be seen
	lsm  []string // with LSM hooks; nil: the same
}

// wayEvents are what a way is about, beside the forks of the one that forks.
var wayEvents = []event.ID{
	event.PathOpen, event.SockConnect, event.DNSReq, event.ProcExec, event.PtraceCheck, event.TaskKill, event.BprmCreds,
	event.FileHardlink, event.FileRename, event.FileUnlink,
}

// ways are the ways, in the order of testdata/ways.c, whose directory is d.
func ways(d string) []way {
	open := func(path string) string { return opened(path, 0) }
	created := func(path string) string { return opened(path, 0o100) }
	unlinked := func(path string) string { return "file_unlink path=" + path }
	creds := func(path string) string { return "bprm_creds has_file=1 path=" + path + " setuid=0 setgid=0" }
	connected := func(port int) string {
		return fmt.Sprintf("sock_connect family=2 addr=127.0.0.1 port=%d proto=tcp", port)
	}
	asked := func(name string) string { return "dns_req qname=" + name + " qtype=A addr=127.0.0.1" }
	const bare = "dns_req addr=127.0.0.1"
	const unknown = " outcome=unknown"
	// A walk to the root keeps whole components, with LSM hooks also of a name
	// that is given up; without them the directory is walked and a name behind it.
	cut := deep(d, 4200)
	if i := strings.Index(cut, "/bbb"); i > 0 {
		cut = cut[i:]
	}
	self, jail := d+"/self", " root="+d+"/jail"
	arg := strings.Repeat("b", 128<<10-1)
	return []way{
		{
			name: "a relative path after chdir",
			says: "The whole path. Without LSM a name in a call has its `.` and `..` still in it; an opened file's path never has.",
			want: []string{created(d + "/sub/f"), unlinked(d + "/sub/./../sub/f")},
			lsm:  []string{created(d + "/sub/f"), unlinked(d + "/sub/f")},
		}, {
			name: "a path relative to a directory's descriptor",
			says: "The whole path.",
			want: []string{created(d + "/sub/f"), unlinked(d + "/sub/f")},
		}, {
			name: "openat2, RESOLVE_BENEATH",
			says: "The whole path; of an open that failed (`--failed-opens`) what the program meant.",
			want: []string{open(d + "/sub/g"), open(d+"/sub/../top") + " error=EXDEV"},
		}, {
			name: "openat2, RESOLVE_IN_ROOT",
			says: "The whole path, not the one below the root that the call was given; of one that failed that directory and the name.",
			want: []string{open(d + "/sub/g"), open(d+"/sub//none") + " error=ENOENT"},
		}, {
			name: "openat2, RESOLVE_NO_SYMLINKS",
			says: "The whole path.",
			want: []string{open(d + "/sub/g")},
		}, {
			name: "a path over 256 bytes",
			says: "The whole path.",
			want: []string{created(deep(d, 300)), unlinked(deep(d, 300))},
		}, {
			name: "a path over 4096 bytes",
			says: "The last 4,096 bytes of it or a little less, `truncated`.",
			want: []string{created(cut) + " truncated", unlinked(cut) + " truncated"},
		}, {
			name: "a symbolic link changed between check and use",
			says: "The file that was opened. Other calls: with LSM the file that was acted on; without it the name, with the link in it.",
			want: []string{
				unlinked(d + "/link"), unlinked(d + "/way"), open(d + "/sub/g"), opened(d+"/sub/f", 0o101), unlinked(d + "/way/f"),
			},
			lsm: []string{
				unlinked(d + "/link"), unlinked(d + "/way"), open(d + "/sub/g"), opened(d+"/sub/f", 0o101), unlinked(d + "/sub/f"),
			},
		}, {
			name: "another name of the file",
			says: "The `file_hardlink`, then the name that was opened: a file is known by its name.",
			want: []string{"file_hardlink old_path=" + d + "/sub/g path=" + d + "/harmless", open(d + "/harmless")},
		}, {
			name: "a file's handle instead of a name",
			says: "The whole path (open_by_handle_at).",
			want: []string{open(d + "/top")},
		}, {
			name: "a file in a mount hidden by another",
			says: "The path that the file would have without the other mount; it looks like that of the file which can be seen there.",
			want: []string{open(d + "/mnt/x"), unlinked(d + "/mnt/x")},
		}, {
			name: "a name that another thread changes meanwhile",
			says: "With LSM the file that was acted on. Without it the name when viv read it, which may be the wrong one.",
			want: []string{unlinked(d + "/sub/fake-longer-than-two-words-file")},
			lsm:  []string{unlinked(d + "/sub/real-longer-than-two-words-file")},
		}, {
			name: "an argv of 2 MiB",
			says: "The first 16,384 bytes, `truncated`, and the number of arguments.",
			want: []string{
				executed(self, 19, cutArgs(16384, self, "exit", "0", arg)...) + " truncated", creds(self),
			},
		}, {
			name: "an exec from a thread",
			says: "The `proc_exec`, with `old_tid`, on the process's main thread, which that thread has become.",
			want: []string{executed(self, 3, self, "exit", "0") + " old_tid=${worker}", creds(self)},
		}, {
			name: "vfork",
			says: "A `proc_fork` like any other, and what the child does under it.",
			want: []string{
				"proc_fork child_pid=${vforked} child_tid=${vforked}", executed(self, 3, self, "exit", "0"), creds(self),
			},
		}, {
			name: "a program in no file",
			says: "What it is: `/memfd:NAME`.",
			want: []string{executed("/memfd:code", 3, self, "exit", "0"), creds("/memfd:code")},
		}, {
			name: "MSG_FASTOPEN",
			says: "The `sock_connect` that the message stands for.",
			want: []string{connected(4000)},
		}, {
			name: "MSG_FASTOPEN, sendmsg",
			want: []string{connected(4000)},
		}, {
			name: "MSG_FASTOPEN, refused",
			want: []string{connected(54) + " error=ECONNREFUSED"},
		}, {
			name: "a DNS question in pieces of one byte",
			says: "The question: all pieces of a message are put together.",
			want: []string{asked("pieces.example.org")},
		}, {
			name: "a DNS question behind 69 other messages",
			says: "The question: every message of a sendmmsg is looked at.",
			want: []string{asked("pieces.example.org")},
		}, {
			name: "a DNS question in more than 64 pieces, and other messages",
			says: "A `dns_req` without the question, `truncated`.",
			want: []string{bare + " truncated"},
		}, {
			name: "a DNS question by splice",
			says: "Nothing: viv does not look into pipes.",
			want: []string{},
		}, {
			name: "a DNS question over TCP in two",
			says: "A `dns_req` for each part, without the question if no part has all of it.",
			want: []string{bare, bare},
		}, {
			name: "another process's descriptor",
			says: "With LSM a `ptrace_check`; without it nothing (pidfd_getfd). Descriptors that a process is sent or inherits are no events: who opened them is.",
			want: []string{},
			lsm:  []string{"ptrace_check mode=18 target_pid=${child}" + unknown},
		}, {
			name: "another process's memory as a file",
			says: "The `path_open` of /proc/PID/mem; with LSM a `ptrace_check`, too.",
			want: []string{opened("/proc/${child}/mem", 2)},
			lsm:  []string{"ptrace_check mode=10 target_pid=${child}" + unknown, opened("/proc/${child}/mem", 2)},
		}, {
			name: "int 0x80",
			says: "That there are 32-bit calls, once per process, as a loss. With LSM its files and connections, too, `outcome=unknown`.",
			want: []string{},
			lsm:  []string{open(d+"/sub/f") + unknown, unlinked(d+"/sub/f") + unknown},
		}, {
			name: "io_uring, unused",
			says: "That there is an io_uring, once per process, as a loss.",
			want: []string{},
		}, {
			name: "io_uring, openat",
			says: "With LSM the file, `outcome=unknown`, on whichever thread did it, with the O_NONBLOCK that io_uring adds; without LSM nothing more than the loss.",
			want: []string{},
			lsm:  []string{opened(d+"/sub/g", unix.O_NONBLOCK) + unknown},
		}, {
			name: "io_uring, openat in a thread of its own",
			want: []string{},
			lsm:  []string{open(d+"/sub/g") + unknown},
		}, {
			name: "io_uring, openat by a polling thread",
			want: []string{},
			lsm:  []string{opened(d+"/sub/g", unix.O_NONBLOCK) + unknown},
		}, {
			name: "io_uring, openat that fails",
			says: "Nothing, also with LSM: there was no file.",
			want: []string{},
		}, {
			name: "io_uring, renameat and unlinkat",
			says: "The same as openat, and so for symlinkat and linkat.",
			want: []string{},
			lsm: []string{
				"file_rename old_path=" + d + "/sub/f path=" + d + "/sub/f2" + unknown, unlinked(d+"/sub/f2") + unknown,
			},
		}, {
			name: "io_uring, connect",
			says: "The same. One that has to wait is tried, and reported, twice.",
			want: []string{},
			lsm:  []string{connected(4000) + unknown, connected(4000) + unknown},
		}, {
			name: "io_uring, a DNS question",
			says: "Nothing, also with LSM, but the `sock_connect` if there was one.",
			want: []string{},
		}, {
			name: "namespaces and a root of its own",
			says: "Process ids as viv-probe's own pid namespace has them, paths as the program sees them, with the `root` that they are below.",
			want: []string{open("/f") + jail, unlinked("/f") + jail, "task_kill sig=23 sig_name=URG target_pid=${inner}" + jail},
		},
	}
}

// TestWays: each known way around a hook, with what is reported of it on each
// backend; what goes past all hooks is said once per process.
func TestWays(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		argv := []string{program(t, "ways"), d}
		no32 := exec.Command(argv[0], "try int 0x80").Run() // some hosts have no 32-bit calls
		if no32 != nil {
			argv = append(argv, "without int 0x80")
		}
		s := record(t, Options{Hooks: hooks, FailedOpens: true, Events: events(append(wayEvents, event.ProcFork)...)}, argv...)
		if s.said["uring_refused"] != "" {
			t.Logf("io_uring_setup: %s", s.said["uring_refused"])
		}
		seen, withForks := s.only(wayEvents...).rows(), s.rows()
		for _, w := range ways(d) {
			t.Run(w.name, func(t *testing.T) {
				if strings.HasPrefix(w.name, "io_uring, ") && w.name != "io_uring, unused" && s.said["uring_refused"] != "" {
					t.Skip("this kernel refuses io_uring")
				}
				if w.name == "int 0x80" && no32 != nil {
					t.Skipf("this machine has no 32-bit system calls: %v", no32)
				}
				got, ok := seen[w.name]
				if !ok {
					t.Fatal("the program did not get there")
				}
				if w.name == "vfork" {
					got = withForks[w.name]
				}
				want := w.want
				if hooks == HooksLSM && w.lsm != nil {
					want = w.lsm
				}
				compare(t, got, s.expand(want))
			})
		}
		for name := range seen {
			if name != "" && name != "end" && !slices.ContainsFunc(ways(d), func(w way) bool { return w.name == name }) {
				t.Errorf("%s: is in no table", name)
			}
		}

		t.Run("said", func(t *testing.T) {
			var said []string
			for _, l := range s.lost {
				said = append(said, strconv.FormatUint(l.Count, 10)+" "+l.Cause)
			}
			var want []string
			if no32 == nil {
				want = append(want, "1 unseen 32-bit system calls of process ${compat}")
			}
			if s.said["uring_refused"] == "" {
				want = append(want, "1 unseen io_uring operations of process ${uring}")
			}
			compare(t, said, s.expand(want))
			if s.result.Unseen != uint64(len(want)) {
				t.Errorf("%d unseen in the result", s.result.Unseen)
			}
		})
	})
}
