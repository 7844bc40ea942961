// Command viv-otlp exports a stream's spans and events as OTLP.
package main

import (
	"context"
	"errors"
	"io"
	"os"

	"vivarium/pkg/cli"
	"vivarium/pkg/otlp"
	"vivarium/pkg/stream"
)

const doc = `Exports the spans and events of a viv stream as OTLP.

    viv-probe -p PID | viv-spans | viv-otlp http://localhost:4318
    viv-spans app.viv | viv-otlp -o app.otlp.jsonl

Without URL and -o the receiver is OTEL_EXPORTER_OTLP_TRACES_ENDPOINT's or
OTEL_EXPORTER_OTLP_ENDPOINT's.`

var flags struct {
	Protocol string `enum:"http/protobuf,http/json" default:"http/protobuf" help:"${enum}." placeholder:"NAME"`
	Output   string `short:"o" placeholder:"FILE" help:"Write OTLP/JSON, a request per line, to FILE (- is stdout) instead of sending it."`
	URL      string `arg:"" optional:"" help:"Receiver; /v1/traces is appended."`
}

func main() {
	cli.Program{Name: "viv-otlp", Doc: doc, Flags: &flags, Run: run}.Main()
}

func run() error {
	emit, err := destination()
	if err != nil {
		return err
	}
	in, err := cli.OpenInput("-")
	if err != nil {
		return err
	}
	r := stream.NewReader(in)
	c := otlp.NewConverter(otlp.Options{Version: cli.Version, Resource: otlp.ResourceFromEnv(os.Getenv)}, emit)
	for {
		rec, err := r.Next()
		if err == nil {
			err = c.Record(rec)
			if err == nil {
				continue
			}
		}
		if errors.Is(err, otlp.ErrNoSpans) {
			return cli.Usagef("viv-probe ... | viv-spans | viv-otlp", "%v", err)
		}
		if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
			return err
		}
		if cerr := c.Close(); cerr != nil {
			return cerr
		}
		return cli.Ended(r, err)
	}
}

// destination is where batches go.
func destination() (func(otlp.Batch) error, error) {
	if flags.Output != "" {
		if flags.URL != "" {
			return nil, cli.Usagef("leave one of them out", "both -o and a URL are given")
		}
		w := cli.Output()
		if flags.Output != "-" {
			f, err := otlp.CreateFile(flags.Output)
			if err != nil {
				return nil, err
			}
			w = f
		}
		return func(b otlp.Batch) error { return otlp.WriteJSON(w, b) }, nil
	}
	url, exact := flags.URL, false
	if url == "" {
		if url = os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); url != "" {
			exact = true
		} else {
			url = os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
		}
	}
	if url == "" {
		return nil, cli.Usagef("viv-otlp http://localhost:4318, or set OTEL_EXPORTER_OTLP_ENDPOINT, or -o FILE", "no receiver is named")
	}
	h, err := otlp.NewHTTP(url, flags.Protocol, exact)
	if err != nil {
		return nil, cli.Usagef("", "%v", err)
	}
	return func(b otlp.Batch) error { return h.Send(context.Background(), b) }, nil
}
