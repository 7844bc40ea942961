// Command viv-otlp exports a stream's spans and events as OTLP.
package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"time"

	"vivarium/pkg/cli"
	"vivarium/pkg/otlp"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

const doc = `Exports the spans and events of a viv stream as OTLP.

    viv-probe -p PID | viv-spans | viv-otlp http://localhost:4318
    viv-spans app.viv | viv-otlp -o app.otlp.jsonl

The OTEL_EXPORTER_OTLP_* variables are honoured.`

var flags struct {
	Protocol string        `enum:"http/protobuf,http/json,grpc," default:"" placeholder:"NAME" help:"http/protobuf (the default), http/json or grpc."`
	Events   string        `enum:"span,log" default:"span" placeholder:"span|log" help:"Export events as events of their spans, or as log records as they happen."`
	Spool    string        `placeholder:"DIR" help:"Write every batch into this directory before it is sent, and send first what an earlier run left there."`
	Deadline time.Duration `default:"30s" placeholder:"D" help:"How long to wait for a receiver that takes nothing, at the end of the input and when there is no more room (default 30s)."`
	Output   string        `short:"o" placeholder:"FILE" help:"Write OTLP/JSON, a request per line, to FILE (- is stdout) instead of sending it."`
	URL      string        `arg:"" optional:"" help:"Receiver; for HTTP /v1/traces is appended."`
}

func main() {
	cli.Program{Name: "viv-otlp", Doc: doc, Flags: &flags, Run: run}.Main()
}

func run() error {
	// Collect garbage seldom while little waits, and often rather than hold twice
	// of it when a receiver is down.
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

// write exports into a file.
func write(opt otlp.Options) error {
	if flags.URL != "" || flags.Spool != "" {
		return cli.Usagef("", "-o writes to a file: it goes with neither a URL nor --spool")
	}
	w := cli.Output()
	if flags.Output != "-" {
		f, err := otlp.CreateFile(flags.Output)
		if err != nil {
			return err
		}
		w = f
	}
	return convert(opt, func(b otlp.Batch) error { return otlp.WriteJSON(w, b) })
}

// send exports to a receiver.
func send(opt otlp.Options) error {
	endpoint := func(s otlp.Signal) (*otlp.Endpoint, error) {
		return otlp.NewEndpoint(s, flags.URL, flags.Protocol, os.Getenv)
	}
	for _, s := range []otlp.Signal{otlp.Traces, otlp.Logs} {
		if _, err := endpoint(s); err != nil && (s == otlp.Traces || opt.EventsAsLogs) {
			hint := ""
			if err == otlp.ErrNoEndpoint {
				hint = "viv-otlp http://localhost:4318, or set OTEL_EXPORTER_OTLP_ENDPOINT, or -o FILE"
			}
			return cli.Usagef(hint, "%v", err)
		}
	}
	d, err := otlp.NewDelivery(otlp.DeliveryOptions{
		Endpoint: endpoint,
		Spool:    flags.Spool,
		Deadline: flags.Deadline,
		Agent:    "viv-otlp/" + cli.Version,
		Warn:     cli.Warn,
	})
	if err != nil {
		return err
	}
	err = convert(opt, d.Put)
	counts := d.Close()
	undelivered := d.Err(counts)
	if undelivered == nil {
		return err
	}
	// The last word is what was not delivered, but for input that is none.
	var exit *cli.Exit
	if errors.As(err, &exit) && exit.Err == nil {
		// it was said
	} else if errors.As(err, &exit) && exit.Status == cli.Incomplete || errors.Is(err, stream.ErrIncomplete) {
		cli.Warn("%v", err)
	} else if err != nil {
		cli.Warn("%v", undelivered)
		return err
	}
	status := cli.Failed // it is in the spool, and will be sent the next time
	if err != nil || counts[otlp.Traces].Lost()+counts[otlp.Logs].Lost() > 0 {
		status = cli.Incomplete
	}
	return &cli.Exit{Status: status, Err: undelivered}
}

// convert exports stdin by emit.
func convert(opt otlp.Options, emit func(otlp.Batch) error) error {
	stdin, err := cli.OpenInput("-")
	if err != nil {
		return err
	}
	in := bufio.NewReader(stdin)
	if flags.Spool != "" {
		if _, err := in.Peek(1); err == io.EOF {
			return nil // only to send what is in the spool
		}
	}
	r := stream.NewReader(in, vivraw.Format)
	c := otlp.NewConverter(opt, emit)
	for err == nil {
		var rec *stream.Record
		if rec, err = r.Next(); err == nil {
			err = c.Record(rec)
		}
	}
	if errors.Is(err, otlp.ErrNoSpans) {
		return cli.Usagef("viv-probe ... | viv-spans | viv-otlp", "%v", err)
	}
	if err := c.Close(); err != nil {
		return err
	}
	err = cli.Ended(r, err)
	if d := c.Dropped(); d != (otlp.Dropped{}) {
		if d.Events > 0 {
			cli.Warn("%d events were dropped: their spans have too many (--events log exports all)", d.Events)
		}
		if d.NoID > 0 {
			cli.Warn("%d spans have no id and were dropped", d.NoID)
		}
		if d.NoSpan > 0 {
			cli.Warn("%d events are in no span and were dropped", d.NoSpan)
		}
		if err == nil {
			err = &cli.Exit{Status: cli.Incomplete}
		}
	}
	return err
}
