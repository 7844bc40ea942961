// Package conformance holds captures of vivarium 0.6.0, what vivarium printed
// of each, and what viv prints where that differs on purpose.
package conformance

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vivarium/pkg/inherited"
)

var update = flag.Bool("update", false, "write viv's own output where it deviates")

// layout are the captures with threads, or children that outlive their span:
// their trees are drawn otherwise (Q10, Q15, Q16, Q23), and only the lines of
// events have to be the same.
var layout = set("05 25 27 28 30 32 33 38 39 40 61 63 66")

// A deviation of one of these changes the texts of events, or which ones a
// filter on spans shows.
var texts = set("Q4 Q5 Q6 Q7 Q25 Q26 Q27 Q28 Q29 Q30 Q32 Q37 Q49 Q50")

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "viv-conformance")
	if err != nil {
		return "", err
	}
	// What go test has looked at it remembers, and runs this again when it changes.
	if err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	}); err != nil {
		return dir, err
	}
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "vivarium/cmd/viv-spans", "vivarium/cmd/viv-filter", "vivarium/cmd/viv-tree").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return dir, err
})

func TestMain(m *testing.M) {
	flag.Parse()
	inherited.Set()
	status := m.Run()
	if dir, _ := programs(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

// pipe runs programs one behind the other and returns what the last one wrote,
// and their exit statuses.
func pipe(t *testing.T, input []byte, stages ...[]string) ([]byte, []int) {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	var codes []int
	for _, s := range stages {
		var stderr bytes.Buffer
		cmd := exec.Command(filepath.Join(dir, s[0]), s[1:]...)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if n := bytes.Count(stderr.Bytes(), []byte{'\n'}); n > 4 || bytes.Contains(stderr.Bytes(), []byte("panic:")) {
			t.Errorf("%s says %d lines: %.500s", s[0], n, stderr.Bytes())
		}
		input = out
		codes = append(codes, cmd.ProcessState.ExitCode())
	}
	return input, codes
}

func good(codes []int) bool {
	for _, c := range codes {
		if c != 0 && c != 3 {
			return false
		}
	}
	return true
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if b, err = os.ReadFile(path + ".gz"); err == nil {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
				b, err = io.ReadAll(z)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if len(b) > 96<<10 {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write(b)
		w.Close()
		path, b = path+".gz", z.Bytes()
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// glob returns the files that match, without .gz.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	var names []string
	for _, p := range []string{pattern, pattern + ".gz"} {
		found, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			names = append(names, strings.TrimSuffix(f, ".gz"))
		}
	}
	if len(names) == 0 {
		t.Fatalf("no %s", pattern)
	}
	return names
}

// deviations reads the table: the quirks of each case.
func deviations(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("deviations.txt")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, line := range strings.Split(string(b), "\n") {
		if name, quirks, ok := strings.Cut(line, " "); ok && name != "#" {
			if m[name] != "" {
				t.Errorf("%s is there twice", name)
			}
			m[name] = strings.Join(strings.Fields(quirks), " ")
		}
	}
	return m
}

// stages is the pipeline for the arguments of a report.
func stages(t *testing.T, name string) [][]string {
	t.Helper()
	base, tag, _ := strings.Cut(name, ".")
	s := [][]string{{"viv-spans"}}
	if tag == "otel" {
		return append(s, []string{"viv-tree", "--format", "flat"})
	}
	var args []string
	if tag != "" && tag != "all" {
		if err := json.Unmarshal(read(t, base+"."+tag+".args.json"), &args); err != nil {
			t.Fatal(err)
		}
	}
	all := tag == "all"
	var opts []string
	for _, a := range args {
		switch {
		case a == "-a" || a == "--all":
			all = true
		case strings.HasSuffix(a, ".vivraw"):
		default:
			opts = append(opts, a)
		}
	}
	if all {
		opts = append([]string{"-a"}, opts...)
	}
	if !all || len(opts) > 1 {
		s = append(s, append([]string{"viv-filter"}, opts...))
	}
	return append(s, []string{"viv-tree"})
}

var (
	branches = regexp.MustCompile(`^(?:├─ |└─ |│  |   )+`)
	errors_  = regexp.MustCompile(`<error: [^>]*>`)
	offset   = regexp.MustCompile(`\s+@\+\S+$`)
)

// norm leaves aside which branch leads a line, intervals outside methods that
// show nothing, and the texts of decoding errors.
func norm(b []byte) []string {
	var out []string
	var depths []int
	for _, line := range strings.Split(errors_.ReplaceAllString(string(b), "<error>"), "\n") {
		bare := branches.ReplaceAllString(line, "")
		depth := (utf8.RuneCountInString(line) - utf8.RuneCountInString(bare)) / 3
		if n := len(out); n > 0 && strings.Contains(out[n-1], "<no-span>") && !strings.Contains(out[n-1], "at=") && depth <= depths[n-1] {
			out, depths = out[:n-1], depths[:n-1]
		}
		out, depths = append(out, strings.Repeat("   ", depth)+bare), append(depths, depth)
	}
	return out
}

// events counts the lines of events, without their offsets.
func events(b []byte) map[string]int {
	n := map[string]int{}
	for _, line := range norm(b) {
		if line = strings.TrimSpace(line); strings.Contains(line, "→") && !strings.HasPrefix(line, "DROP") {
			n[offset.ReplaceAllString(line, "")]++
		}
	}
	return n
}

func TestTreesAndTables(t *testing.T) {
	known := deviations(t)
	for _, file := range append(glob(t, "*.tree"), glob(t, "*.otel")...) {
		name := strings.TrimSuffix(file, ".tree")
		if strings.Contains(name, ".viv") {
			continue
		}
		quirks := known[name]
		delete(known, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, _, _ := strings.Cut(name, ".")
			got, codes := pipe(t, read(t, base+".vivraw"), stages(t, name)...)
			refused := quirks == "Q37"
			if good(codes) == refused {
				t.Fatalf("exit %v", codes)
			}
			want := read(t, file)
			difference := cmp.Diff(norm(want), norm(got))
			if quirks == "" {
				if difference != "" {
					t.Errorf("differs from vivarium's (-) and is not listed as a deviation:\n%s", difference)
				}
				return
			}
			if difference == "" {
				t.Errorf("listed as a deviation (%s), but it is vivarium's", quirks)
			}
			changed := false
			for _, q := range strings.Fields(quirks) {
				changed = changed || texts[q]
			}
			if layout[name[:2]] && !changed {
				ours := events(got)
				for line, n := range events(want) {
					if ours[line] < n {
						t.Errorf("%d times, vivarium has %d: %s", ours[line], n, line)
					}
				}
			}
			own := strings.TrimSuffix(name, ".otel") + ".viv" + filepath.Ext(file)
			got = append([]byte("# viv differs here from "+file+" because of "+quirks+"\n"), got...)
			if *update {
				write(t, own, got)
			}
			if d := cmp.Diff(strings.Split(string(read(t, own)), "\n"), strings.Split(string(got), "\n")); d != "" {
				t.Errorf("differs from %s (-update writes it):\n%s", own, d)
			}
		})
	}
	for name := range known {
		if !strings.HasSuffix(name, ".otlp") { // pkg/otlp compares those
			t.Errorf("deviations.txt: there is no %s", name)
		}
	}
}

// TestOwnOutput: what lies here for viv is for a case.
func TestOwnOutput(t *testing.T) {
	known := deviations(t)
	for suffix, tag := range map[string]string{".tree": "", ".otel": ".otel", ".otlp.json": ".otlp"} {
		for _, file := range glob(t, "*.viv"+suffix) {
			name := strings.TrimSuffix(file, ".viv"+suffix) + tag
			if known[name] == "" {
				t.Errorf("%s: its case is not listed as a deviation", file)
			}
		}
	}
}

// TestCrashes: vivarium raised an exception; viv draws all of it.
func TestCrashes(t *testing.T) {
	for _, file := range glob(t, "*.tree.crash.json") {
		name := strings.TrimSuffix(file, ".tree.crash.json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, tag, _ := strings.Cut(name, ".")
			s := [][]string{{"viv-spans"}, {"viv-filter"}, {"viv-tree"}}
			if tag == "all" {
				s = [][]string{{"viv-spans"}, {"viv-tree"}}
			}
			got, codes := pipe(t, read(t, base+".vivraw"), s...)
			if !good(codes) {
				t.Fatalf("exit %v", codes)
			}
			var crash struct {
				Printed string `json:"partial_stdout"`
			}
			if err := json.Unmarshal(read(t, file), &crash); err != nil {
				t.Fatal(err)
			}
			ours := "\n" + strings.Join(norm(got), "\n") + "\n"
			for _, line := range norm([]byte(crash.Printed)) {
				if !strings.Contains(ours, "\n"+line+"\n") && !strings.Contains(line, "comm=?") {
					t.Errorf("vivarium printed, before it crashed: %s\nviv printed:%s", line, ours)
				}
			}
			own := name + ".viv.crash.tree"
			got = append([]byte("# vivarium crashed here; viv does not because of Q2\n"), got...)
			if *update {
				write(t, own, got)
			}
			if d := cmp.Diff(string(read(t, own)), string(got)); d != "" {
				t.Errorf("differs from %s (-update writes it):\n%s", own, d)
			}
		})
	}
}

// TestJSON: every capture's tree is one document, with the same events.
func TestJSON(t *testing.T) {
	for _, file := range glob(t, "*.vivraw") {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			raw := read(t, file)
			spans, _ := pipe(t, raw, []string{"viv-spans"})
			got, codes := pipe(t, spans, []string{"viv-tree", "--format", "json"})
			tree, _ := pipe(t, spans, []string{"viv-tree"})
			if !good(codes) {
				t.Fatalf("exit %v", codes)
			}
			if !utf8.Valid(got) || bytes.Count(got, []byte{'\n'}) != 1 {
				t.Error("not one line of UTF-8")
			}
			var doc struct {
				Session, End map[string]any
				Tree         []*jsonNode
			}
			if err := json.Unmarshal(got, &doc); err != nil {
				t.Fatal(err)
			}
			if doc.Session["type"] != "session" || doc.End["type"] != "end" {
				t.Errorf("session %v, end %v", doc.Session["type"], doc.End["type"])
			}
			n := 0
			var count func([]*jsonNode)
			count = func(list []*jsonNode) {
				for _, c := range list {
					if c.Type == "event" {
						n++
						if c.Text == nil || c.Label == "" || c.Severity == "" {
							t.Errorf("an event without text, label or severity: %+v", c)
						}
					}
					count(c.Children)
				}
			}
			count(doc.Tree)
			want := 0
			for _, k := range events(tree) {
				want += k
			}
			if n != want {
				t.Errorf("%d events, the tree has %d", n, want)
			}
		})
	}
}

type jsonNode struct {
	Type, Label, Severity string
	Text                  *string
	Children              []*jsonNode
}
