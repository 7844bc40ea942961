package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asUser runs a shell script where there is a user `tester` with two more
// groups and a home, who may do all through sudo, and nobody else: in a mount
// namespace of its own.
func asUser(t *testing.T, script string) outcome {
	t.Helper()
	d := t.TempDir()
	for name, text := range map[string]string{
		"passwd":  "root:*:0:0:root:/root:/bin/sh\ntester:*:4242:4343:Tester:/home/of/tester:/bin/sh\n",
		"group":   "root:x:0:\ntesters:x:4343:\nmore:x:5000:tester,root\nothers:x:5001:root\nyet:x:5002:tester\n",
		"sudoers": "root ALL=(ALL) NOPASSWD: ALL\ntester ALL=(ALL) NOPASSWD: ALL\n",
	} {
		mode := os.FileMode(0o644)
		if name == "sudoers" {
			mode = 0o440
		}
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("D", d)
	t.Setenv("VIV", viv)
	t.Setenv("HOME", "/root")
	return run(t, tool(t, "unshare"), "-m", "sh", "-ec", `
		mount --make-rprivate /
		for f in passwd group sudoers; do [ ! -e /etc/$f ] || mount --bind $D/$f /etc/$f; done
		cd /
		`+script)
}

const whoAmI = `'id -u; id -g; id -G; echo $HOME $USER $LOGNAME; grep ^CapEff /proc/self/status'`

const tester = "4242\n4343\n4343 5000 5002\n/home/of/tester tester tester\nCapEff:\t0000000000000000\n"

// TestUser: the command runs as the named user, with all that belongs to it.
func TestUser(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"tester", "4242"} {
		got := asUser(t, `$VIV --user `+name+` -e proc_exec -o $D/f.viv -- sh -c `+whoAmI)
		if got.status != 0 || got.stdout != tester || got.stderr != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	got := asUser(t, `$VIV --user root -e proc_exec -o $D/f.viv -- sh -c 'id -u; echo $HOME'`)
	if got.status != 0 || got.stdout != "0\n/root\n" {
		t.Errorf("root: %+v", got)
	}
	// What only root may execute is not the user's.
	got = asUser(t, `echo '#!/bin/sh' >$D/p; chmod 700 $D/p; chmod 755 $D $D/..; $VIV --user tester -e proc_exec -o $D/f.viv -- $D/p`)
	if got.status != 126 || !strings.Contains(got.stderr, "/p: permission denied\n") {
		t.Errorf("a program of root's: %+v", got)
	}
}

// TestSudo: under sudo the command runs as the one who called it.
func TestSudo(t *testing.T) {
	needRoot(t)
	tool(t, "sudo")
	const call = `setpriv --reuid 4242 --regid 4343 --init-groups env HOME=/home/of/tester sudo -n $VIV -e proc_exec -o $D/f.viv `
	got := asUser(t, call+`-- sh -c `+whoAmI)
	if got.status != 0 || got.stdout != tester {
		t.Errorf("%+v", got)
	}
	got = asUser(t, call+`--user root -- id -u`)
	if got.status != 0 || got.stdout != "0\n" {
		t.Errorf("--user root: %+v", got)
	}
	// root calling sudo stays root.
	got = asUser(t, `sudo -n $VIV -e proc_exec -o $D/f.viv -- id -u`)
	if got.status != 0 || got.stdout != "0\n" {
		t.Errorf("by root: %+v", got)
	}
}

// TestPrivileges: the capabilities that it needs are enough, and one line
// names a missing one.
func TestPrivileges(t *testing.T) {
	needRoot(t)
	const (
		sysAdmin = "21"
		perfmon  = "38"
		bpf      = "39"
		other    = "0"
	)
	const needBPF, needPerfmon = "CAP_BPF to load BPF programs", "CAP_PERFMON to attach them"
	for _, c := range []struct{ caps, missing string }{
		{perfmon + "," + bpf, ""},
		{sysAdmin, ""},
		{perfmon, needBPF},
		{bpf, needPerfmon},
		{other, needBPF + ", " + needPerfmon},
	} {
		got := run(t, program(t, "caps"), c.caps, viv, "-e", "path_open,proc_exec,dns_req", "--", program(t, "loop"), "1", "/etc/passwd")
		if c.missing == "" {
			s := whole(t, got.stdout)
			if got.status != 0 || got.stderr != "" || len(s.events) != 3 || len(s.session.Missing) != 0 {
				t.Errorf("%+v: status %d, %q, %d events, missing: %v", c, got.status, got.stderr, len(s.events), s.session.Missing)
			}
			continue
		}
		if want := "viv-probe: missing privilege: " + c.missing + " (run it as root)\n"; got.status != 125 || got.stderr != want {
			t.Errorf("%+v: status %d, stderr %q", c, got.status, got.stderr)
		}
		got = run(t, program(t, "caps"), c.caps, viv, "-p", "1")
		if got.status != 1 || !strings.Contains(got.stderr, c.missing) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%+v: -p: status %d, stderr %q", c, got.status, got.stderr)
		}
	}
}

// TestUnseen: libraries of a process that cannot be looked into are said, with
// the capabilities that it takes, in the stream too, and the exit status is 3; what
// the kernel tells is recorded.
func TestUnseen(t *testing.T) {
	needRoot(t)
	d := t.TempDir()
	for _, dir := range []string{d, filepath.Dir(d)} { // others get there, too
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sleep := filepath.Join(d, "sleep")
	for _, name := range []string{sleep, sleep + ".new"} {
		b, err := os.ReadFile(tool(t, "sleep"))
		if err == nil {
			err = os.WriteFile(name, b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	target := exec.Command(sleep, "600")
	target.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4242, Gid: 4242}}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Process.Kill(); target.Wait() })
	if err := os.Rename(sleep+".new", sleep); err != nil {
		t.Fatal(err)
	}
	const bpf = "38,39"
	for _, c := range []struct{ caps, missing string }{
		{bpf, "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_CHECKPOINT_RESTORE"},
		{bpf + ",2,19", "CAP_CHECKPOINT_RESTORE"},
		{bpf + ",2,19,40", ""},
	} {
		got := run(t, program(t, "caps"), c.caps, viv, "-p", strconv.Itoa(target.Process.Pid), "-e", "env_caccess", "--duration", "300ms")
		// What is mapped is told to CAP_PERFMON, too, by some kernels.
		said := regexp.MustCompile(`(?m)^viv-probe: not attached: process \d+: (calls|probes) in .+ are not seen: .* \(missing: (.*?)\)`).FindAllStringSubmatch(got.stderr, -1)
		if c.missing == "" {
			if got.status != 0 || got.stderr != "" {
				t.Errorf("capabilities %s: status %d, %s", c.caps, got.status, got.stderr)
			}
		} else if got.status != 3 || len(said) != 2 || said[0][1] == said[1][1] || said[0][2] != c.missing || said[1][2] != c.missing {
			t.Errorf("capabilities %s: status %d, %s", c.caps, got.status, got.stderr)
		} else if !strings.Contains(got.stdout, " are not seen: ") || !strings.Contains(got.stdout, "(missing: "+c.missing) {
			t.Errorf("capabilities %s: the stream does not say what is missing", c.caps)
		}
	}
}

// TestOwnPIDNamespace: a viv-probe that knows its processes by other ids than
// the rest of the system finds them, and reports those that are known there: of a
// command and of a process that runs already, with what it runs.
func TestOwnPIDNamespace(t *testing.T) {
	needRoot(t)
	d := t.TempDir()
	got := run(t, tool(t, "unshare"), "-p", "-f", "--mount-proc", "sh", "-c", `
		"$1" -e proc_exec -o "$2/command" -- sh -c 'echo $$; exec "$@"' sh "$3" 1 /etc/passwd || exit
		{ until test -e "$2/go"; do :; done; exec "$3" 1 /etc/passwd; } & pid=$!; echo $pid
		"$1" -e proc_exec -p $pid -o "$2/running" & probe=$!
		until test -s "$2/running"; do sleep 0.1; done
		: >"$2/go"; wait $probe`, "sh", viv, d, program(t, "loop"))
	pids := strings.Fields(got.stdout)
	if got.status != 0 || len(pids) != 2 {
		t.Fatalf("%+v", got)
	}
	for i, name := range []string{"command", "running"} {
		s := wholeFile(t, filepath.Join(d, name))
		n := 0
		for _, ev := range s.events {
			if ev.kind == "proc_exec" && strconv.Itoa(int(ev.pid)) == pids[i] {
				n++
			}
		}
		if strconv.Itoa(int(s.session.MainTID)) != pids[i] || n != len(s.events)-1 || n == 0 {
			t.Errorf("%s: process %s: %+v", name, pids[i], s)
		}
		if p := s.session.Processes; name == "running" && (len(p) != 1 || strconv.Itoa(int(p[0].PID)) != pids[i]) {
			t.Errorf("process %s runs %+v", pids[i], p)
		}
	}
}

// TestPIDNamespaceSpans: in a pid namespace of its own viv-probe finds the
// probes of what the command executes, and raises their semaphores.
func TestPIDNamespaceSpans(t *testing.T) {
	needRoot(t)
	d := t.TempDir()
	out, stop := filepath.Join(d, "out"), filepath.Join(d, "stop")
	ended := make(chan struct{})
	go func() { // the program runs again and again until it was seen in time
		defer os.WriteFile(stop, nil, 0o600)
		for {
			if b, err := os.ReadFile(out); err == nil && bytes.Contains(b, []byte("Thread#run")) {
				return
			}
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	got := run(t, tool(t, "unshare"), "-p", "-f", "--mount-proc", viv, "-e", "span_start", "--spans", "usdt:own:enter:leave@1/2#3/4", "-o", out, "--",
		"sh", "-c", `until test -e "$1/stop"; do sleep 0.1 | "$0" "$1" wait; done; true`, program(t, "usdt"), d)
	close(ended)
	if got.status != 0 || got.stderr != "" {
		t.Fatalf("status %d: %s", got.status, got.stderr)
	}
	seen := map[string]bool{}
	for _, ev := range wholeFile(t, out).events {
		if ev.kind == "span_start" {
			seen[ev.text] = true
		}
	}
	if want := map[string]bool{"Child#work": true, "Class#method": true, "Other#x": true, "Thread#run": true}; !maps.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
}

// TestPastHooks: what goes past the hooks makes a recording incomplete, and is not
// said to be the buffer's fault.
func TestPastHooks(t *testing.T) {
	needRoot(t)
	got := run(t, viv, "-e", "proc_exec", "-o", filepath.Join(t.TempDir(), "f.viv"), "--", program(t, "ways"), t.TempDir())
	if got.status != 3 || !strings.Contains(got.stderr, " went past the hooks, ") || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("status %d, stderr %q", got.status, got.stderr)
	}
}
