// Bench measures what viv-probe costs the program that it watches and all
// others, beside strace and bpftrace doing the same, and what the stream costs
// viv's own programs. It takes the programs from bin/, as `make bench` leaves
// them there, and prints tables for the README.
//
// Each round runs every way once, one after the other, so that what else the
// machine does falls on all of them; the fastest of a way's rounds counts.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	rounds = flag.Int("rounds", 7, "rounds of which the fastest counts")
	quick  = flag.Bool("quick", false, "a tenth of the turns, to try the benchmark itself")
	only   = flag.String("only", "", "only this part: loops, ring, filters or methods")
)

// The loop stays on this CPU, so that its rounds are alike; who looks on has
// the others too.
const onlyCPU = "0"

const (
	loopBinary = "build/bench-loop"
	capture    = "build/bench.viv"       // what viv-probe wrote
	spans      = "build/bench.spans.viv" // and viv-spans made of it
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("loading BPF programs needs root")
	}
	if err := os.MkdirAll("build", 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("gcc", "-O2", "-Wall", "-o", loopBinary, "bench/testdata/loop.c").CombinedOutput(); err != nil {
		return fmt.Errorf("compile the loop: %w\n%s", err, out)
	}
	// strace and bpftrace would write what they see to a file or a terminal:
	// here it goes nowhere, as viv's stream does.
	if err := mountTracefs(); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE)

	for _, part := range []struct {
		name string
		run  func() error
	}{{"loops", compare}, {"ring", throughput}, {"filters", pipeline}, {"methods", methods}} {
		if *only != "" && *only != part.name {
			continue
		}
		if err := part.run(); err != nil {
			return err
		}
	}
	return nil
}

// mountTracefs gives bpftrace the trace file system where nobody mounted it.
// It stays mounted until the machine ends.
func mountTracefs() error {
	const dir = "/sys/kernel/tracing"
	if _, err := os.Stat(dir + "/events"); err == nil {
		return nil
	}
	return syscall.Mount("tracefs", dir, "tracefs", 0, "")
}

// A way is one row of the comparison: a loop, and who looks on.
type way struct {
	name  string
	loop  string // open or getppid
	turns int
	watch func(loop, other int) ([]*observer, error) // nil: nobody
	base  int                                        // the row that it is compared with

	best  float64 // ns a turn
	notes map[string]bool
}

func compare() error {
	viv := func(pid int) ([]*observer, error) {
		return start(command("bin/viv-probe", "-p", strconv.Itoa(pid)))
	}
	ways := []*way{
		{name: "open and close, bare", loop: "open", turns: 1_000_000, base: 0},
		{name: "viv-probe watches another process", loop: "open", turns: 1_000_000, base: 0,
			watch: func(_, other int) ([]*observer, error) { return viv(other) }},
		{name: "viv-probe records it", loop: "open", turns: 1_000_000, base: 0,
			watch: func(loop, _ int) ([]*observer, error) { return viv(loop) }},
		{name: "viv-probe records it, piped into viv-spans", loop: "open", turns: 1_000_000, base: 0,
			watch: func(loop, _ int) ([]*observer, error) {
				return start(command("bin/viv-probe", "-p", strconv.Itoa(loop)), command("bin/viv-spans"))
			}},
		{name: "bpftrace prints its opens", loop: "open", turns: 50_000, base: 0, watch: bpftrace},
		{name: "strace -f", loop: "open", turns: 50_000, base: 0, watch: strace},
		{name: "getppid, bare", loop: "getppid", turns: 5_000_000, base: 7},
		{name: "viv-probe watches another process", loop: "getppid", turns: 5_000_000, base: 7,
			watch: func(_, other int) ([]*observer, error) { return viv(other) }},
		{name: "viv-probe watches it", loop: "getppid", turns: 5_000_000, base: 7,
			watch: func(loop, _ int) ([]*observer, error) { return viv(loop) }},
	}
	for i, w := range ways {
		if w.watch == nil {
			for _, v := range ways[i:] {
				v.base = i
			}
		}
		w.notes = map[string]bool{}
	}
	for r := range *rounds {
		fmt.Fprintf(os.Stderr, "loops, round %d of %d\n", r+1, *rounds)
		for _, w := range ways {
			ns, err := w.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if w.best == 0 || ns < w.best {
				w.best = ns
			}
		}
	}

	fmt.Printf("\n| what looks on | ns a turn | over bare |  |\n|---|--:|--:|---|\n")
	for _, w := range ways {
		over, notes := "", ""
		if w.watch != nil {
			base := ways[w.base].best
			over = fmt.Sprintf("%+.0f ns (%+.1f %%)", w.best-base, 100*(w.best-base)/base)
		}
		for n := range w.notes {
			notes += n
		}
		fmt.Printf("| %s | %.0f | %s | %s |\n", w.name, w.best, over, notes)
	}
	return nil
}

func (w *way) measure() (nsPerTurn float64, err error) {
	turns := w.turns
	if *quick {
		turns /= 10
	}
	l, err := startLoop(onlyCPU, w.loop, turns)
	if err != nil {
		return 0, err
	}
	defer l.stop()
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		return 0, err
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()

	var watchers []*observer
	if w.watch != nil {
		if watchers, err = w.watch(l.cmd.Process.Pid, other.Process.Pid); err != nil {
			return 0, err
		}
	}
	ns, err := l.round()
	for _, o := range watchers {
		note, stopErr := o.stop()
		if note != "" {
			w.notes[note] = true
		}
		if err == nil {
			err = stopErr
		}
	}
	return float64(ns) / float64(turns), err
}

// throughput measures how fast viv-probe brings records from the ring buffer
// to its output while two loops fill it as fast as they can.
func throughput() error {
	turns := 3_000_000
	if *quick {
		turns /= 10
	}
	const loops = 2
	var wall, cpu time.Duration
	notes := map[string]bool{}
	for r := range *rounds {
		fmt.Fprintf(os.Stderr, "ring, round %d of %d\n", r+1, *rounds)
		var ls [loops]*loop
		args := []string{}
		for i := range ls {
			l, err := startLoop(strconv.Itoa(i%runtime.NumCPU()), "open", turns)
			if err != nil {
				return err
			}
			defer l.stop()
			ls[i] = l
			args = append(args, "-p", strconv.Itoa(l.cmd.Process.Pid))
		}
		watchers, err := start(command("bin/viv-probe", args...))
		if err != nil {
			return err
		}
		began := time.Now()
		for _, l := range ls {
			if err := l.begin(); err != nil {
				return err
			}
		}
		for _, l := range ls {
			if _, err := l.end(); err != nil {
				return err
			}
		}
		took := time.Since(began)
		note, err := watchers[0].stop()
		if err != nil {
			return err
		}
		if note != "" {
			notes[note] = true
		}
		if wall == 0 || took < wall {
			wall = took
		}
		// Loading the programs is in it, too.
		if c := watchers[0].cpu(); cpu == 0 || c < cpu {
			cpu = c
		}
	}
	n := float64(loops * turns)
	fmt.Printf("\n| ring buffer to stdout, two loops at full speed |  |\n|---|--:|\n")
	fmt.Printf("| opens recorded | %.0f a second |\n", n/wall.Seconds())
	fmt.Printf("| viv-probe's own time, loading included | %.0f ns an event |\n", float64(cpu.Nanoseconds())/n)
	for note := range notes {
		fmt.Printf("| | %s |\n", note)
	}
	return nil
}

// pipeline measures the filters on a recorded stream, and the memory of
// viv-probe and viv-spans over a long one.
func pipeline() error {
	turns := 1_000_000
	if *quick {
		turns /= 10
	}
	defer os.Remove(capture)
	defer os.Remove(spans)
	if _, _, err := long(turns, command("bin/viv-probe", "-o", capture)); err != nil {
		return err
	}
	if err := filter(exec.Command("bin/viv-spans"), capture, spans); err != nil {
		return err
	}

	filters := [][]string{
		{"bin/viv-spans"},
		{"bin/viv-filter", "-a"},
		{"bin/viv-filter", "-a", "--to", "json"},
		{"bin/viv-tree"},
		{"bin/viv-tree", "--format", "flat"},
		{"bin/viv-otlp", "--events", "log", "-o", "/dev/null"},
	}
	type cost struct {
		cpu time.Duration
		rss int64
	}
	best := make([]cost, len(filters))
	for r := range *rounds {
		fmt.Fprintf(os.Stderr, "filters, round %d of %d\n", r+1, *rounds)
		for i, f := range filters {
			cmd := command(f[0], f[1:]...)
			in := spans
			if i == 0 {
				in = capture
			}
			if err := filter(cmd, in, os.DevNull); err != nil {
				return err
			}
			c := cost{cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime(), maxRSS(cmd)}
			if best[i].cpu == 0 || c.cpu < best[i].cpu {
				best[i] = c
			}
		}
	}
	fmt.Printf("\n| %d opens from a file | events a second of CPU time | memory |\n|---|--:|--:|\n", turns)
	for i, f := range filters {
		fmt.Printf("| %s | %.0f | %d MiB |\n", strings.TrimPrefix(strings.Join(f, " "), "bin/"),
			float64(turns)/best[i].cpu.Seconds(), best[i].rss>>20)
	}

	fmt.Printf("\n| viv-probe \\| viv-spans, memory after | viv-probe | viv-spans |\n|---|--:|--:|\n")
	for _, n := range []int{turns, 10 * turns} {
		watchers, note, err := long(n, command("bin/viv-probe"), command("bin/viv-spans"))
		if err != nil {
			return err
		}
		fmt.Printf("| %d opens | %d MiB | %d MiB | %s\n", n,
			maxRSS(watchers[0].cmd)>>20, maxRSS(watchers[1].cmd)>>20, note)
	}
	return nil
}

// filter runs a program from one file to another.
func filter(cmd *exec.Cmd, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	var stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return nil
}

// long has the stages (the first is viv-probe, to which the loop's pid is
// added) look on while a loop opens so many files.
func long(turns int, stages ...*exec.Cmd) (watchers []*observer, note string, err error) {
	l, err := startLoop(onlyCPU, "open", turns)
	if err != nil {
		return nil, "", err
	}
	defer l.stop()
	stages[0].Args = append(stages[0].Args, "-p", strconv.Itoa(l.cmd.Process.Pid))
	if watchers, err = start(stages...); err != nil {
		return nil, "", err
	}
	if _, err := l.round(); err != nil {
		return nil, "", err
	}
	for _, w := range watchers {
		n, err := w.stop()
		if err != nil {
			return nil, "", err
		}
		note += n
	}
	return watchers, note, nil
}

// A loop is a running bench/testdata/loop.c.
type loop struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startLoop starts a loop that stays on the CPU of that number (or list).
func startLoop(cpu, what string, turns int) (*loop, error) {
	cmd := command("taskset", "-c", cpu, loopBinary, what, strconv.Itoa(turns))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l := &loop{cmd, in, bufio.NewReader(out)}
	if _, err := l.out.ReadString('\n'); err != nil {
		l.stop()
		return nil, fmt.Errorf("the loop did not start: %w", err)
	}
	return l, nil
}

func (l *loop) begin() error {
	_, err := l.in.Write([]byte{'\n'})
	return err
}

func (l *loop) end() (ns int64, err error) {
	line, err := l.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the loop ended early: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

func (l *loop) round() (ns int64, err error) {
	if err := l.begin(); err != nil {
		return 0, err
	}
	return l.end()
}

func (l *loop) stop() {
	l.in.Close()
	l.cmd.Wait()
}

// An observer is a process that looks on, or a later stage of its pipeline.
type observer struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	first  bool // of its pipeline: it is told to stop, the others end with it
	drain  chan struct{}
}

func (o *observer) cpu() time.Duration {
	return o.cmd.ProcessState.UserTime() + o.cmd.ProcessState.SystemTime()
}

// start starts a pipeline, throws away what its last stage prints, and comes
// back when something was printed: viv's session record is written when
// everything is attached.
func start(stages ...*exec.Cmd) ([]*observer, error) {
	return startWhen(func(r *bufio.Reader) bool {
		_, err := r.Peek(1)
		return err == nil
	}, stages...)
}

// startWhen is start for a pipeline whose output tells it in another way.
func startWhen(sign func(*bufio.Reader) bool, stages ...*exec.Cmd) ([]*observer, error) {
	var (
		observers []*observer
		in        *os.File
	)
	for i, cmd := range stages {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		o := &observer{cmd: cmd, first: i == 0, drain: make(chan struct{})}
		cmd.Stdout, cmd.Stderr = w, &o.stderr
		if in != nil {
			cmd.Stdin = in
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		w.Close()
		if in != nil {
			in.Close()
		}
		in = r
		observers = append(observers, o)
	}
	last := observers[len(observers)-1]
	ready := make(chan bool)
	go func() {
		defer close(last.drain)
		ready <- sign(bufio.NewReader(in))
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err == nil {
			io.Copy(null, in)
			null.Close()
		}
		in.Close()
	}()
	if strings.Contains(strings.Join(stages[0].Args, " "), "-o "+capture) {
		// It prints nothing.
		go func() { <-ready }()
		return observers, waitForFile(capture)
	}
	if !<-ready {
		for _, o := range observers {
			o.cmd.Wait()
		}
		return nil, fmt.Errorf("%s ended at once: %s", stages[0].Args[0], strings.TrimSpace(observers[0].stderr.String()))
	}
	return observers, nil
}

func waitForFile(name string) error {
	for range 300 {
		if st, err := os.Stat(name); err == nil && st.Size() > 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s: nothing in it after 3 s", name)
}

// stop ends an observer and says what is remarkable about its end.
func (o *observer) stop() (note string, err error) {
	if o.first {
		o.cmd.Process.Signal(syscall.SIGINT)
	}
	// bpftrace has been seen not to end.
	patience := time.AfterFunc(10*time.Second, func() { o.cmd.Process.Kill() })
	err = o.cmd.Wait()
	patience.Stop()
	if ws, ok := o.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return "had to be killed", nil
	}
	if o.cmd.ProcessState.ExitCode() == 3 {
		lines := strings.Split(strings.TrimSpace(o.stderr.String()), "\n")
		return "incomplete: " + lines[len(lines)-1], nil
	}
	if ws, ok := o.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGINT {
		err = nil // as strace ends
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", o.cmd.Args[0], err, o.stderr.String())
	}
	return "", err
}

func bpftrace(loop, _ int) ([]*observer, error) {
	// It does not say when it has attached, so it is shown opens of ours until
	// it prints one.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if f, err := os.Open(os.DevNull); err == nil {
					f.Close()
				}
			}
		}
	}()
	program := fmt.Sprintf(`tracepoint:syscalls:sys_enter_openat /pid == %d || pid == %d/ { printf("%%d %%s\n", pid, str(args->filename)); }`, loop, os.Getpid())
	return startWhen(func(r *bufio.Reader) bool {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return false
			}
			if strings.Contains(line, os.DevNull) {
				return true
			}
		}
	}, command("bpftrace", "-e", program))
}

func strace(loop, _ int) ([]*observer, error) {
	// It says on stderr that it has attached, which -o leaves there.
	// It stays on the loop's CPU: waking another one twice a system call can
	// cost it ten times as much.
	cmd := command("taskset", "-c", onlyCPU, "sh", "-c", `exec strace -f -o /dev/null -p "$0" 2>&1`, strconv.Itoa(loop))
	return start(cmd)
}

func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

func maxRSS(cmd *exec.Cmd) int64 {
	ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return ru.Maxrss << 10
}
