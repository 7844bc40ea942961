package probe

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"vivarium/pkg/event"

	"github.com/google/go-cmp/cmp"
)

//go:generate go test -run ^TestReference$ -count=1 . -write

var writeReference = flag.Bool("write", false, "write docs/events.md")

// TestReference: docs/events.md says what the catalogue and the hooks are.
func TestReference(t *testing.T) {
	const name = "../../docs/events.md"
	want := reference()
	if *writeReference {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(have)); diff != "" {
		t.Errorf("docs/events.md is not what make generate writes:\n%s", diff)
	}
}

const referenceHead = `# Events

Made by ` + "`make generate`" + ` from the catalogue (pkg/event) and the hooks (pkg/probe).

Every event has, beside its own fields, ` + "`ktime_ns`" + ` (CLOCK_MONOTONIC, ns), ` + "`pid`, `tid`" + ` (as viv-probe's own pid
namespace has them, as ps shows them there; on a host also of a program in a container), ` + "`uid` and `gid`" + ` (as the root
user namespace has them), ` + "`comm`" + `, and its trace and span ids. ` + "`error`" + ` is the name of the errno of a call that
failed. ` + "`truncated`" + ` says that a value was cut: paths at 4,096 bytes (the end is kept), arguments at 16,384.
Paths are whole, as the program itself sees them; one that does not lead to its root begins with ` + "`(unreachable)`" + `.

` + "`outcome`: `unknown`" + ` is an event that an LSM hook saw outside a system call that is followed; a call that a seccomp filter or
a tracer answered as done in the kernel's place; one that a signal interrupted and that the program never came back to; and
one whose descriptor another thread can have exchanged, so that its object is not certain. A call that is interrupted and done
again is one event, with what the program saw in the end.

` + "`root`" + ` is the root directory of a thread that has another one than viv-probe, as viv-probe sees it: the file outside is ` + "`root`" + `
and ` + "`path`" + ` together. viv-filter matches both, with the path of the program and with that. ` + "`deleted`" + ` says that the name in
` + "`path`" + ` had been removed from the file before; another file may have it.

All events need Linux 6.1 or newer with BTF, CAP_BPF and CAP_PERFMON; what differs is said below. ` + "`viv-probe --check`" + `
prints what is live on a machine, from which hooks, and why the rest is not.

With BPF LSM the object of an event is the one that the kernel acted on. Without it, names are as the program gave
them (made whole, but with symbolic links, ` + "`.` and `..`" + ` in them), read when the call begins; another thread can
change such a string between that and the kernel's own look at it. Opened, mapped and executed files are not affected.

## What is not seen

- **io_uring**: without BPF LSM what a program does by io_uring is not seen. That it uses it is said once per process, as
  a loss. With BPF LSM its opens, connects, removals, renames and links are seen with an unknown outcome.
- **32-bit system calls**, also of a 64-bit program (` + "`int $0x80`" + `): the same.
- With BPF LSM ` + "`capable_check`" + ` shows what was granted; the tracepoint also shows what was refused. A process id that a
  program in a pid namespace below viv-probe's gives is looked up there from Linux 6.14 on; before, a failed call has no
  ` + "`target_pid`" + `, and a process outside viv-probe's has none.
- ` + "`mprotect`" + ` over several files shows the first.
- A root on a file system that viv-probe's mounts do not lead to, as a container's, is ` + "`(unreachable)`" + `.
- ` + "`proc_exec`" + ` has the file that runs, but of a script what it was called, made whole: a symbolic link stays in it.
- Without BPF LSM an opened file is that of the descriptor. If another thread can exchange it and the file there has other
  descriptors, the name that the program gave is shown instead, with an unknown outcome; a file that was opened only to be put
  there is not told apart. If the address of a connect and the socket's peer differ, both are shown, with an unknown outcome.
- After the first filter of seccomp's in a recording a few calls can pass before viv sees which calls it answers: their
  outcome is unknown, where no LSM hook saw them.
- Of what is sent to port 53 at once 4,096 bytes and 64 questions are looked at; that there is more is said by a ` + "`dns_req`" + ` that
  is ` + "`truncated`" + `.
- Datagrams of a socket that is not connected are seen only if they are DNS questions, and a module that is loaded from
  memory (` + "`init_module`" + `) has no file to be seen.

## Ways around a hook

What is reported of each way that is known. TestWays goes them on every kernel, with LSM hooks and without.

| way | what is reported |
|---|---|
`

// hookText says what an event of one backend comes from.
func hookText(id event.ID, use backend) string {
	var list []string
	add := func(s string) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, h := range hooks {
		later := h.backend == lsmLater && use == lsm
		if h.event != id || h.backend != both && h.backend != use && !later {
			continue
		}
		if h.calls == nil {
			kind, name, _ := strings.Cut(h.place, ":")
			text := map[string]string{"btf": "tracepoint ", "lsm": "LSM hook "}[kind] + name
			if later {
				text += " where the kernel has it"
			}
			add(text)
		}
		for _, c := range h.calls {
			add(c.name)
		}
	}
	for _, fn := range libraryFunctions {
		if fn.event == id {
			add("uprobe on " + fn.name)
		}
	}
	if slices.Contains(spanEvents, id) {
		add("markers, USDT probes and functions (see --spans)")
	}
	return strings.Join(list, ", ")
}

func reference() []byte {
	b := []byte(referenceHead)
	for _, w := range ways("") {
		if w.says != "" {
			b = fmt.Appendf(b, "| %s | %s |\n", w.name, w.says)
		}
	}
	types := map[event.Type]string{event.Uint: "integer", event.Int: "signed integer", event.Bool: "true or false", event.Text: "text", event.List: "list of texts"}
	for _, id := range Recordable() {
		k := &event.Kinds[id]
		b = fmt.Appendf(b, "\n## %s\n\n%s Severity: %s. Label in a tree: %s.\n\n| field | type | meaning |\n|---|---|---|\n", k.Name, k.Doc, k.Severity, k.Label)
		ev := &event.Event{Kind: k}
		for i, f := range k.Fields {
			b = fmt.Appendf(b, "| `%s` | %s | %s |\n", f.Name, types[f.Type], f.Doc)
			ev.Fields[i] = example(f)
		}
		b = append(b, '\n')
		if hasLSM(id) {
			b = fmt.Appendf(b, "- With BPF LSM: %s.\n- Without: %s.\n", hookText(id, lsm), hookText(id, floor))
		} else {
			b = fmt.Appendf(b, "- From: %s.\n", hookText(id, both))
		}
		kernel := "6.1"
		if id == event.CapableCheck {
			kernel = "6.1 with BPF LSM; without it one that has the tracepoint capability:cap_capable (6.18 has it, 6.12 has not)"
		}
		needs := strings.ReplaceAll(Capabilities(id), ",", " and ")
		if i := strings.LastIndex(needs, " and CAP_SYS_PTRACE"); i > 0 {
			needs = needs[:i] + ", and CAP_SYS_PTRACE for processes of other users"
		}
		b = fmt.Appendf(b, "- Kernel: Linux %s. Needs %s.\n", kernel, needs)
		b = fmt.Appendf(b, "\n      %s\n", event.AppendText([]byte(k.Label+" "+k.Name+" "), ev))
	}
	return b
}

// example is the value of a field that the catalogue has for it.
func example(f event.Field) event.Value {
	v := event.Value{Type: f.Type}
	switch e := f.Example.(type) {
	case nil:
		return event.Value{}
	case string:
		v.Text = []byte(e)
	case int:
		v.Num = uint64(e)
	case []string:
		for _, s := range e {
			v.List = append(v.List, []byte(s))
		}
	}
	return v
}
