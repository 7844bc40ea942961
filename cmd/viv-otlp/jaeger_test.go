//go:build slow

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

// TestJaeger watches a Ruby program with children, sends what it did to Jaeger,
// and asks Jaeger for the trace: it is the tree that viv-tree prints.
func TestJaeger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to watch a program")
	}
	jaeger, err := filepath.Abs("../../build/jaeger")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("testdata/jaeger/build", jaeger).CombinedOutput(); err != nil {
		t.Fatalf("build Jaeger: %v\n%s", err, out)
	}
	bin := buildAll(t)
	dir := t.TempDir()
	raw := dir + "/family.viv"
	if out, err := exec.Command(bin+"/viv-probe", "-o", raw, "--spans", "ruby,markers", "--", "ruby", "testdata/jaeger/family.rb").CombinedOutput(); err != nil {
		t.Fatalf("viv-probe: %v\n%s", err, out)
	}
	spans := pipe(t, nil, bin+"/viv-spans", raw)
	// An exit is an attribute of a thread's span and not an event.
	tree := pipe(t, pipe(t, spans, bin+"/viv-filter", "-x", "proc_exit"), bin+"/viv-tree")

	grpc, otlp, query := freePort(t), freePort(t), freePort(t)
	config := strings.NewReplacer("$GRPC", grpc, "$HTTP", otlp, "$QUERY", query).Replace(readFile(t, "testdata/jaeger/config.yaml"))
	if err := os.WriteFile(dir+"/jaeger.yaml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(jaeger, "--config", dir+"/jaeger.yaml")
	cmd.Stdout, cmd.Stderr = log, log
	killWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	until(t, func() bool { return listens(otlp) && listens(query) },
		func() string { return "Jaeger does not listen:\n" + readFile(t, dir+"/log") })
	pipe(t, spans, bin+"/viv-otlp", "http://"+otlp)

	rec, err := stream.NewReader(bytes.NewReader(spans)).Next()
	if err != nil {
		t.Fatal(err)
	}
	session, err := rec.Session()
	if err != nil {
		t.Fatal(err)
	}
	want := outline(t, string(tree))
	for _, part := range []string{"[SPAN", "Family#inner", "Kernel#system", "(raise)", "comm=cat parent=", "comm=true parent="} {
		if !strings.Contains(string(tree), part) {
			t.Fatalf("the tree shows no %s:\n%s", part, tree)
		}
	}
	var got map[string][]string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
		got = outlineOfTrace(t, fetch(t, fmt.Sprintf("http://%s/api/v3/traces/%x", query, session.TraceID)))
		if cmp.Equal(want, got) || time.Now().After(deadline) {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Jaeger's tree is another (-viv-tree +Jaeger):\n%s", d)
	}
	t.Logf("%d bytes of tree, %d places in it", len(tree), len(want))
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An outline is a tree as a map: from a place, which is the processes and the
// spans above it, to what happens there, in order.

var treeLine = regexp.MustCompile(`^((?:│  |   )*(?:├─ |└─ )?)(.*)$`)

// outline reads what viv-tree printed. A `<no-span>` is its thread.
func outline(t *testing.T, text string) map[string][]string {
	t.Helper()
	places := map[string][]string{}
	var above []string // by depth; empty for events
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := treeLine.FindStringSubmatch(line)
		depth := len([]rune(m[1])) / 3
		above = above[:min(depth, len(above))]
		place := strings.Join(slices.DeleteFunc(slices.Clone(above), func(s string) bool { return s == "" }), " / ")
		switch what := m[2]; {
		case strings.HasPrefix(what, "[PROC"):
			above = append(above, what)
			places[place] = append(places[place], what)
		case strings.Contains(what, " <no-span> "):
			above = append(above, strings.Fields(what)[1])
		case strings.HasPrefix(what, "[SPAN"):
			above = append(above, what)
			places[place] = append(places[place], what)
		default:
			name, said, _ := strings.Cut(what, "→")
			said = said[:strings.LastIndex(said, " @+")]
			above = append(above, "")
			places[place] = append(places[place], strings.Fields(name)[1]+" "+strings.TrimSpace(said))
		}
	}
	for _, list := range places {
		slices.Sort(list) // what threads do beside each other has no order
	}
	return places
}

// outlineOfTrace makes the same of what Jaeger stored.
func outlineOfTrace(t *testing.T, answer []byte) map[string][]string {
	t.Helper()
	var doc struct {
		Result struct {
			ResourceSpans []struct {
				Resource struct {
					Attributes attributes `json:"attributes"`
				} `json:"resource"`
				ScopeSpans []struct {
					Spans []*storedSpan `json:"spans"`
				} `json:"scopeSpans"`
			} `json:"resourceSpans"`
		} `json:"result"`
	}
	if err := json.Unmarshal(answer, &doc); err != nil {
		t.Fatalf("%v: %.300s", err, answer)
	}
	spans := map[string]*storedSpan{}
	for _, r := range doc.Result.ResourceSpans {
		for _, sc := range r.ScopeSpans {
			for _, s := range sc.Spans {
				spans[s.SpanID] = s
			}
		}
	}
	places := map[string][]string{}
	seen := map[string]bool{}
	for _, s := range spans {
		if spans[s.ParentSpanID] == nil {
			continue // the session
		}
		place := s.place(spans)
		for _, e := range s.Events {
			name := e.Name
			if name == "exception" {
				name = "span_raise"
			}
			places[place] = append(places[place], name+" "+e.Attributes.get("target"))
		}
		// The span and its process are shown in what is above them.
		if i := strings.LastIndex(place, " / "); s.Attributes.get("code.function.name") != "" {
			places[place[:i]] = append(places[place[:i]], place[i+3:])
		} else if proc := s.process(spans); proc != "" && !seen[proc] {
			seen[proc] = true
			up := ""
			if i := strings.LastIndex(place, " / [PROC"); i >= 0 {
				up = place[:i]
			}
			places[up] = append(places[up], proc)
		}
	}
	for _, list := range places {
		slices.Sort(list)
	}
	return places
}

type attributes []struct {
	Key   string `json:"key"`
	Value struct {
		StringValue string          `json:"stringValue"`
		IntValue    json.RawMessage `json:"intValue"`
		BoolValue   bool            `json:"boolValue"`
	} `json:"value"`
}

func (as attributes) get(key string) string {
	for _, a := range as {
		if a.Key == key {
			return a.Value.StringValue + strings.Trim(string(a.Value.IntValue), `"`) + map[bool]string{true: "true"}[a.Value.BoolValue]
		}
	}
	return ""
}

type storedSpan struct {
	SpanID       string     `json:"spanId"`
	ParentSpanID string     `json:"parentSpanId"`
	Name         string     `json:"name"`
	Start        string     `json:"startTimeUnixNano"`
	End          string     `json:"endTimeUnixNano"`
	Attributes   attributes `json:"attributes"`
	Events       []struct {
		Name       string     `json:"name"`
		Attributes attributes `json:"attributes"`
	} `json:"events"`
}

// process is the line of the process whose first thread this is.
func (s *storedSpan) process(spans map[string]*storedSpan) string {
	pid := s.Attributes.get("process.pid")
	if s.Attributes.get("thread.id") != pid {
		return ""
	}
	line := fmt.Sprintf("[PROC pid=%s comm=%s", pid, s.Attributes.get("process.command"))
	if up := spans[s.ParentSpanID]; up.Name != "vivarium session" {
		line += " parent=" + up.Attributes.get("process.pid")
	}
	return line + "]"
}

// place is where viv-tree shows what is in this span.
func (s *storedSpan) place(spans map[string]*storedSpan) string {
	up := spans[s.ParentSpanID]
	pid, tid := s.Attributes.get("process.pid"), s.Attributes.get("thread.id")
	if s.Attributes.get("code.function.name") != "" {
		line := fmt.Sprintf("[SPAN tid=%s %s", tid, s.Name)
		if file := s.Attributes.get("code.file.path"); file != "" {
			line += "  at=" + filepath.Base(file)
			if n := s.Attributes.get("code.line.number"); n != "" {
				line += ":" + n
			}
		}
		line += "  dur=" + s.duration()
		if s.Attributes.get("viv.source") == "marker" {
			line += "  (marker)"
		}
		if s.Attributes.get("viv.dangling") != "" {
			line += "  (open)"
		} else if s.Attributes.get("viv.raised") != "" {
			line += "  (raise)"
		}
		place := up.place(spans)
		if i := strings.LastIndex(place, " / tid="); i >= 0 && up.Attributes.get("code.function.name") == "" {
			place = place[:i]
		}
		return place + " / " + line + "]"
	}
	if proc := s.process(spans); proc != "" {
		if up.Name == "vivarium session" {
			return proc + " / tid=" + tid
		}
		return up.place(spans) + " / " + proc
	}
	// Another thread of a process.
	for _, first := range spans {
		if first.Attributes.get("thread.id") == pid && first.Attributes.get("code.function.name") == "" && spans[first.ParentSpanID] != nil {
			place := first.place(spans)
			if i := strings.LastIndex(place, " / tid="); i >= 0 {
				place = place[:i]
			}
			return place + " / tid=" + tid
		}
	}
	return "nowhere"
}

// duration is rounded as viv-tree does it, half to even.
func (s *storedSpan) duration() string {
	start, _ := strconv.ParseInt(s.Start, 10, 64)
	end, _ := strconv.ParseInt(s.End, 10, 64)
	unit, name := int64(1000), "us"
	if end-start >= 1_000_000 {
		unit, name = 1_000_000, "ms"
	}
	tenths, rest := (end-start)*10/unit, (end-start)*10%unit
	if 2*rest > unit || 2*rest == unit && tenths%2 == 1 {
		tenths++
	}
	return fmt.Sprintf("%d.%d%s", tenths/10, tenths%10, name)
}
