package main

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
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

	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"golang.org/x/sys/unix"
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
	env        []string
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

// start starts it with one configuration or more, of which later ones win.
func (c *collector) start(t *testing.T, configs ...string) {
	t.Helper()
	bin, err := buildCollector()
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for i, config := range configs {
		file := fmt.Sprintf("%s/config%d.yaml", c.dir, i)
		config = strings.NewReplacer("$GRPC", c.grpc, "$HTTP", c.http, "$DIR", c.dir).Replace(config)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", file)
	}
	log, err := os.Create(c.dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(bin, args...)
	c.cmd.Env = append(os.Environ(), c.env...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	killWithParent(c.cmd)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	t.Cleanup(c.stop)
	for _, addr := range []string{c.grpc, c.http} {
		if addr == "" {
			continue
		}
		until(t, func() bool { return listens(addr) }, func() string {
			return fmt.Sprintf("the collector does not listen on %s:\n%s", addr, readFile(t, c.dir+"/log"))
		})
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

// freePort is an address on loopback where nobody listens, kept for this test:
// a socket is bound to it that never listens. A server, which binds with
// SO_REUSEADDR as Go's do, may still take it and give it up again; no port that
// the kernel chooses for another server or client is this one.
func freePort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd)
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", addr.(*unix.SockaddrInet4).Port)
}

// items reads lines of OTLP/JSON into one text per span or log record, with its
// resource and scope, sorted: in which requests they came does not matter.
func items(t *testing.T, lines []byte) []string {
	t.Helper()
	var out []string
	for line := range bytes.Lines(lines) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
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
	cmd.Env = append(append(os.Environ(), quickExit, unhurried), env...)
	cmd.Stdin = bytes.NewReader(in)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.Bytes(), msg.Bytes(), cmd.ProcessState.ExitCode()
}

// kinds is a stream with every kind of event: captures, with their spans.
func kinds(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, name := range []string{"08_raise", "12_kinds_files", "13_kinds_net", "14_kinds_proc", "15_kinds_env", "17_http1", "22_names"} {
		in := bytes.NewReader(capture(t, "../../conformance/"+name+".vivraw"))
		if err := span.New(stream.NewWriter(&out), false).Run(stream.NewReader(in, vivraw.Format)); err != io.EOF {
			t.Fatal(err)
		}
	}
	return append(out.Bytes(), testStream(300, 3)...)
}

// capture reads a file that may be compressed.
func capture(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil && strings.HasSuffix(name, ".gz") {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			b, err = io.ReadAll(z)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCollector sends to a real Collector, in every way: what it wrote is what
// was sent.
func TestCollector(t *testing.T) {
	t.Parallel()
	in := kinds(t)
	certs := makeCerts(t)
	for _, events := range []string{"span", "log"} {
		sent, msg, _ := export(t, in, nil, "--events", events, "-o", "-")
		want := items(t, sent)
		if len(want) < 300 {
			t.Fatalf("only %d items, %s", len(want), msg)
		}
		for _, protocol := range []string{"http/protobuf", "http/json", "grpc"} {
			for _, tls := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/tls=%v", events, protocol, tls), func(t *testing.T) {
					t.Parallel()
					config, scheme := collectorConfig, "http://"
					env := []string{"OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"}
					if tls {
						config, scheme = certs.collector(config), "https://"
						env = append(env, certs.env...)
					}
					c := startCollector(t, config)
					addr := c.http
					if protocol == "grpc" {
						addr = c.grpc
					}
					if _, msg, status := export(t, in, env, "--events", events, scheme+addr); status != 0 || len(msg) > 0 {
						t.Fatalf("status %d, %s", status, msg)
					}
					c.stop()
					sameItems(t, want, c.wrote(t))
				})
			}
		}
	}
	// Without our certificate, or without the authority, nothing is taken.
	c := startCollector(t, certs.collector(collectorConfig))
	for _, addr := range []string{c.http, c.grpc} {
		protocol := map[string]string{c.http: "http/protobuf", c.grpc: "grpc"}[addr]
		for _, test := range []struct {
			env  []string
			says string
		}{{certs.env[:1], "trying again"}, {nil, "x509"}} {
			v := startViv(t, test.env, "--protocol", protocol, "https://"+addr)
			v.in.Write(in)
			v.msg.wait(t, test.says)
			v.Process.Kill()
			v.Wait()
		}
	}
	c.stop()
	if got := c.wrote(t); len(got) > 0 {
		t.Errorf("%d items taken", len(got))
	}
}

// wrote returns the items that the collector wrote, all when it is stopped.
func (c *collector) wrote(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, f := range []string{"/traces.jsonl", "/logs.jsonl"} {
		b, err := os.ReadFile(c.dir + f)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, items(t, b)...)
	}
	slices.Sort(all)
	return all
}

func sameItems(t *testing.T, sent, written []string) {
	t.Helper()
	if slices.Equal(sent, written) {
		return
	}
	t.Errorf("%d items sent, %d written", len(sent), len(written))
	for i := range min(len(sent), len(written)) {
		if sent[i] != written[i] {
			t.Fatalf("the first that differ:\nsent    %s\nwritten %s", sent[i], written[i])
		}
	}
}

// certs are a certificate authority's, a server's and a client's, in files.
type certs struct {
	dir string
	env []string // for viv-otlp; the first is the authority
}

func makeCerts(t *testing.T) certs {
	t.Helper()
	c := certs{dir: t.TempDir()}
	c.env = []string{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + c.dir + "/ca.pem",
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + c.dir + "/client.pem", "OTEL_EXPORTER_OTLP_CLIENT_KEY=" + c.dir + "/client.key"}
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	for i, name := range []string{"ca", "server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: i == 0, BasicConstraintsValid: true,
			KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if i == 0 {
			ca, caKey = cert, key
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, c.dir+"/"+name+".pem", "CERTIFICATE", der)
		writePEM(t, c.dir+"/"+name+".key", "EC PRIVATE KEY", keyDER)
	}
	return c
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// collector makes a configuration's receivers want TLS, and our certificate.
func (c certs) collector(config string) string {
	tls := fmt.Sprintf(`tls: {cert_file: %s/server.pem, key_file: %s/server.key, client_ca_file: %s/ca.pem}`, c.dir, c.dir, c.dir)
	return strings.NewReplacer(`"$GRPC"`, `"$GRPC", `+tls, `"$HTTP"`, `"$HTTP", `+tls).Replace(config)
}
