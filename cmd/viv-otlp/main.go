// Command viv-otlp exports a stream's spans and events as OTLP.
package main

import (
	"os"
	"runtime/debug"
	"time"

	"vivarium/pkg/cli"
	"vivarium/pkg/otlp"
)

const doc = `Exports the spans and events of a viv stream as OTLP.

    viv-probe -p PID | viv-spans | viv-otlp http://localhost:4318
    viv-spans app.viv | viv-otlp -o app.otlp.jsonl

The OTEL_EXPORTER_OTLP_* variables, HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured.`

var flags struct {
	Protocol string        `enum:"http/protobuf,http/json,grpc," default:"" placeholder:"NAME" help:"http/protobuf (the default), http/json or grpc."`
	Events   string        `enum:"span,log" default:"span" placeholder:"span|log" help:"Export events as events of their spans, or as log records as they happen."`
	Spool    string        `placeholder:"DIR" help:"Write every batch to this directory before it is sent, and first send the batches of an earlier run."`
	Deadline time.Duration `default:"30s" placeholder:"D" help:"How long to wait for a receiver that accepts nothing, at the end of the input and when the queue is full (default 30s)."`
	Output   string        `short:"o" placeholder:"FILE" help:"Write OTLP/JSON, one request per line, to FILE (- is stdout) instead of sending it."`
	URL      string        `arg:"" optional:"" help:"Receiver; for HTTP /v1/traces is appended."`
}

func main() {
	cli.Program{Name: "viv-otlp", Doc: doc, Flags: &flags, Run: run}.Main()
}

func run() error {
	// Collect garbage rarely while few batches wait. If a receiver is down, collect it
	// often instead of using twice the memory.
	if os.Getenv("GOMEMLIMIT") == "" && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(72 << 20)
	}
	opt := otlp.Options{
		Version:      cli.Version,
		Resource:     otlp.ResourceFromEnv(os.Getenv),
		EventsAsLogs: flags.Events == "log",
	}
	if flags.Output != "" {
		return write(opt)
	}
	return send(opt)
}
