// Command viv-tree draws a viv stream as a tree.
package main

import (
	"io"

	"vivarium/pkg/cli"
	"vivarium/pkg/stream"
	"vivarium/pkg/tree"
	"vivarium/pkg/vivraw"
)

func main() {
	var flags struct {
		Format string `enum:"tree,flat,json" default:"tree" placeholder:"tree|flat|json" help:"Draw a tree, a table of events, or the tree as one JSON document for each session."`
		File   string `arg:"" optional:"" help:"Stream or capture to read; - is stdin."`
	}
	cli.Program{
		Name: "viv-tree",
		Doc: "Draws a viv stream as a tree of processes, spans and events.\n\n" +
			"    viv-probe -- ruby app.rb | viv-spans | viv-filter | viv-tree",
		Flags: &flags,
		Run: func() error {
			in, err := cli.OpenInput(flags.File)
			if err != nil {
				return err
			}
			defer in.Close()
			r := stream.NewReader(in, vivraw.Format)
			res, err := draw(cli.Output(), r, flags.Format)
			if res.Unspanned > 0 {
				cli.Warn("the stream has no spans; put viv-spans in front of viv-tree to see methods")
			}
			return cli.Ended(r, err)
		},
	}.Main()
}

func draw(w io.Writer, r *stream.Reader, format string) (tree.Result, error) {
	switch format {
	case "flat":
		return tree.Flat(w, r)
	case "json":
		return tree.DrawJSON(w, r)
	}
	return tree.Draw(w, r, cli.Color())
}
