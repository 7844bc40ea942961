// Command viv-filter selects events of a viv stream, or writes it in another encoding.
package main

import (
	"errors"
	"fmt"

	"vivarium/pkg/cli"
	"vivarium/pkg/filter"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/alecthomas/kong"
)

func main() {
	var flags struct {
		All      bool     `short:"a" help:"Select all events, instead of what matters for a security review. Overrides -e and --filter."`
		Event    []string `short:"e" sep:"none" placeholder:"EVENT,..." help:"Only these events."`
		Exclude  []string `short:"x" sep:"none" placeholder:"EVENT,..." help:"Exclude these events."`
		Severity []string `short:"s" sep:"none" placeholder:"SEVERITY,..." help:"Only events of this severity: high, medium."`
		PID      []string `name:"pid" sep:"none" placeholder:"N" help:"Only events of this process."`
		TID      []string `name:"tid" sep:"none" placeholder:"N" help:"Only events of this thread."`
		Span     []string `sep:"none" placeholder:"REGEX" help:"Only events in spans whose name matches; <no-span> is the name outside all methods."`
		Payload  []string `sep:"none" placeholder:"[EVENT=]REGEX" help:"Only events whose text in viv-tree matches; with EVENT= this applies to events of that kind."`
		Depth    *integer `short:"d" placeholder:"N" help:"Remove method spans that are nested deeper than N; their events move to the span around them."`
		Filter   *string  `placeholder:"JSON" help:"vivarium's filter object. Overrides -e."`
		Dedup    bool     `short:"u" help:"Show equal opens, mappings, dlopens and environment accesses once."`
		Quiet    bool     `short:"q" help:"Write nothing, read to the end, and exit with 0 if an event is selected, 1 if none, 2 if none but the stream was incomplete."`
		To       string   `placeholder:"msgpack|json|vivraw" help:"Encoding to write: the stream, a JSON object per line, or a vivarium capture."`
		File     string   `arg:"" optional:"" help:"Stream or capture to read; - is stdin."`
	}
	cli.Program{
		Name: "viv-filter",
		Doc: "Reads a viv stream and writes only selected events. Without an option that selects, it keeps what matters for a security review.\n\n" +
			"    viv-spans app.viv | viv-filter -e path_open,proc_exec --payload path_open=/etc/ | viv-tree\n" +
			"    viv-filter -q --severity high app.viv && echo 'somebody should look at this'",
		Flags: &flags,
		Run: func() error {
			o := filter.Options{
				All: flags.All, Events: flags.Event, Exclude: flags.Exclude, Severities: flags.Severity,
				PIDs: flags.PID, TIDs: flags.TID, Span: flags.Span, Payload: flags.Payload,
				Depth: (*int64)(flags.Depth), JSON: flags.Filter, Dedup: flags.Dedup, Encoding: flags.To != "",
				NoSpans: flags.To == "vivraw",
			}
			sel, warnings, err := o.Selection()
			if err != nil {
				return cli.Usagef("viv-filter --help shows the options", "%w", err)
			}
			for _, w := range warnings {
				cli.Warn("%s", w)
			}
			in, err := cli.OpenInput(flags.File)
			if err != nil {
				return err
			}
			defer in.Close()
			out, err := sink(flags.To, flags.Quiet)
			if err != nil {
				return err
			}
			r, f := stream.NewReader(in, vivraw.Format), filter.New(sel)
			err = filter.Run(r, f, out)
			if errors.Is(err, filter.ErrNoSpans) {
				return cli.Usagef("put viv-spans in front: viv-spans | viv-filter ...",
					"--span, -d and rules about spans in --filter need spans, but the stream has none")
			}
			f.Stats.Report(cli.Warn)
			err = cli.Ended(r, err)
			if raw, ok := out.(*vivraw.Writer); ok {
				if kinds := raw.LeftOut(); kinds != "" {
					cli.Warn("events were left out, because a vivarium capture cannot hold them: %s", kinds)
					if err == nil {
						err = &cli.Exit{Status: cli.Incomplete}
					}
				}
			}
			if flags.Quiet {
				return gate(f.Stats.Matched > 0, err)
			}
			return err
		},
	}.Main()
}

func sink(to string, quiet bool) (filter.Sink, error) {
	if to != "" && to != "msgpack" && to != "json" && to != "vivraw" {
		return nil, cli.Usagef("", "--to %q: must be msgpack, json or vivraw", to)
	}
	switch {
	case quiet:
		return filter.Discard{}, nil
	case to == "json":
		return filter.JSON(cli.Output()), nil
	}
	out, err := cli.BinaryOutput()
	if err != nil {
		return nil, err
	}
	if to == "vivraw" {
		return vivraw.NewWriter(out), nil
	}
	return filter.Msgpack(out), nil
}

// gate returns the error of viv-filter -q. As in grep, a match is success, whatever went
// wrong after it. But if a stream is incomplete, a missing match is an error.
func gate(matched bool, err error) error {
	switch {
	case matched:
		return nil
	case err == nil:
		return &cli.Exit{Status: cli.Failed}
	}
	return &cli.Exit{Status: cli.Usage, Err: err}
}

// integer is a whole number. kong would take a negative int for an option.
type integer int64

// Decode implements kong.MapperValue.
func (i *integer) Decode(ctx *kong.DecodeContext) error {
	token := ctx.Scan.Pop()
	if token.IsEOL() {
		return errors.New("a whole number is missing")
	}
	n, err := filter.ParseInt(fmt.Sprint(token.Value))
	*i = integer(n)
	return err
}
