package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// methods measures what the providers of method spans cost a Ruby program: for
// methods that are not on the list, for one that is, and for markers.
func methods() error {
	const viv = "bin/viv-probe -o /dev/null -e span_start,span_stop,span_raise --spans "
	rows := []*struct {
		name, what string
		turns      int
		before     string // what stands in front of ruby
		trace      string

		best float64 // ns a turn
	}{
		{name: "empty loop", what: "empty", turns: 1_000_000},
		{name: "Ruby method that is not listed, bare", what: "ruby", turns: 1_000_000},
		{name: "the same, `--spans ruby`", what: "ruby", turns: 1_000_000, before: viv + "ruby --"},
		{name: "the same, a TracePoint that does nothing", what: "ruby", turns: 1_000_000, trace: "nothing"},
		{name: "the same, a TracePoint that looks into a list", what: "ruby", turns: 100_000, trace: "list"},
		{name: "C method that is not listed, bare", what: "c", turns: 1_000_000},
		{name: "the same, `--spans ruby`", what: "c", turns: 1_000_000, before: viv + "ruby --"},
		{name: "the same, `--spans ruby-c`", what: "c", turns: 300_000, before: viv + "ruby-c --"},
		{name: "listed method (`ENV#[]`), bare", what: "listed", turns: 1_000_000},
		{name: "the same, `--spans ruby`", what: "listed", turns: 100_000, before: viv + "ruby --"},
		{name: "`File.exist?` of a file, bare", what: "exist", turns: 300_000},
		{name: "the same, `--spans none`", what: "exist", turns: 300_000, before: viv + "none --"},
		{name: "the same, `--spans markers`", what: "exist", turns: 300_000, before: viv + "markers --"},
		{name: "`File.exist?` of a marker, bare", what: "marker", turns: 300_000},
		{name: "the same, `--spans markers`", what: "marker", turns: 300_000, before: viv + "markers --"},
	}
	for range *rounds {
		for _, r := range rows {
			turns := r.turns
			if *quick {
				turns /= 10
			}
			argv := append(strings.Fields("taskset -c "+onlyCPU+" "+r.before), "ruby", "--disable-gems", "bench/testdata/methods.rb", r.what, strconv.Itoa(turns), r.trace)
			cmd := command(argv[0], argv[1:]...)
			if r.before != "" { // only Ruby stays on that CPU
				argv = append(strings.Fields(r.before), append([]string{"taskset", "-c", onlyCPU}, argv[len(argv)-6:]...)...)
				cmd = command(argv[0], argv[1:]...)
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, stderr.Bytes())
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
	fmt.Printf("\n| method spans in Ruby | ns a turn |\n|---|--:|\n")
	for _, r := range rows {
		fmt.Printf("| %s | %.0f |\n", r.name, r.best)
	}
	return nil
}
