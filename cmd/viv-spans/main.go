// Command viv-spans gives each event of a viv stream its span, and adds the
// spans.
package main

import (
	"vivarium/pkg/cli"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

func main() {
	var flags struct {
		TracePer string `name:"trace-per" enum:"session,method" default:"session" placeholder:"session|method" help:"What is a trace: the whole session, or each method that no other method called."`
		File     string `arg:"" optional:"" help:"Stream or capture to read; - is stdin."`
	}
	cli.Program{
		Name: "viv-spans",
		Doc: "Reads a viv stream and writes it with spans: each event gets the span of the method that it happened in.\n\n" +
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
