package probe

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
)

// executed is a proc_exec of path; argv is what is seen of argc arguments.
func executed(path string, argc int, argv ...string) string {
	b := []byte("proc_exec path=" + path)
	if len(argv) > 0 {
		b = append(b, " argv=["...)
		for i, arg := range argv {
			if i > 0 {
				b = append(b, ' ')
			}
			b = eventtest.AppendQuoted(b, []byte(arg))
		}
		b = append(b, ']')
	}
	return fmt.Sprintf("%s argc=%d", b, argc)
}

// cutArgs are the arguments that n bytes hold, each with the NUL at its end.
func cutArgs(n int, argv ...string) []string {
	text := strings.Join(argv, "\x00") + "\x00"
	return strings.Split(text[:n], "\x00")
}

func repeat(s string, n int) []string { return slices.Repeat([]string{s}, n) }

// TestExecs: each way to execute a program, and to fail, with its arguments.
func TestExecs(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, Events: events(event.ProcExec, event.PathOpen)}, program(t, "execs"), d)
		for _, ev := range s.events {
			if c := ev.Comm[0]; '0' <= c && c <= '9' {
				t.Errorf("%s: the process is called %s", eventtest.Show(ev), ev.Comm)
			}
		}
		self := d + "/self"
		const max, maxFailed = 16384, 12288 // bytes of argv that are recorded
		many := []string{self, "exit", "0"}
		for i := 3; i < 201; i++ {
			many = append(many, fmt.Sprintf("a%d", i))
		}
		lines := strings.Repeat("l", 5999)
		ok := func(path string, argv ...string) []string { return []string{executed(path, len(argv), argv...)} }
		cut := func(argv ...string) []string {
			return []string{executed(self, len(argv), cutArgs(max, argv...)...) + " truncated"}
		}
		failed := func(path, errno string) string { return executed(path, 2, "none", "1") + " error=" + errno }
		compareRows(t, s, []row{
			{"201 arguments", ok(self, many...)},
			{"empty arguments", ok(self, "", "exit", "3", "", "caf\xe9 \n", "")},
			{"an argument too long", cut(self, "exit", "0", strings.Repeat("b", 19999), "a4")},
			{"arguments too long", cut(self, "exit", "0", lines, lines, lines, "last")},
			{"2000 arguments", cut(append([]string{self, "exit", "0"}, repeat("tenletters", 1997)...)...)},
			{"no arguments", ok(self, "")},
			{"relative", ok(self, self, "exit", "0")},
			{"symlink", ok(self, self, "exit", "0")},
			{"script", ok(d+"/script", self, "exit", d+"/script", "exit", "0")},
			{"a script of a script", ok(d+"/chain", self, "exit", d+"/script", d+"/chain", "exit", "0")},
			{"execveat", ok(self, self, "exit", "0")},
			{"execveat, no name", ok(self, self, "exit", "0")},
			{"execveat, a script", ok(d+"/script", self, "exit", "/dev/fd/${dfd}/script", "exit", "0")},
			{"execveat, a script without a name", ok(d+"/script", self, "exit", "/dev/fd/${sfd}", "exit", "0")},
			{"thread fd", ok(self, self, "exit", "0")},
			{"proc fd, a script", ok(d+"/script", self, "exit", "/proc/self/fd/${sfd}", "exit", "0")},
			{"own exe", ok("${exe}", self, "exit", "0")},
			{"memfd", ok("/memfd:code", self, "exit", "0")},
			{"a removed file", []string{executed(d+"/gone", 3, self, "exit", "0") + " deleted"}},
			{"a descriptor that is none", []string{failed("/dev/fd/777", "ENOENT")}},
			{"execveat, EACCES, no name", []string{failed(d+"/plain", "EACCES")}},
			{"proc fd, EACCES", []string{failed(d+"/plain", "EACCES")}},
			{"dev fd, ENOENT below it", []string{failed(d+"/none", "ENOENT")}},

			{"ENOENT", []string{failed(d+"/none", "ENOENT")}},
			{"ENOENT, execveat", []string{failed(d+"/none", "ENOENT")}},
			{"ENOENT, relative", []string{failed(d+"/sub/none", "ENOENT")}},
			{"EACCES", []string{failed(d+"/plain", "EACCES")}},
			{"EACCES, a directory", []string{failed(d+"/sub", "EACCES")}},
			{"ENOEXEC", []string{failed(d+"/text", "ENOEXEC")}},
			{"ENOENT, interpreter", []string{failed(d+"/lost", "ENOENT")}},
			{"EFAULT", []string{"proc_exec argv=[none 1] argc=2 error=EFAULT truncated"}},
			{"EFAULT, argv", []string{"proc_exec path=" + d + "/self argv=[] argc=0 error=EFAULT"}},
			{"ENOENT, no arguments", []string{"proc_exec path=" + d + "/none argv=[] argc=0 error=ENOENT"}},
			{"ENOENT, arguments too long", []string{
				executed(d+"/none", 6, "none", "exit", "0", lines[:4095]) + " error=ENOENT truncated",
			}},
			{"ENOENT, 2000 arguments", []string{
				executed(d+"/none", 2000, append([]string{"none", "exit", "0"}, repeat("tenletters", (maxFailed-12)/11)...)...) +
					" error=ENOENT truncated",
			}},
			{"search", []string{
				executed(d+"/none/self", 3, "self", "exit", "0") + " error=ENOENT",
				executed(d+"/sub/self", 3, "self", "exit", "0") + " error=EACCES",
				executed(self, 3, "self", "exit", "0"),
			}},
			{"search in vain", []string{
				failed(d+"/none/nowhere", "ENOENT"), failed(d+"/sub/nowhere", "ENOENT"), failed(d+"/nowhere", "ENOENT"),
			}},
		})
	})
}
