// Bench measures what viv-probe costs the program that it watches and all
// others, beside strace and bpftrace doing the same, and what the stream costs
// viv's own programs. It takes the programs from bin/, as `make bench` leaves
// them there, and prints tables for the README.
//
// Each round runs every way once, one after the other, so that what else the
// machine does falls on all of them; the fastest of a way's rounds counts.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
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
		return fmt.Errorf("run it as root: it loads BPF programs")
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

// scaled is the number of turns to make: a tenth of turns with -quick.
func scaled(turns int) int {
	if *quick {
		return turns / 10
	}
	return turns
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
