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
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

// buildAll builds viv's programs, without the race detector.
func buildAll(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+"/", "../...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// pipe runs a program with that input. Exit status 3 is well, too.
func pipe(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	var msg bytes.Buffer
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("%s: %v, %s", cmd, err, &msg)
	}
	return out
}

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
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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

// TestHourWithoutReceiver feeds an hour of 10,000 events a second while nobody
// takes them: the memory stays bounded, and every span is accounted for.
func TestHourWithoutReceiver(t *testing.T) {
	bin := buildAll(t)
	cmd := exec.Command(bin+"/viv-otlp", "--deadline", "5s", "http://127.0.0.1:1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var msg bytes.Buffer
	cmd.Stderr = &msg
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const spansEach, eventsEach, rounds = 10_000, 3, 1200 // 36,000,000 events
	chunk := testStream(spansEach-2, eventsEach)
	for range rounds {
		if _, err := in.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	cmd.Wait()
	said := fmt.Sprintf("%d spans were not delivered", spansEach*rounds)
	if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(msg.String(), said) {
		t.Errorf("status %d, %s", cmd.ProcessState.ExitCode(), &msg)
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
	t.Logf("at most %d MB of memory, %v of CPU", peak/1e6, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if peak > 100_000_000 {
		t.Errorf("%d bytes of memory", peak)
	}
}

const nopConfig = `
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "$GRPC"}
      http: {endpoint: "$HTTP"}
exporters:
  nop: {}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [nop]}
    logs: {receivers: [otlp], exporters: [nop]}
`

// rates measures how viv-otlp, which has one core, exports spans with three
// events each, and prints what docs/scale.md says.
type rates struct {
	bin, file string
}

const rateSpans, rateRounds = 300_000, 3

func newRates(t *testing.T) rates {
	r := rates{buildAll(t), t.TempDir() + "/in.viv"}
	if err := os.WriteFile(r.file, testStream(rateSpans-2, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r rates) run(t *testing.T, what string, receiver *collector, args ...string) {
	var wall, own, theirs time.Duration
	for i := range rateRounds {
		in, err := os.Open(r.file)
		if err != nil {
			t.Fatal(err)
		}
		before, begun := cpuOf(t, receiver), time.Now()
		cmd := exec.Command(r.bin+"/viv-otlp", args...)
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		cmd.Stdin, cmd.Stderr = in, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		in.Close()
		took, cost := time.Since(begun), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
		if i == 0 || took < wall {
			wall = took
		}
		if i == 0 || cost < own {
			own, theirs = cost, cpuOf(t, receiver)-before
		}
	}
	t.Logf("%-30s %7.0f spans/s, viv-otlp %5.2f us a span, receiver %5.2f us", what, rateSpans/wall.Seconds(),
		float64(own.Microseconds())/rateSpans, float64(theirs.Microseconds())/rateSpans)
}

func TestRates(t *testing.T) {
	r := newRates(t)
	c := startCollector(t, nopConfig)
	r.run(t, "http/protobuf", c, "http://"+c.http)
	r.run(t, "http/json", c, "--protocol", "http/json", "http://"+c.http)
	r.run(t, "grpc", c, "--protocol", "grpc", "http://"+c.grpc)
	r.run(t, "http/protobuf, --events log", c, "--events", "log", "http://"+c.http)
	r.run(t, "http/protobuf, --spool", c, "--spool", t.TempDir()+"/spool", "http://"+c.http)
}

// TestTierRates does so with deploy's agent and gateway.
func TestTierRates(t *testing.T) {
	r := newRates(t)
	gateway, agent := tiers(t)
	gateway.start(t, readFile(t, "../../deploy/gateway.yaml"), "exporters: {nop: }\nservice: {pipelines: {traces: {exporters: [nop]}, logs: {exporters: [nop]}}}\n")
	agent.start(t, readFile(t, "../../deploy/agent.yaml"))
	a, g, begun := cpuOf(t, agent), cpuOf(t, gateway), time.Now()
	r.run(t, "to deploy/agent.yaml", agent, "http://"+agent.http)
	last, used := time.Now(), cpuOf(t, gateway)
	for time.Since(last) < 3*time.Second { // until nothing more arrives
		time.Sleep(100 * time.Millisecond)
		if now := cpuOf(t, gateway); now != used {
			used, last = now, time.Now()
		}
	}
	n := float64(rateSpans * rateRounds)
	t.Logf("%-30s %7.0f spans/s, agent %5.2f us a span, gateway %5.2f us", "agent and gateway", n/last.Sub(begun).Seconds(),
		float64((cpuOf(t, agent)-a).Microseconds())/n, float64((cpuOf(t, gateway)-g).Microseconds())/n)
}

// TestSizes prints how large the events of real captures are.
func TestSizes(t *testing.T) {
	bin := buildAll(t)
	var in bytes.Buffer
	files, err := filepath.Glob("../../conformance/6?_real_*.vivraw*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures, %v", err)
	}
	events := 0
	for _, name := range files {
		out := pipe(t, capture(t, name), bin+"/viv-spans")
		in.Write(out)
		for r := stream.NewReader(bytes.NewReader(out)); ; {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if rec.Type == stream.TypeEvent {
				events++
			}
		}
	}
	for _, args := range [][]string{{"--events", "span"}, {"--events", "log"}} {
		for _, compression := range []string{"none", "gzip"} {
			var size int64
			f := newFaulty(t)
			f.size = &size
			f.start(t)
			cmd := exec.Command(bin+"/viv-otlp", append(args, "http://"+f.addr)...)
			cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_COMPRESSION="+compression)
			cmd.Stdin = bytes.NewReader(in.Bytes())
			if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 3 {
				t.Fatalf("%v %s", err, out)
			}
			t.Logf("%v, compression %s: %d bytes an event, with its share of the spans, of %d", args, compression, size/int64(events), events)
		}
	}
}

// cpuOf is the CPU time that a collector has used.
func cpuOf(t *testing.T, c *collector) time.Duration {
	t.Helper()
	stat := readFile(t, fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	fields := strings.Fields(stat[strings.LastIndex(stat, ")"):])
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// TestUnitRuns runs what the systemd unit starts as the unit says: as another
// user, with its capabilities, and with those of viv-probe alone.
func TestUnitRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user with capabilities")
	}
	bin := buildAll(t)
	state, err := os.MkdirTemp("", "viv-unit") // under no directory that is root's alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(state)
	if out, err := exec.Command("sh", "-c", `chmod 755 "$0" && cp "$1"/* "$0" && mkdir -m 700 "$0/state" && chown nobody "$0/state"`, state, bin).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	unit := strings.ReplaceAll(readFile(t, "../../deploy/viv@.service"), "\\\n", "")
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatalf("the unit has no %s", name)
		}
		return m[1]
	}
	target := exec.Command("sh", "-c", "while :; do cat /etc/hostname; sleep 0.1; done")
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { target.Process.Kill(); target.Wait() }()

	caps := strings.ReplaceAll(strings.ToLower(setting("AmbientCapabilities")), "cap_", "+")
	caps = "-all," + strings.ReplaceAll(caps, " ", ",")
	command := strings.ReplaceAll(setting("ExecStart"), "$$", "$")
	command = regexp.MustCompile(`\$\(systemctl [^)]*\)`).ReplaceAllString(command, strconv.Itoa(target.Process.Pid))
	c := startCollector(t, collectorConfig)
	sh := exec.Command("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps="+caps, "--ambient-caps="+caps, "--bounding-set="+caps,
		"--no-new-privs", "sh", "-c", "exec "+command)
	sh.Env = []string{"PATH=" + state + ":/usr/bin:/bin:/usr/sbin:/sbin", "STATE_DIRECTORY=" + state + "/state", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.http}
	var msg said
	sh.Stderr = &msg
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if sh.ProcessState == nil {
			syscall.Kill(-sh.Process.Pid, syscall.SIGKILL)
			sh.Wait()
		}
	}()
	until(t, func() bool {
		logs, _ := os.ReadFile(c.dir + "/logs.jsonl")
		return bytes.Contains(logs, []byte("/etc/hostname"))
	}, msg.String)
	eff := map[string]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, name := range stats {
		b, _ := os.ReadFile(name)
		exe, _ := os.Readlink(filepath.Dir(name) + "/exe")
		if m := regexp.MustCompile(`(?s)Uid:\s(\d+).*CapEff:\s(\w+)`).FindSubmatch(b); m != nil && filepath.Dir(exe) == state {
			eff[filepath.Base(exe)] = string(m[1]) + " " + string(m[2])
		}
	}
	// 39 and 38 are CAP_BPF and CAP_PERFMON, 19 CAP_SYS_PTRACE, 2
	// CAP_DAC_READ_SEARCH, 40 CAP_CHECKPOINT_RESTORE.
	want := map[string]string{"viv-probe": "65534 000001c000080004", "viv-spans": "65534 0000000000000000", "viv-otlp": "65534 0000000000000000"}
	if d := cmp.Diff(want, eff); d != "" {
		t.Errorf("users and capabilities (-want +got):\n%s\n%s", d, &msg)
	}
	syscall.Kill(-sh.Process.Pid, syscall.SIGTERM) // as systemd ends it
	if err := sh.Wait(); err != nil && sh.ProcessState.ExitCode() != 3 {
		t.Errorf("%v, %s", err, &msg)
	}
	c.stop()
	if !strings.Contains(readFile(t, c.dir+"/traces.jsonl"), `"vivarium session"`) {
		t.Errorf("no span of the session, %s", &msg)
	}
}
