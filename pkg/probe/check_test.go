package probe

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

const checkChild = "VIV_TEST_CHECK"

// TestCheckChild is no test but the process that TestCheck starts.
func TestCheckChild(t *testing.T) {
	if os.Getenv(checkChild) == "" {
		t.Skip("only TestCheck runs it, with few capabilities")
	}
	list, err := Check(Options{Hooks: Hooks(os.Getenv(checkChild)), Events: allEvents(), BufferSize: 1 << 16, Spans: Spans{Markers: true}})
	if err != nil {
		fmt.Printf("error: %v\n", err)
	}
	if err := WriteStatus(os.Stdout, list); err != nil {
		t.Fatal(err)
	}
}

// checkWith runs Check as nobody with these capabilities, and returns the lines
// of its table by event, and its error.
func checkWith(t *testing.T, hooks Hooks, caps ...uintptr) (rows map[string]string, failed string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestCheckChild$")
	cmd.Env = append(os.Environ(), checkChild+"="+string(hooks))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: caps,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows = map[string]string{}
	for line := range bytes.Lines(out) {
		text := strings.TrimRight(string(line), " \n")
		if f, ok := strings.CutPrefix(text, "error: "); ok {
			failed = f
		}
		if name, rest, ok := strings.Cut(text, " "); ok && event.Lookup([]byte(name)) != nil {
			rows[name] = strings.TrimSpace(rest)
		}
	}
	return rows, failed
}

// TestCheck: with the capabilities that the table names every event is live,
// but for what the kernel lacks; with one fewer the error names it.
func TestCheck(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		rows, failed := checkWith(t, hooks, unix.CAP_BPF, unix.CAP_PERFMON)
		if failed != "" {
			t.Fatal(failed)
		}
		for _, id := range Recordable() {
			name := event.Kinds[id].Name
			t.Run(name, func(t *testing.T) {
				row := rows[name]
				if id == event.CapableCheck && strings.HasSuffix(row, "the kernel has no tracepoint cap_capable") {
					t.Skip("the kernel has no tracepoint cap_capable")
				}
				if !strings.HasPrefix(row, "yes ") || !strings.Contains(row, Capabilities(id)) {
					t.Errorf("not live: %q", row)
				}
				if lsmHook := hasLSMHook(id); hooks == HooksLSM && lsmHook != strings.Contains(row, "lsm:") {
					t.Errorf("an LSM hook: %v, but: %q", lsmHook, row)
				}
			})
		}
	})
	for _, r := range []struct {
		missing string
		have    []uintptr
	}{
		{"CAP_BPF", []uintptr{unix.CAP_PERFMON}},
		{"CAP_PERFMON", []uintptr{unix.CAP_BPF}},
		{"CAP_BPF", nil},
	} {
		t.Run(fmt.Sprintf("without %s, with %d", r.missing, len(r.have)), func(t *testing.T) {
			needRoot(t)
			_, failed := checkWith(t, HooksAuto, r.have...)
			if !strings.HasPrefix(failed, "missing privilege: "+r.missing+" ") || strings.Contains(failed, "\n") {
				t.Errorf("the error is %q", failed)
			}
		})
	}
}

func hasLSMHook(id event.ID) bool {
	for _, h := range hooks {
		if h.event == id && h.backend == lsm {
			return true
		}
	}
	return false
}
