package main

import (
	"bufio"
	"errors"
	"io"
	"os"

	"vivarium/pkg/cli"
	"vivarium/pkg/otlp"
	"vivarium/pkg/private"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

// write exports into a file.
func write(opt otlp.Options) error {
	if flags.URL != "" || flags.Spool != "" {
		return cli.Usagef("", "-o writes to a file: it cannot be combined with a URL or --spool")
	}
	w := cli.Output()
	if flags.Output != "-" {
		f, err := private.Create(flags.Output)
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
				hint = "run viv-otlp http://localhost:4318, set OTEL_EXPORTER_OTLP_ENDPOINT, or write to a file with -o FILE"
			}
			return cli.Usagef(hint, "%v", err)
		}
	}
	d, err := otlp.NewDelivery(otlp.DeliveryOptions{
		Endpoint:  endpoint,
		Spool:     flags.Spool,
		Deadline:  flags.Deadline,
		UserAgent: "viv-otlp/" + cli.Version,
		Warn:      cli.Warn,
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
	// The last message is about undelivered items, unless the input is invalid.
	var exit *cli.Exit
	if errors.As(err, &exit) && exit.Err == nil {
		// it was reported already
	} else if errors.As(err, &exit) && exit.Status == cli.Incomplete || errors.Is(err, stream.ErrIncomplete) {
		cli.Warn("%v", err)
	} else if err != nil {
		cli.Warn("%v", undelivered)
		return err
	}
	status := cli.Failed // the items are in the spool for the next run
	if err != nil || counts[otlp.Traces].Lost()+counts[otlp.Logs].Lost() > 0 {
		status = cli.Incomplete
	}
	return &cli.Exit{Status: status, Err: undelivered}
}

// convert converts stdin and passes its batches to emit.
func convert(opt otlp.Options, emit func(otlp.Batch) error) error {
	stdin, err := cli.OpenInput("-")
	if err != nil {
		return err
	}
	in := bufio.NewReader(stdin)
	if flags.Spool != "" {
		if _, err := in.Peek(1); err == io.EOF {
			return nil // only send the spool
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
		return cli.Usagef("put viv-spans in front: viv-probe ... | viv-spans | viv-otlp", "%v", err)
	}
	if err := c.Close(); err != nil {
		return err
	}
	err = cli.Ended(r, err)
	if d := c.Dropped(); d != (otlp.Dropped{}) {
		if d.Events > 0 {
			cli.Warn("%d events were dropped: too many waited for the end of their spans; --events log exports all", d.Events)
		}
		if d.NoID > 0 {
			cli.Warn("%d spans were dropped: they have no id", d.NoID)
		}
		if d.NoSpan > 0 {
			cli.Warn("%d events were dropped: they belong to no span", d.NoSpan)
		}
		if err == nil {
			err = &cli.Exit{Status: cli.Incomplete}
		}
	}
	return err
}
