//go:build slow

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// buildAll builds viv's programs, without the race detector.
func buildAll(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+"/", "../...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// pipe runs a program with that input. Exit status 3 is well, too.
func pipe(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	var msg bytes.Buffer
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("%s: %v, %s", cmd, err, &msg)
	}
	return out
}

// TestHourWithoutReceiver feeds an hour of 10,000 events a second while nobody
// takes them: the memory stays bounded, and every span is accounted for.
func TestHourWithoutReceiver(t *testing.T) {
	bin := buildAll(t)
	cmd := exec.Command(bin+"/viv-otlp", "--deadline", "5s", "http://127.0.0.1:1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var msg bytes.Buffer
	cmd.Stderr = &msg
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const spansEach, eventsEach, rounds = 10_000, 3, 1200 // 36,000,000 events
	chunk := testStream(spansEach-2, eventsEach)
	for range rounds {
		if _, err := in.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	cmd.Wait()
	said := fmt.Sprintf("%d spans were not delivered", spansEach*rounds)
	if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(msg.String(), said) {
		t.Errorf("status %d, %s", cmd.ProcessState.ExitCode(), &msg)
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
	t.Logf("at most %d MB of memory, %v of CPU", peak/1e6, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if peak > 100_000_000 {
		t.Errorf("%d bytes of memory", peak)
	}
}

// TestUnitRuns runs what the systemd unit starts as the unit says: as another
// user, with its capabilities, and with those of viv-probe alone.
func TestUnitRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user with capabilities")
	}
	bin := buildAll(t)
	state, err := os.MkdirTemp("", "viv-unit") // under no directory that is root's alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(state)
	if out, err := exec.Command("sh", "-c", `chmod 755 "$0" && cp "$1"/* "$0" && mkdir -m 700 "$0/state" && chown nobody "$0/state"`, state, bin).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	unit := strings.ReplaceAll(readFile(t, "../../deploy/viv@.service"), "\\\n", "")
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatalf("the unit has no %s", name)
		}
		return m[1]
	}
	target := exec.Command("sh", "-c", "while :; do cat /etc/hostname; sleep 0.1; done")
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { target.Process.Kill(); target.Wait() }()

	caps := strings.ReplaceAll(strings.ToLower(setting("AmbientCapabilities")), "cap_", "+")
	caps = "-all," + strings.ReplaceAll(caps, " ", ",")
	command := strings.ReplaceAll(setting("ExecStart"), "$$", "$")
	command = regexp.MustCompile(`\$\(systemctl [^)]*\)`).ReplaceAllString(command, strconv.Itoa(target.Process.Pid))
	c := startCollector(t, collectorConfig)
	sh := exec.Command("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps="+caps, "--ambient-caps="+caps, "--bounding-set="+caps,
		"--no-new-privs", "sh", "-c", "exec "+command)
	sh.Env = []string{"PATH=" + state + ":/usr/bin:/bin:/usr/sbin:/sbin", "STATE_DIRECTORY=" + state + "/state", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.http}
	var msg said
	sh.Stderr = &msg
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if sh.ProcessState == nil {
			syscall.Kill(-sh.Process.Pid, syscall.SIGKILL)
			sh.Wait()
		}
	}()
	until(t, func() bool {
		logs, _ := os.ReadFile(c.dir + "/logs.jsonl")
		return bytes.Contains(logs, []byte("/etc/hostname"))
	}, msg.String)
	eff := map[string]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, name := range stats {
		b, _ := os.ReadFile(name)
		exe, _ := os.Readlink(filepath.Dir(name) + "/exe")
		if m := regexp.MustCompile(`(?s)Uid:\s(\d+).*CapEff:\s(\w+)`).FindSubmatch(b); m != nil && filepath.Dir(exe) == state {
			eff[filepath.Base(exe)] = string(m[1]) + " " + string(m[2])
		}
	}
	// 39 and 38 are CAP_BPF and CAP_PERFMON, 19 CAP_SYS_PTRACE, 2
	// CAP_DAC_READ_SEARCH, 40 CAP_CHECKPOINT_RESTORE.
	want := map[string]string{"viv-probe": "65534 000001c000080004", "viv-spans": "65534 0000000000000000", "viv-otlp": "65534 0000000000000000"}
	if d := cmp.Diff(want, eff); d != "" {
		t.Errorf("users and capabilities (-want +got):\n%s\n%s", d, &msg)
	}
	syscall.Kill(-sh.Process.Pid, syscall.SIGTERM) // as systemd ends it
	if err := sh.Wait(); err != nil && sh.ProcessState.ExitCode() != 3 {
		t.Errorf("%v, %s", err, &msg)
	}
	c.stop()
	if !strings.Contains(readFile(t, c.dir+"/traces.jsonl"), `"vivarium session"`) {
		t.Errorf("no span of the session, %s", &msg)
	}
}
