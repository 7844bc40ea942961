package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vivarium/pkg/cli/clitest"
	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestPrograms runs the programs that need no privileges, as they are built.
func TestPrograms(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "../viv-spans", "../viv-filter", "../viv-tree", "../viv-otlp")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	captures, err := filepath.Abs("../../conformance")
	if err != nil {
		t.Fatal(err)
	}
	p := programs{bin, captures}
	t.Run("scripts", p.scripts)
	t.Run("cut", p.cut)
	t.Run("command lines", p.commandLines)
	t.Run("errors", p.errors)
	t.Run("left out", p.leftOut)
}

type programs struct {
	bin      string // the directory that they are in
	captures string // and that of vivarium's captures
}

func (p programs) scripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", p.bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("CAPTURES", p.captures)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": clitest.Status},
	})
}

// stage is one program of a pipeline and what it did.
type stage struct {
	args   []string
	status int
	stderr string
}

// pipe runs the stages one after another and returns what the last one wrote.
func (p programs) pipe(t *testing.T, in []byte, stages ...*stage) []byte {
	t.Helper()
	for _, s := range stages {
		cmd := exec.Command(filepath.Join(p.bin, s.args[0]), s.args[1:]...)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		s.status, s.stderr = cmd.ProcessState.ExitCode(), stderr.String()
		in = out
	}
	return in
}

// cut cuts a capture, and the stream that it becomes, at every byte of its last
// 400: all programs say that it is incomplete, and show what was before the cut.
func (p programs) cut(t *testing.T) {
	capture, err := os.ReadFile(filepath.Join(p.captures, "02_nested.vivraw"))
	if err != nil {
		t.Fatal(err)
	}
	header := bytes.IndexByte(capture, '\n') + 1
	const record = 352
	if (len(capture)-header)%record != 0 {
		t.Fatal("the capture is cut already")
	}
	draw := func(in []byte, programs ...string) string {
		stages := []*stage{}
		for _, args := range programs {
			stages = append(stages, &stage{args: strings.Fields(args)})
		}
		out := p.pipe(t, in, stages...)
		for _, s := range stages {
			if s.status != 3 || strings.Count(s.stderr, "\n") != 1 || !strings.Contains(s.stderr, "cut short") {
				t.Errorf("%s of %d bytes: exit status %d, %q", s.args[0], len(in), s.status, s.stderr)
			}
		}
		return string(out)
	}
	whole := p.pipe(t, capture, &stage{args: []string{"viv-spans"}}, &stage{args: []string{"viv-tree"}})
	lines := func(tree string) int { return strings.Count(tree, "→") }
	want := map[int]string{} // by whole records
	for cut := len(capture) - 400; cut < len(capture); cut++ {
		records := (cut - header) / record
		tree, ok := want[records]
		if !ok {
			tree = draw(capture[:header+records*record], "viv-spans", "viv-filter -a", "viv-tree")
			want[records] = tree
			// The capture ends with a span_stop and, before it, an event.
			if n, all := lines(tree), lines(string(whole)); n < all-2 || n > all || all < 9 {
				t.Errorf("%d records: %d event lines of %d", records, n, all)
			}
		}
		if got := draw(capture[:cut], "viv-spans", "viv-filter -a", "viv-tree"); got != tree {
			t.Fatalf("cut at %d of %d bytes: not the tree of %d records:\n%s", cut, len(capture), records, got)
		}
	}

	spans := p.pipe(t, capture, &stage{args: []string{"viv-spans"}})
	ends := []int{0} // of the records
	for r := stream.NewReader(bytes.NewReader(spans)); ; {
		rec, err := r.Next()
		if err != nil {
			break
		}
		ends = append(ends, ends[len(ends)-1]+len(rec.Raw))
	}
	want = map[int]string{}
	for cut := len(spans) - 400; cut < len(spans); cut++ {
		end, _ := slices.BinarySearch(ends, cut+1)
		end = ends[end-1]
		if want[end] == "" {
			want[end] = draw(spans[:end], "viv-filter -a", "viv-tree")
		}
		if got := draw(spans[:cut], "viv-filter -a", "viv-tree"); got != want[end] {
			t.Fatalf("cut at %d of %d bytes: not the tree of %d bytes:\n%s", cut, len(spans), end, got)
		}
	}
	if len(want) < 3 {
		t.Errorf("400 bytes of only %d records", len(want))
	}
}

// commandLines holds what each of vivarium's command lines becomes.
func (p programs) commandLines(t *testing.T) {
	// by vivarium's arguments, as JSON; nil: not viv-filter's business
	ours := map[string][]string{
		`[]`:                                                nil, // viv has no commands
		`["nonsense"]`:                                      {"2", "nonsense"},
		`["--bogus"]`:                                       {"2", "--bogus"},
		`["report","-d","x","FILE"]`:                        {"2", "-d", "x", "FILE"},
		`["-d","2","report","FILE"]`:                        {"0", "-d", "2", "FILE"},
		`["report","--filter","{bad","FILE"]`:               {"2", "--filter", "{bad", "FILE"},
		`["report","--filter","5","FILE"]`:                  {"2", "--filter", "5", "FILE"},             // Q37
		`["report","--filter","[1]","FILE"]`:                {"2", "--filter", "[1]", "FILE"},           // Q37
		`["report","--filter","[]","-d","1","FILE"]`:        {"2", "--filter", "[]", "-d", "1", "FILE"}, // Q37
		`["report","--dump-otel","--filter","{bad","FILE"]`: {"2", "--filter", "{bad", "FILE"},          // viv-tree --format flat, behind a filter that is read
		`["report","--dedup","FILE"]`:                       {"0", "--dedup", "FILE"},
		`["report","-aud1","FILE"]`:                         {"0", "-aud1", "FILE"},
		`["load","/no/such.rb"]`:                            nil, // viv-probe's
		`["report","-d","0x2","FILE"]`:                      {"0", "-d", "0x2", "FILE"},
		`["report","-d","2.5","FILE"]`:                      {"2", "-d", "2.5", "FILE"},
		`["report","--","FILE"]`:                            {"0", "--", "FILE"},
	}
	b, err := os.ReadFile("testdata/cli_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Args json.RawMessage }
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "spans.viv")
	capture, err := os.ReadFile(filepath.Join(p.captures, "23_empty.vivraw"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, p.pipe(t, capture, &stage{args: []string{"viv-spans"}}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		args, ok := ours[string(c.Args)]
		if !ok {
			t.Errorf("%s: nothing here", c.Args)
			continue
		}
		delete(ours, string(c.Args))
		if args == nil {
			continue
		}
		s := &stage{args: []string{"viv-filter"}}
		for _, a := range args[1:] {
			s.args = append(s.args, strings.ReplaceAll(a, "FILE", file))
		}
		out := p.pipe(t, nil, s)
		if fmt.Sprint(s.status) != args[0] || (s.status == 0) != (len(out) > 0) || (s.status == 0) != (s.stderr == "") {
			t.Errorf("%s: exit status %d, %d bytes, %q", args[1:], s.status, len(out), s.stderr)
		}
	}
	if len(ours) > 0 {
		t.Errorf("no cases for %v", ours)
	}
}

// leftOut holds that an event that a capture cannot hold is not written into one,
// and that viv-filter says so.
func (p programs) leftOut(t *testing.T) {
	var in bytes.Buffer
	w := stream.NewWriter(&in)
	w.Session(&stream.Session{Version: stream.Version})
	w.Event(&event.Event{Name: []byte("of_tomorrow")})
	w.Event(&event.Event{Kind: &event.Kinds[event.FileTruncate]})
	w.Event(&event.Event{Kind: &event.Kinds[event.ProcExit]})
	w.End(&stream.End{})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	s := &stage{args: []string{"viv-filter", "--to", "vivraw"}}
	out := p.pipe(t, in.Bytes(), s)
	if want := "viv-filter: events were left out, because a vivarium capture cannot hold them: 1 file_truncate, 1 of_tomorrow\n"; s.status != 3 || s.stderr != want {
		t.Errorf("exit status %d, want 3; stderr %q, want %q", s.status, s.stderr, want)
	}
	header, records, _ := bytes.Cut(out, []byte("\n"))
	if !bytes.HasSuffix(header, []byte(`"event_count":1}`)) || len(records) != 352 || !bytes.HasPrefix(records[72:], []byte("proc_exit\x00")) {
		t.Errorf("%s and %d bytes", header, len(records))
	}
}

// errors holds that every program refuses what is no capture, as vivarium does
// and in one line.
func (p programs) errors(t *testing.T) {
	// What vivarium reads all the same, by the quirk.
	differs := map[string]string{
		"record size false":                "Q40",
		"version 99":                       "Q40",
		"event count larger than the file": "Q40",
		"half a record":                    "Q41",
		"repeated key":                     "Q40",
		"observer pid text":                "Q40 and Q42",
		"session stop only":                "Q40",
	}
	b, err := os.ReadFile("testdata/error_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name  string
		File  []byte  `json:"file_base64"`
		Error *string `json:"load_error"`
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		want := 0
		switch {
		case c.Error != nil:
			want = 2
		case differs[c.Name] == "":
		case c.Name == "half a record" || strings.HasPrefix(c.Name, "event count"):
			want = 3
		default:
			want = 2
		}
		delete(differs, c.Name)
		for _, program := range [][]string{
			{"viv-filter"}, {"viv-filter", "--to", "json"}, {"viv-filter", "--to", "vivraw"}, {"viv-spans"}, {"viv-tree"}, {"viv-otlp", "-o", "-"},
		} {
			if program[0] == "viv-otlp" && want != 2 {
				continue // it wants spans as well
			}
			s := &stage{args: program}
			out := p.pipe(t, c.File, s)
			if s.status != want || want == 2 && len(out) > 0 || want != 0 && strings.Count(s.stderr, "\n") < 1 {
				t.Errorf("%s: %s: exit status %d, %q; want %d", c.Name, program, s.status, s.stderr, want)
			}
			if msg, _, _ := strings.Cut(s.stderr, "\n"); want == 2 && !strings.HasPrefix(msg, program[0]+": ") {
				t.Errorf("%s: %s: %q", c.Name, program, s.stderr)
			}
			if c.Error == nil || c.File == nil || !bytes.HasPrefix(c.File, []byte("{")) {
				continue // it is not even taken for a capture
			}
			same, _, parser := strings.Cut(*c.Error, "not valid JSON")
			if parser {
				same += "not valid JSON"
			}
			if c.Name == "record size text" {
				same = "" // Q40: vivarium's message does not show what is wrong
			}
			if !strings.Contains(s.stderr, same) {
				t.Errorf("%s: %s: %q, vivarium says %q", c.Name, program, s.stderr, *c.Error)
			}
		}
	}
	if len(differs) > 0 {
		t.Errorf("no cases for %v", differs)
	}
}
