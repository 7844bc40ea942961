package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

// throughput measures how fast viv-probe copies records from the ring buffer to its
// output while two loops fill it at full speed.
func throughput() error {
	turns := scaled(3_000_000)
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
		// This includes loading the programs.
		if c := watchers[0].cpu(); cpu == 0 || c < cpu {
			cpu = c
		}
	}
	n := float64(loops * turns)
	fmt.Printf("\n| ring buffer to stdout, two loops at full speed |  |\n|---|--:|\n")
	fmt.Printf("| opens recorded | %.0f per second |\n", n/wall.Seconds())
	fmt.Printf("| viv-probe's own time, loading included | %.0f ns per event |\n", float64(cpu.Nanoseconds())/n)
	for note := range notes {
		fmt.Printf("| | %s |\n", note)
	}
	return nil
}
