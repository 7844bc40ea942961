package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// buildCollector builds a real OpenTelemetry Collector, which takes a minute
// and a half the first time, into build/ at the top of the source tree.
var buildCollector = sync.OnceValues(func() (string, error) {
	bin, err := filepath.Abs("../../build/otelcol")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", bin, ".")
	cmd.Dir = "testdata/collector"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the collector: %v\n%s", err, out)
	}
	return bin, nil
})

// collector is a running OpenTelemetry Collector.
type collector struct {
	grpc, http string // host:port
	dir        string // of what it wrote: traces.jsonl, logs.jsonl
	cmd        *exec.Cmd
}

const collectorConfig = `
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "$GRPC"}
      http: {endpoint: "$HTTP"}
exporters:
  file/traces: {path: "$DIR/traces.jsonl", append: true, flush_interval: 100ms}
  file/logs: {path: "$DIR/logs.jsonl", append: true, flush_interval: 100ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file/traces]}
    logs: {receivers: [otlp], exporters: [file/logs]}
`

// startCollector starts one and waits until it listens. $GRPC, $HTTP and $DIR
// in its configuration are replaced.
func startCollector(t *testing.T, config string) *collector {
	t.Helper()
	c := &collector{grpc: freePort(t), http: freePort(t), dir: t.TempDir()}
	c.start(t, config)
	return c
}

func (c *collector) start(t *testing.T, config string) {
	t.Helper()
	bin, err := buildCollector()
	if err != nil {
		t.Fatal(err)
	}
	config = strings.NewReplacer("$GRPC", c.grpc, "$HTTP", c.http, "$DIR", c.dir).Replace(config)
	if err := os.WriteFile(c.dir+"/config.yaml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(c.dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(bin, "--config", c.dir+"/config.yaml")
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	t.Cleanup(c.stop)
	for _, addr := range []string{c.grpc, c.http} {
		deadline := time.Now().Add(30 * time.Second)
		for !listens(addr) {
			if time.Now().After(deadline) {
				b, _ := os.ReadFile(c.dir + "/log")
				t.Fatalf("the collector does not listen on %s:\n%s", addr, b)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// stop ends it in good order: it writes all that it has.
func (c *collector) stop() {
	if c.cmd.ProcessState == nil {
		c.cmd.Process.Signal(syscall.SIGTERM)
		c.cmd.Wait()
	}
}

func (c *collector) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

func listens(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// freePort is an address on loopback where nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// items reads lines of OTLP/JSON into one text per span or log record, with its
// resource and scope, sorted: in which requests they came does not matter.
func items(t *testing.T, lines []byte) []string {
	t.Helper()
	var out []string
	for line := range bytes.Lines(lines) {
		var doc map[string][]map[string]any
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		for _, signal := range [][2]string{{"Spans", "spans"}, {"Logs", "logRecords"}} {
			for _, r := range doc["resource"+signal[0]] {
				scopes, _ := r["scope"+signal[0]].([]any)
				delete(r, "scope"+signal[0])
				for _, s := range scopes {
					scope := s.(map[string]any)
					list, _ := scope[signal[1]].([]any)
					delete(scope, signal[1])
					for _, item := range list {
						b, err := json.Marshal(map[string]any{"resource": r, "scope": scope, "item": item})
						if err != nil {
							t.Fatal(err)
						}
						out = append(out, string(b))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// export runs viv-otlp with a stream on its stdin. It returns stdout and stderr.
func export(t *testing.T, in []byte, env []string, args ...string) (stdout, stderr []byte, status int) {
	t.Helper()
	cmd := exec.Command("viv-otlp", args...)
	cmd.Env = append(append(os.Environ(), quickExit), env...)
	cmd.Stdin = bytes.NewReader(in)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.Bytes(), msg.Bytes(), cmd.ProcessState.ExitCode()
}

// What a real Collector wrote is what was sent.
func TestCollector(t *testing.T) {
	in := testStream(1000, 3)
	want, _, _ := export(t, in, nil, "-o", "-")
	for _, protocol := range []string{"http/protobuf", "http/json"} {
		t.Run(protocol, func(t *testing.T) {
			c := startCollector(t, collectorConfig)
			_, msg, status := export(t, in, nil, "--protocol", protocol, "http://"+c.http)
			if status != 0 || len(msg) > 0 {
				t.Fatalf("status %d, %s", status, msg)
			}
			c.stop()
			got, err := os.ReadFile(c.dir + "/traces.jsonl")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(items(t, want), items(t, got)); d != "" {
				t.Errorf("the collector wrote other spans (-sent +written):\n%.2000s", d)
			}
		})
	}
}
