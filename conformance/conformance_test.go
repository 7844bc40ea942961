// Package conformance holds captures of vivarium 0.6.0, what vivarium printed
// of each, and what viv prints where that differs on purpose.
package conformance

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vivarium/pkg/inherited"
)

var update = flag.Bool("update", false, "write viv's own output where it deviates")

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
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "vivarium/cmd/viv-spans", "vivarium/cmd/viv-filter", "vivarium/cmd/viv-tree", "vivarium/cmd/viv-otlp").CombinedOutput()
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
	if _, err := os.Stat(path + ".gz"); err == nil && bytes.Equal(read(t, path), b) {
		return
	}
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

// times says what is wrong with the times in viv's tree: each event stands at its
// own time, none before what it stands in.
func times(lines []*line, start, stop uint64) (wrong []string) {
	for _, l := range lines {
		if strings.Contains(l.text, "@+-") || strings.Contains(l.text, "dur=-") {
			wrong = append(wrong, "a negative time: "+l.text)
		}
		if l.kind != "event" {
			continue
		}
		from := start
		if h := l.host(); h != nil {
			from = h.node.Start
		}
		at := min(max(l.node.Ktime, start), stop)
		if want := duration(int64(at - from)); at < from || l.fields["offset"] != want {
			wrong = append(wrong, fmt.Sprintf("it happened at @+%s: %s", want, l.text))
		}
		if h := l.host(); h != nil && h.node.TID == l.node.TID && at > min(h.node.End, stop) {
			wrong = append(wrong, "it happened when what it stands in had ended: "+l.text)
		}
	}
	return wrong
}

func TestTreesAndTables(t *testing.T) {
	d := deviations(t)
	var mu sync.Mutex
	unused := map[string]bool{}
	for _, r := range d.rules {
		unused[r.line] = !strings.HasPrefix(r.kind, "otlp")
	}
	explained := map[string]string{}
	left := maps.Clone(d.found)
	t.Run("cases", func(t *testing.T) {
		for _, file := range append(glob(t, "*.tree"), glob(t, "*.otel")...) {
			name := strings.TrimSuffix(file, ".tree")
			if strings.Contains(name, ".viv") {
				continue
			}
			delete(left, name)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				quirks := d.cases[name]
				got, diffs := compare(t, file, name, slices.Equal(quirks, []string{"Q37"}))
				mu.Lock()
				words, rest := d.explain(quirks, diffs, func(r rule) { unused[r.line] = false })
				explained[name] = words
				mu.Unlock()
				report(t, d, name, words, rest)
				if quirks == nil {
					return
				}
				own := strings.TrimSuffix(name, ".otel") + ".viv" + filepath.Ext(file)
				got = append([]byte("# viv differs here from "+file+" because of "+strings.Join(quirks, " ")+"\n"), got...)
				if *update {
					write(t, own, got)
				}
				if d := cmp.Diff(strings.Split(string(read(t, own)), "\n"), strings.Split(string(got), "\n")); d != "" {
					t.Errorf("differs from %s (-update writes it):\n%s", own, d)
				}
			})
		}
	})
	for name := range left {
		if !strings.HasSuffix(name, ".otlp") { // pkg/otlp compares those
			t.Errorf("deviations.txt: there is no %s", name)
		}
	}
	for line, yes := range unused {
		if yes {
			t.Errorf("deviations.txt: no case needs the rule %s", line)
		}
	}
	if *update {
		if err := d.write(explained); err != nil {
			t.Fatal(err)
		}
	}
}

// report says what is wrong with a case's line in deviations.txt.
func report(t *testing.T, d *table, name, words string, rest []difference) {
	t.Helper()
	for i, diff := range rest {
		if i == 20 {
			t.Errorf("and %d more", len(rest)-i)
			break
		}
		t.Errorf("no quirk of %v is the reason for %s: %s", d.cases[name], diff.kind, diff.value)
	}
	if q := idle(words); q != nil {
		t.Errorf("deviations.txt lists %v, but nothing differs because of it", q)
	}
	if words != d.found[name] && !*update {
		t.Errorf("deviations.txt (-update writes it)\nsays  %s\nfound %s", d.found[name], words)
	}
}

// compare runs viv on a case and returns what it prints, and all that differs
// from what vivarium printed.
func compare(t *testing.T, file, name string, refused bool) ([]byte, []difference) {
	t.Helper()
	base, _, _ := strings.Cut(name, ".")
	raw, s := read(t, base+".vivraw"), stages(t, name)
	got, codes := pipe(t, raw, s...)
	if refused {
		if !slices.Contains(codes, 2) {
			t.Fatalf("exit %v", codes)
		}
		return got, []difference{{"refused", fmt.Sprint(codes)}}
	}
	if !good(codes) {
		t.Fatalf("exit %v", codes)
	}
	if filepath.Ext(file) == ".otel" {
		return got, rows(read(t, file), got)
	}
	s[len(s)-1] = append(s[len(s)-1], "--format", "json")
	doc, _ := pipe(t, raw, s...)
	ours := parse(got)
	if tree := draw(ours); tree != string(errors_.ReplaceAll(got, []byte("<error>"))) {
		t.Errorf("the branches are not those of %s", tree)
	}
	start, stop, err := attach(ours, doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range times(ours, start, stop) {
		t.Error(w)
	}
	return got, differences(shown(parse(read(t, file))), ours)
}

// TestOwnOutput: what lies here for viv is for a case.
func TestOwnOutput(t *testing.T) {
	known := deviations(t)
	for suffix, tag := range map[string]string{".tree": "", ".otel": ".otel", ".otlp.json": ".otlp"} {
		for _, file := range glob(t, "*.viv"+suffix) {
			name := strings.TrimSuffix(file, ".viv"+suffix) + tag
			if known.cases[name] == nil {
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
			if bytes.Contains(got, []byte("@+-")) || bytes.Contains(got, []byte("dur=-")) {
				t.Errorf("a negative time in %s", got)
			}
			var crash struct {
				Printed string `json:"partial_stdout"`
			}
			if err := json.Unmarshal(read(t, file), &crash); err != nil {
				t.Fatal(err)
			}
			for _, diff := range differences(shown(parse([]byte(crash.Printed))), parse(got)) {
				if !strings.HasPrefix(diff.kind, "+") { // what it did not come to
					t.Errorf("%s, before vivarium crashed: %s", diff.kind, diff.value)
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

// TestJSON: every capture's tree is one document, with all events of the capture,
// each once and as the tree has it.
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
			lines := parse(tree)
			if _, _, err := attach(lines, got); err != nil {
				t.Fatal(err)
			}
			left := map[record]int{}
			for _, r := range records(t, raw) {
				if r.name != "span_start" && r.name != "span_stop" {
					left[r]++
				}
			}
			for _, l := range lines {
				n := l.node
				if l.kind != "event" {
					continue
				}
				if n.Text == nil || n.Label == "" || n.Severity == "" {
					t.Errorf("an event without text, label or severity: %+v", n)
				}
				left[record{n.Ktime, n.PID, n.TID, n.Event}]--
				if n.Event == "proc_fork" {
					compareFork(t, n)
				}
			}
			for r, n := range left {
				if n != 0 {
					t.Errorf("the capture has %+d more of %+v", n, r)
				}
			}
		})
	}
}

// compareFork: the text shows what stands in the payload, as vivarium's does: a
// child_tid of 0 in captures of a real kernel. The field is the child's thread (Q9).
func compareFork(t *testing.T, n *node) {
	t.Helper()
	if n.Payload == nil || len(n.Payload.Base64) < 8 {
		t.Fatalf("no payload: %+v", n)
	}
	child, shown := binary.LittleEndian.Uint32(n.Payload.Base64), binary.LittleEndian.Uint32(n.Payload.Base64[4:])
	if want := fmt.Sprintf("child_pid=%d child_tid=%d", child, shown); *n.Text != want {
		t.Errorf("%s, the payload has %s", *n.Text, want)
	}
	if n.ChildTID != child || n.ChildPID != child {
		t.Errorf("child_pid %d, child_tid %d: the child is %d", n.ChildPID, n.ChildTID, child)
	}
}

// A record is what tells apart a capture's events.
type record struct {
	ktime    uint64
	pid, tid uint32
	name     string
}

// records reads a capture: a line of JSON, and 352 bytes for each event.
func records(t *testing.T, raw []byte) (all []record) {
	t.Helper()
	_, raw, ok := bytes.Cut(raw, []byte{'\n'})
	if !ok {
		t.Fatal("no header")
	}
	for ; len(raw) >= 352; raw = raw[352:] {
		name, _, _ := bytes.Cut(raw[72:88], []byte{0})
		all = append(all, record{
			binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint32(raw[8:]), binary.LittleEndian.Uint32(raw[12:]), string(name),
		})
	}
	return all
}
