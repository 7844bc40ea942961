package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// pipeline measures the filters on a recorded stream, and the memory of
// viv-probe and viv-spans over a long one.
func pipeline() error {
	turns := scaled(1_000_000)
	defer os.Remove(capture)
	defer os.Remove(spans)
	if _, _, err := recordLoop(turns, command("bin/viv-probe", "-o", capture)); err != nil {
		return err
	}
	if err := runFilter(exec.Command("bin/viv-spans"), capture, spans); err != nil {
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
			if err := runFilter(cmd, in, os.DevNull); err != nil {
				return err
			}
			c := cost{cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime(), maxRSS(cmd)}
			if best[i].cpu == 0 || c.cpu < best[i].cpu {
				best[i] = c
			}
		}
	}
	fmt.Printf("\n| %d opens from a file | events per second of CPU time | memory |\n|---|--:|--:|\n", turns)
	for i, f := range filters {
		fmt.Printf("| %s | %.0f | %d MiB |\n", strings.TrimPrefix(strings.Join(f, " "), "bin/"),
			float64(turns)/best[i].cpu.Seconds(), best[i].rss>>20)
	}

	fmt.Printf("\n| viv-probe \\| viv-spans, memory after | viv-probe | viv-spans |\n|---|--:|--:|\n")
	for _, n := range []int{turns, 10 * turns} {
		watchers, note, err := recordLoop(n, command("bin/viv-probe"), command("bin/viv-spans"))
		if err != nil {
			return err
		}
		fmt.Printf("| %d opens | %d MiB | %d MiB | %s\n", n,
			maxRSS(watchers[0].cmd)>>20, maxRSS(watchers[1].cmd)>>20, note)
	}
	return nil
}

// runFilter runs a program from one file to another.
func runFilter(cmd *exec.Cmd, from, to string) error {
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

// recordLoop runs a pipeline (its first stage is viv-probe, to which the loop's pid is
// added) while a loop opens that many files.
func recordLoop(turns int, stages ...*exec.Cmd) (watchers []*observer, note string, err error) {
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
