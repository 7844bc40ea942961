package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// A comparison is one row: a loop, and the programs that watch it.
type comparison struct {
	name  string
	loop  string // open or getppid
	turns int
	watch func(loop, other int) ([]*observer, error) // nil: nobody
	base  int                                        // the row that it is compared with

	best  float64 // ns per turn
	notes map[string]bool
}

func compare() error {
	viv := func(pid int) ([]*observer, error) {
		return start(command("bin/viv-probe", "-p", strconv.Itoa(pid)))
	}
	rows := []*comparison{
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
	for i, w := range rows {
		if w.watch == nil {
			for _, v := range rows[i:] {
				v.base = i
			}
		}
		w.notes = map[string]bool{}
	}
	for r := range *rounds {
		fmt.Fprintf(os.Stderr, "loops, round %d of %d\n", r+1, *rounds)
		for _, w := range rows {
			ns, err := w.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if w.best == 0 || ns < w.best {
				w.best = ns
			}
		}
	}

	fmt.Printf("\n| observer | ns per turn | over bare |  |\n|---|--:|--:|---|\n")
	for _, w := range rows {
		over, notes := "", ""
		if w.watch != nil {
			base := rows[w.base].best
			over = fmt.Sprintf("%+.0f ns (%+.1f %%)", w.best-base, 100*(w.best-base)/base)
		}
		for n := range w.notes {
			notes += n
		}
		fmt.Printf("| %s | %.0f | %s | %s |\n", w.name, w.best, over, notes)
	}
	return nil
}

func (w *comparison) measure() (nsPerTurn float64, err error) {
	turns := scaled(w.turns)
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
