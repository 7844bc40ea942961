package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/stream"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestKilledAtAnyMoment kills viv-probe, what it watches, or who reads it, at
// random moments of short runs. Each time all that is left ends in good order:
// no process stays, no BPF program, the watched program goes on unless it was
// the one to be killed, and the stream reads back.
func TestKilledAtAnyMoment(t *testing.T) {
	needRoot(t)
	runs := 200
	if testing.Short() {
		runs = 40
	}
	stages := buildStages(t)
	kinds := []func(*killing){
		(*killing).interruptProbe, (*killing).killProbe, (*killing).killCommand, (*killing).leaveReading,
		(*killing).interruptProbeOfProcess, (*killing).killProbeOfProcess, (*killing).killProcess,
	}
	if stages != "" {
		kinds = append(kinds, (*killing).killSpans, (*killing).killTree)
	}
	busy := program(t, "busy")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	const workers = 6
	one := &killing{t: t, busy: busy, file: filepath.Join(t.TempDir(), "whole")}
	begin := time.Now()
	p := one.probe(one.ofCommand()...)
	one.start(p.Cmd)
	one.expect("none", p, one.wait(p.Cmd), map[int][]string{0: {done}}, true)
	span := min(2*time.Since(begin), time.Second) // they share the CPUs
	t.Logf("a run of its own takes %v", time.Since(begin))

	next := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var programs []ebpf.ProgramID
	outcomes := map[string]int{}
	for range workers {
		wg.Go(func() {
			for i := range next {
				k := &killing{
					t: t, i: i, busy: busy, stages: stages, span: span, file: filepath.Join(t.TempDir(), strconv.Itoa(i)),
					random: rand.New(rand.NewPCG(seed, uint64(i))),
				}
				kinds[i%len(kinds)](k)
				k.waitForAll()
				mu.Lock()
				programs = append(programs, k.programs...)
				outcomes[k.outcome]++
				mu.Unlock()
			}
		})
	}
	for i := range runs {
		next <- i
	}
	close(next)
	wg.Wait()
	t.Logf("%d BPF programs were seen", len(programs))
	for what, n := range outcomes {
		t.Logf("%4d %s", n, what)
	}
	eventually(t, "all BPF programs are gone", func() bool {
		programs = slices.DeleteFunc(programs, func(id ebpf.ProgramID) bool {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				p.Close()
			}
			return errors.Is(err, os.ErrNotExist)
		})
		return len(programs) == 0
	})
}

// buildStages builds the programs behind viv-probe, into a directory; none
// where there is no Go.
func buildStages(t *testing.T) string {
	if os.Getenv("VIV_TEST_PROGRAMS") != "" {
		return ""
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "../viv-spans", "../viv-tree").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// killing is one of the runs.
type killing struct {
	t            *testing.T
	i            int
	busy, stages string
	file         string        // what the watched program says
	span         time.Duration // in which to kill
	random       *rand.Rand
	programs     []ebpf.ProgramID
	outcome      string
}

const lifetime = 150 * time.Millisecond // of a command

func (k *killing) errorf(format string, args ...any) {
	k.t.Helper()
	k.t.Errorf("run %d: %s", k.i, fmt.Sprintf(format, args...))
}

// mark is in the environment of all processes of the run.
func (k *killing) mark() string { return fmt.Sprintf("VIV_KILLED=%d.%d", os.Getpid(), k.i) }

func (k *killing) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), k.mark())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, no one else's signals
	return cmd
}

// probeRun is a viv-probe whose stream is read.
type probeRun struct {
	*exec.Cmd
	k      *killing
	stdout growing
	stderr bytes.Buffer
}

// begun says whether there is a stream, or, where another reads it, a program
// that makes one.
func (p *probeRun) begun() bool {
	return p.stdout.String() != "" || p.Stdout != &p.stdout && p.k.said() != ""
}

// growing is a buffer that can be looked at while it grows.
type growing struct {
	mu sync.Mutex
	b  []byte
}

func (g *growing) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.b = append(g.b, b...)
	return len(b), nil
}

func (g *growing) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return string(g.b)
}

func (k *killing) probe(args ...string) *probeRun {
	p := &probeRun{k: k, Cmd: k.command(append([]string{viv, "-e", "path_open"}, args...)...)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	return p
}

func (k *killing) ofCommand() []string {
	return []string{"--", k.busy, k.file, ms(lifetime)}
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// process starts the busy program by itself, to be watched in its midst. It
// goes on until it is told to end.
func (k *killing) process() (cmd *exec.Cmd, end func() (status int)) {
	cmd = k.command(k.busy, k.file, "0")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		k.errorf("%v", err)
	}
	k.start(cmd)
	return cmd, func() int {
		stdin.Close()
		return k.wait(cmd)
	}
}

func (k *killing) start(cmd *exec.Cmd) {
	if err := cmd.Start(); err != nil {
		k.errorf("%v", err)
	}
}

// sleep waits for the moment: any, or one when there is something to be lost.
func (k *killing) sleep(p *probeRun) {
	span := k.span
	if k.random.IntN(2) == 0 {
		for end := time.Now().Add(20 * time.Second); !p.begun() && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		span = 2 * lifetime
	}
	time.Sleep(time.Duration(k.random.Int64N(int64(span))))
}

// note remembers the BPF programs that the process holds now.
func (k *killing) note(pid int) {
	list, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, name := range list {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if id, ok := strings.CutPrefix(line, "prog_id:"); ok {
				n, err := strconv.ParseUint(strings.TrimSpace(id), 10, 32)
				if err != nil {
					k.errorf("%s: %v", name, err)
				}
				k.programs = append(k.programs, ebpf.ProgramID(n))
			}
		}
	}
}

// kill sends the process a signal at a random moment.
func (k *killing) kill(p *probeRun, pid int, sig syscall.Signal) {
	k.sleep(p)
	k.note(p.Process.Pid)
	// It may have ended by itself.
	if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		k.errorf("kill: %v", err)
	}
}

func (k *killing) oneOf(sigs ...syscall.Signal) syscall.Signal { return sigs[k.random.IntN(len(sigs))] }

// wait waits for a process, which must not take long.
func (k *killing) wait(cmd *exec.Cmd) int {
	stuck := time.AfterFunc(30*time.Second, func() {
		stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stack", cmd.Process.Pid))
		k.errorf("%q is stuck:\n%s", cmd.Args, stack)
		cmd.Process.Kill()
	})
	defer stuck.Stop()
	cmd.Wait() // its error is in the state, too
	return status(cmd.ProcessState)
}

// said is what the watched program says.
func (k *killing) said() string {
	b, _ := os.ReadFile(k.file)
	return string(b)
}

const begun, done = "begun\n", "begun\ndone\n"

// expect checks a status and what the watched program says against those that
// are possible together, and the stream that was read.
func (k *killing) expect(what string, p *probeRun, status int, possible map[int][]string, clean bool) {
	k.t.Helper()
	said := k.said()
	if status == 3 && strings.Contains(p.stderr.String(), "events were lost") {
		status = 0 // it did what it could
	}
	k.outcome = fmt.Sprintf("%s: status %d, the program said %q, ", what, status, strings.ReplaceAll(said, "\n", " "))
	if !slices.Contains(possible[status], said) {
		k.errorf("%s; stderr: %s", k.outcome, p.stderr.String())
	}
	raw := p.stdout.String()
	if raw == "" {
		k.outcome += "no stream"
		return
	}
	s := readBack(k.t, raw)
	switch {
	case s.err == io.EOF:
		k.outcome += "whole stream"
	case errors.Is(s.err, stream.ErrIncomplete) && !clean:
		k.outcome += "cut stream"
	default:
		k.errorf("%s; the stream of %d bytes: %v", k.outcome, len(raw), s.err)
	}
}

func (k *killing) interruptProbe() {
	p := k.probe(k.ofCommand()...)
	sig := k.oneOf(unix.SIGINT, unix.SIGTERM)
	k.start(p.Cmd)
	k.kill(p, p.Process.Pid, sig)
	k.expect("INT or TERM to viv-probe", p, k.wait(p.Cmd), map[int][]string{
		128 + int(sig): {"", begun, done}, // before the command ran, or it got the signal
		0:              {done},
	}, true)
}

func (k *killing) killProbe() {
	p := k.probe(k.ofCommand()...)
	k.start(p.Cmd)
	k.kill(p, p.Process.Pid, unix.SIGKILL)
	status := k.wait(p.Cmd)
	k.waitForAll()
	k.expect("KILL to viv-probe", p, status, map[int][]string{
		128 + 9: {"", done}, // the command never ran, or it ran on
		0:       {done},
	}, false)
}

func (k *killing) killCommand() {
	p := k.probe(k.ofCommand()...)
	k.start(p.Cmd)
	k.sleep(p)
	k.note(p.Process.Pid)
	// Its child is the command, or will be.
	sig := k.oneOf(unix.SIGKILL, unix.SIGTERM)
	for _, pid := range children(p.Process.Pid) {
		unix.Kill(pid, sig)
	}
	k.expect("KILL or TERM to the command", p, k.wait(p.Cmd), map[int][]string{
		128 + int(sig): {"", begun, done},
		125:            {""}, // it was not the command yet
		0:              {done},
	}, true)
}

func (k *killing) leaveReading() {
	p := k.probe(k.ofCommand()...)
	r, w, err := os.Pipe()
	if err != nil {
		k.errorf("%v", err)
		return
	}
	p.Stdout = w
	k.start(p.Cmd)
	w.Close()
	n := k.random.IntN(100_000)
	io.CopyN(io.Discard, r, int64(n))
	k.note(p.Process.Pid)
	r.Close()
	k.expect("the reader goes away", p, k.wait(p.Cmd), map[int][]string{0: {done}}, true)
}

func (k *killing) interruptProbeOfProcess() {
	target, end := k.process()
	p := k.probe("-p", strconv.Itoa(target.Process.Pid))
	k.start(p.Cmd)
	sig := k.oneOf(unix.SIGINT, unix.SIGTERM)
	k.kill(p, p.Process.Pid, sig)
	status := k.wait(p.Cmd)
	if got := end(); got != 0 {
		k.errorf("the process ended with %d", got)
	}
	k.expect("INT or TERM to viv-probe -p", p, status, map[int][]string{0: {done}, 128 + int(sig): {done}}, true)
}

func (k *killing) killProbeOfProcess() {
	target, end := k.process()
	p := k.probe("-p", strconv.Itoa(target.Process.Pid))
	k.start(p.Cmd)
	k.kill(p, p.Process.Pid, unix.SIGKILL)
	status := k.wait(p.Cmd)
	if got := end(); got != 0 {
		k.errorf("the process ended with %d", got)
	}
	k.expect("KILL to viv-probe -p", p, status, map[int][]string{128 + 9: {done}, 0: {done}}, false)
}

func (k *killing) killProcess() {
	target, end := k.process()
	p := k.probe("-p", strconv.Itoa(target.Process.Pid))
	k.start(p.Cmd)
	k.kill(p, target.Process.Pid, unix.SIGKILL)
	end()
	// 1: it was gone before it was found.
	k.expect("KILL to the process", p, k.wait(p.Cmd), map[int][]string{0: {"", begun, done}, 1: {"", begun, done}}, true)
}

func (k *killing) killSpans() { k.killStage("viv-spans") }
func (k *killing) killTree()  { k.killStage("viv-tree") }

func (k *killing) killStage(name string) {
	p := k.probe(k.ofCommand()...)
	spans, tree := k.command(k.stages+"/viv-spans"), k.command(k.stages+"/viv-tree")
	var shown bytes.Buffer
	tree.Stdout = &shown
	connect := func(from, to *exec.Cmd) (both []*os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			k.errorf("%v", err)
		}
		from.Stdout, to.Stdin = w, r
		return []*os.File{r, w}
	}
	pipes := append(connect(p.Cmd, spans), connect(spans, tree)...)
	for _, cmd := range []*exec.Cmd{tree, spans, p.Cmd} {
		k.start(cmd)
	}
	for _, f := range pipes {
		f.Close()
	}
	stage := tree
	if name == "viv-spans" {
		stage = spans
	}
	k.kill(p, stage.Process.Pid, unix.SIGKILL)
	status := k.wait(p.Cmd)
	k.wait(spans)
	k.wait(tree)
	k.expect("KILL to "+name, p, status, map[int][]string{0: {done}}, true)
}

// waitForAll waits until no process of the run is left.
func (k *killing) waitForAll() {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := ""
		list, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, name := range list {
			if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(k.mark()+"\x00")) {
				left = filepath.Dir(name)
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(end) {
			cmdline, _ := os.ReadFile(left + "/cmdline")
			k.errorf("%s stays: %q", left, cmdline)
			return
		}
	}
}
