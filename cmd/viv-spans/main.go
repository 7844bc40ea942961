// Command viv-spans adds spans to a viv stream, and sets the span of each event.
package main

import (
	"vivarium/pkg/cli"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

func main() {
	var flags struct {
		TracePer string `name:"trace-per" enum:"session,method" default:"session" placeholder:"session|method" help:"Make the whole session one trace, or each outermost method a trace of its own."`
		File     string `arg:"" optional:"" help:"Stream or capture to read; - is stdin."`
	}
	cli.Program{
		Name: "viv-spans",
		Doc: "Reads a viv stream and adds spans: each event gets the span of the method in which it happened.\n\n" +
			"    viv-probe -- ruby app.rb | viv-spans | viv-tree",
		Flags: &flags,
		Run: func() error {
			in, err := cli.OpenInput(flags.File)
			if err != nil {
				return err
			}
			defer in.Close()
			out, err := cli.BinaryOutput()
			if err != nil {
				return err
			}
			r := stream.NewReader(in, vivraw.Format)
			b := span.New(stream.NewWriter(out), flags.TracePer == "method")
			err = cli.Ended(r, b.Run(r))
			b.Stats.Report(cli.Warn)
			if err == nil && b.Stats.Lost() > 0 {
				err = &cli.Exit{Status: cli.Incomplete}
			}
			return err
		},
	}.Main()
}
