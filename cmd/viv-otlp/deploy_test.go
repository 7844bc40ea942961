package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fileOut makes the gateway write into $DIR instead of sending to a backend.
const fileOut = `
exporters:
  file/traces: {path: "$DIR/traces.jsonl", append: true, flush_interval: 100ms}
  file/logs: {path: "$DIR/logs.jsonl", append: true, flush_interval: 100ms}
service:
  pipelines:
    traces: {exporters: [file/traces]}
    logs: {exporters: [file/logs]}
`

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tiers are a gateway and an agent, set up and not started.
func tiers(t *testing.T) (gateway, agent *collector) {
	t.Helper()
	certs := makeCerts(t)
	gateway = &collector{grpc: freePort(t), dir: t.TempDir()}
	agent = &collector{grpc: freePort(t), http: freePort(t), dir: t.TempDir()}
	for k, v := range map[string]string{
		"VIV_AGENT_GRPC": agent.grpc, "VIV_AGENT_HTTP": agent.http, "VIV_GATEWAY": gateway.grpc, "VIV_CA": certs.dir + "/ca.pem",
		"VIV_QUEUE": agent.dir + "/queue",
	} {
		agent.env = append(agent.env, k+"="+v)
	}
	for k, v := range map[string]string{
		"VIV_GATEWAY_GRPC": gateway.grpc, "VIV_BACKEND": "http://127.0.0.1:1", "VIV_CERT": certs.dir + "/server.pem", "VIV_KEY": certs.dir + "/server.key",
		"VIV_QUEUE": gateway.dir + "/queue",
	} {
		gateway.env = append(gateway.env, k+"="+v)
	}
	return gateway, agent
}

// TestDeploy runs deploy's agent and gateway: viv-otlp sends to the agent while
// there is no gateway, the agent is killed, and what the gateway writes in the
// end is what viv-otlp sent. The real Collector thereby validates both
// configurations.
func TestDeploy(t *testing.T) {
	t.Parallel()
	in := kinds(t)
	gateway, agent := tiers(t)
	agentConfig := readFile(t, "../../deploy/agent.yaml")

	sent, _, _ := export(t, in, nil, "--events", "log", "-o", "-")
	want := items(t, sent)
	agent.start(t, agentConfig)
	if _, msg, status := export(t, in, nil, "--events", "log", "http://"+agent.http); status != 0 || len(msg) > 0 {
		t.Fatalf("status %d, %s", status, msg)
	}
	agent.kill()
	gateway.start(t, readFile(t, "../../deploy/gateway.yaml"), fileOut)
	agent.start(t, agentConfig)
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		got := gateway.wrote(t)
		if len(got) >= len(want) || time.Now().After(deadline) {
			sameItems(t, want, got)
			break
		}
	}
	agent.stop()
	gateway.stop()
	if got := gateway.wrote(t); len(got) != len(want) {
		t.Errorf("%d items written in the end, %d sent", len(got), len(want))
	}
}

// TestUnit checks the systemd unit as far as that goes without systemd.
func TestUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	unit := readFile(t, "../../deploy/viv@.service")
	for name, text := range map[string]string{"viv@demo.service": unit, "demo.service": "[Service]\nExecStart=/bin/true\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, "viv@demo.service"))
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "viv@") || strings.Contains(line, dir) {
			t.Errorf("%s", line)
		}
	}
	if err != nil && !t.Failed() {
		t.Logf("%v\n%s", err, out)
	}
}
