// Bench measures the cost of viv-probe for the watched program and for all other
// programs, compared with strace and bpftrace, and the cost of the stream for viv's
// own programs. It uses the programs in bin/, which `make bench` builds, and prints
// tables for the README.
//
// Each round measures every row once, one after the other, so that other load on the
// machine affects all rows. The fastest round of a row counts.
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
	rounds = flag.Int("rounds", 7, "number of rounds; the fastest counts")
	quick  = flag.Bool("quick", false, "run a tenth of the turns, to test the benchmark itself")
	only   = flag.String("only", "", "run only this part: loops, ring, filters or methods")
)

// The loop stays on this CPU, so that its rounds are comparable. Observers can use
// all CPUs.
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
	// The output of strace and bpftrace is discarded, like viv's stream.
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

// scaled returns the number of turns to run: a tenth of turns with -quick.
func scaled(turns int) int {
	if *quick {
		return turns / 10
	}
	return turns
}

// mountTracefs mounts tracefs for bpftrace if it is not mounted. It stays mounted.
func mountTracefs() error {
	const dir = "/sys/kernel/tracing"
	if _, err := os.Stat(dir + "/events"); err == nil {
		return nil
	}
	return syscall.Mount("tracefs", dir, "tracefs", 0, "")
}
