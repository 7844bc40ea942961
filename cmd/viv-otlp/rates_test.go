//go:build slow

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vivarium/pkg/stream"
)

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
