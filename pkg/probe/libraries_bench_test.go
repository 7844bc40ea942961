package probe

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/event"
)

// BenchmarkGetenv is the CPU time of a call of getenv: by a program that nobody watches, by one
// beside which another one is watched, and by a watched one.
func BenchmarkGetenv(b *testing.B) {
	path := compiled(b, "env", "cc")
	const calls = "300000"
	alone := func(b *testing.B) string {
		out, err := exec.Command(path, "loop", calls).Output()
		if err != nil {
			b.Fatal(err)
		}
		return strings.TrimPrefix(strings.TrimSpace(string(out)), "ns=")
	}
	for name, run := range map[string]func(b *testing.B) string{
		"bare": alone,
		"beside": func(b *testing.B) string {
			r := start(b, path, "wait")
			p := newProbe(b, Options{PIDs: []int{r.pid}, Events: events(event.EnvCaccess)})
			ns := alone(b)
			r.end()
			finish(b, context.Background(), p)
			return ns
		},
		"watched": func(b *testing.B) string {
			s := record(b, Options{Events: events(event.EnvCaccess), BufferSize: 1 << 28}, path, "loop", calls)
			b.ReportMetric(float64(s.result.Lost), "lost")
			return s.said["ns"]
		},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				ns, err := strconv.ParseFloat(run(b), 64)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(ns, "ns/call")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

const pythonWriter = `
import http.client, ssl, time
c = http.client.HTTPSConnection("HOST:PORT", context=ssl._create_unverified_context())
c.connect()
data = b"d" * 4096
n = 10000
c.sock.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (n * len(data)))
start = time.thread_time_ns()
for _ in range(n):
    c.sock.write(data)
print("ns=%d" % ((time.thread_time_ns() - start) // n))
c.sock.recv(1)
`

// BenchmarkSSLWrite is the CPU time of a write of 4 KiB into a TLS connection, by Python.
func BenchmarkSSLWrite(b *testing.B) {
	addr := tlsServer(b)
	argv := []string{tool(b, "python3"), clientScript(b, addr, pythonWriter)}
	for name, run := range map[string]func(b *testing.B) string{
		"bare": func(b *testing.B) string {
			out, err := exec.Command(argv[0], argv[1:]...).Output()
			if err != nil {
				b.Fatal(err)
			}
			return strings.TrimPrefix(strings.TrimSpace(string(out)), "ns=")
		},
		"watched": func(b *testing.B) string {
			s := record(b, Options{Events: events(event.SSLWrite), BufferSize: 1 << 26}, argv...)
			b.ReportMetric(float64(s.result.Lost), "lost")
			return s.said["ns"]
		},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				ns, err := strconv.ParseFloat(run(b), 64)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(ns, "ns/call")
				b.ReportMetric(4096/ns*1000, "MB/s")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
