package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

const spansBinary = "build/bench-spans"

// methods measures the cost of the providers of method spans for the program, with
// and without a span.
func methods() error {
	if out, err := exec.Command("gcc", "-O2", "-Wall", "-o", spansBinary, "bench/testdata/spans.c").CombinedOutput(); err != nil {
		return fmt.Errorf("compile the spans: %w\n%s", err, out)
	}
	const viv = "bin/viv-probe -o /dev/null -e span_start,span_stop,span_raise --spans "
	rows := []*struct {
		name, what string
		turns      int
		before     string // what stands in front of the program; "": it is bare
		trace      string // of a Ruby program
		c          bool   // it is the C program
		beside     string // what runs beside it, for a Ruby that does nothing

		best float64 // ns per turn
	}{
		{name: "stat", what: "stat", c: true, turns: 300_000},
		{name: "`--spans none`", what: "stat", c: true, turns: 300_000, before: viv + "none --"},
		{name: "`--spans markers`", what: "stat", c: true, turns: 300_000, before: viv + "markers --"},
		{name: "two markers, a span", what: "marker", c: true, turns: 300_000},
		{name: "`--spans markers`", what: "marker", c: true, turns: 300_000, before: viv + "markers --"},
		{name: "two probes of `vivarium_usdt`, a span", what: "usdt", c: true, turns: 1_000_000},
		{name: "`--spans vivarium_usdt`", what: "usdt", c: true, turns: 300_000, before: viv + "vivarium_usdt --"},
		{name: "`--spans usdt:...`, not listed", what: "usdt", c: true, turns: 300_000, before: viv + "usdt:vivarium_usdt:start_probe:stop_probe --span-allow Other#save --"},
		{name: "function", what: "func", c: true, turns: 1_000_000},
		{name: "`--spans func:...`, a span", what: "func", c: true, turns: 300_000, before: viv + "func:" + spansBinary + ":worked --"},

		{name: "Ruby method that is not listed", what: "ruby", turns: 1_000_000},
		{name: "`--spans ruby`", what: "ruby", turns: 1_000_000, before: viv + "ruby --"},
		{name: "a TracePoint that does nothing", what: "ruby", turns: 1_000_000, trace: "nothing"},
		{name: "a TracePoint that looks into vivarium's list", what: "ruby", turns: 100_000, trace: "list"},
		{name: "C method that is not listed", what: "c", turns: 1_000_000},
		{name: "`--spans ruby`", what: "c", turns: 1_000_000, before: viv + "ruby --"},
		{name: "`--spans ruby-c`", what: "c", turns: 300_000, before: viv + "ruby-c --"},
		{name: "`--spans ruby-c` of another Ruby", what: "c", turns: 1_000_000, beside: viv + "ruby-c --"},
		{name: "listed method (`ENV#[]`)", what: "listed", turns: 1_000_000},
		{name: "`--spans ruby`, a span", what: "listed", turns: 100_000, before: viv + "ruby --"},
		{name: "listed C method (`Process#pid`)", what: "listed-c", turns: 1_000_000},
		{name: "`--spans ruby-c`, a span", what: "listed-c", turns: 300_000, before: viv + "ruby-c --"},
		{name: "`--spans ruby-c` of another Ruby", what: "listed-c", turns: 300_000, beside: viv + "ruby-c --"},
	}
	for range *rounds {
		for _, r := range rows {
			turns := scaled(r.turns)
			argv := strings.Fields(r.before)
			if r.c {
				argv = append(argv, spansBinary, r.what, strconv.Itoa(turns))
			} else { // only Ruby stays on that CPU
				argv = append(argv, "taskset", "-c", onlyCPU, "ruby", "--disable-gems", "bench/testdata/methods.rb", r.what, strconv.Itoa(turns), r.trace)
			}
			end := func() error { return nil }
			if r.beside != "" {
				var err error
				if end, err = idleRuby(strings.Fields(r.beside)); err != nil {
					return fmt.Errorf("%s: %w", r.name, err)
				}
			}
			cmd := command(argv[0], argv[1:]...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, stderr.Bytes())
			}
			if err := end(); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
			}
			if each := float64(ns) / float64(turns); r.best == 0 || each < r.best {
				r.best = each
			}
		}
	}
	fmt.Printf("\n| method spans | ns per turn | over bare |\n|---|--:|--:|\n")
	var bare float64
	for _, r := range rows {
		over := ""
		if r.before+r.trace+r.beside == "" {
			bare = r.best
			r.name += ", bare"
		} else {
			over = fmt.Sprintf("%+.0f ns", r.best-bare)
		}
		fmt.Printf("| %s | %.0f | %s |\n", r.name, r.best, over)
	}
	return nil
}

// idleRuby starts a Ruby process that does nothing, under the program that watches it,
// and returns when it is watched. end stops it.
func idleRuby(before []string) (end func() error, err error) {
	argv := append(before, "ruby", "--disable-gems", "-e", "$stdout.puts; $stdout.flush; $stdin.read")
	cmd := command(argv[0], argv[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe() // its own, because the stream has a file
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		return nil, err
	}
	return func() error {
		stdin.Close()
		return cmd.Wait()
	}, nil
}
