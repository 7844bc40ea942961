// Command viv-probe watches processes and writes what they do as a viv stream.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"vivarium/pkg/cli"
	"vivarium/pkg/private"
	"vivarium/pkg/probe"
	"vivarium/pkg/probe/launch"
)

const doc = `Watches processes with all that they start, and writes what they do as a stream.

    viv-probe -- bundle install | viv-spans | viv-tree
    viv-probe -p 4711 -o run.viv`

type flags struct {
	PID         []int         `name:"pid" short:"p" placeholder:"PID" help:"Process to watch, with its threads and descendants."`
	Event       []string      `short:"e" placeholder:"EVENT" help:"Record only these events."`
	Exclude     []string      `short:"x" placeholder:"EVENT" help:"Do not record these events."`
	Hooks       string        `enum:"auto,lsm,tracepoint" default:"auto" help:"Where events come from: BPF LSM, tracepoints, or event by event the better that this kernel takes (${enum})."`
	Spans       []string      `default:"auto" placeholder:"PROVIDER" help:"Where method spans come from: auto, none, or providers (a wrong one lists them)."`
	SpanAllow   []string      `sep:"none" placeholder:"GLOB|@FILE" help:"Methods that are spans, as Class#method, instead of vivarium's list."`
	NoFollow    bool          `help:"Leave out the processes that a watched one makes."`
	User        string        `placeholder:"NAME" help:"Run the command as this user (under sudo: as the one who called it)."`
	Duration    time.Duration `placeholder:"D" help:"End after this time, such as 30s or 5m; a command runs on, unwatched."`
	BufferSize  int           `default:"16777216" placeholder:"BYTES" help:"Size of the ring buffer, rounded up to a power of two (default 16 MiB)."`
	Traceparent string        `placeholder:"TP" help:"Join this W3C trace (default: TRACEPARENT of the environment, else of the process's)."`
	FailedOpens bool          `help:"Record opens that failed, too."`
	TLSData     bool          `name:"tls-data" help:"Record the plaintext of TLS connections too, with every secret in it."`
	NoMask      bool          `help:"Show passwords, tokens and the like in arguments and requests."`
	Check       bool          `help:"Watch nothing; print which events this machine shows, where from, and why the others are missing."`
	Output      string        `short:"o" placeholder:"FILE" help:"Write the stream to FILE (mode 0600); the command keeps stdout."`
	Command     []string      `arg:"" optional:"" passthrough:"partial" name:"cmd" help:"Command to start and watch."`
}

// The waiting process that becomes the command must execute it from its main
// thread, which is the one that is watched.
func init() { runtime.LockOSThread() }

func main() {
	launch.WaitToStart()
	var f flags
	cli.Program{Name: "viv-probe", Doc: doc, Flags: &f, Run: f.run, HandlesSignals: true}.Main()
}

func (f *flags) run() error {
	opt, err := f.options()
	if err != nil {
		return err
	}
	if f.Check {
		return f.check(opt)
	}
	out := os.Stdout
	if f.Output != "" {
		if out, err = private.Create(f.Output); err != nil {
			return &cli.Exit{Status: f.failed(), Err: err}
		}
		opt.CommandStdout = os.Stdout
	} else if _, err := cli.BinaryOutput(); err != nil {
		return err
	}
	p, err := probe.New(opt)
	if err != nil {
		return f.exit(err)
	}
	ctx := context.Background()
	if len(f.Command) == 0 {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends it at once
	}
	res, err := p.Record(ctx, out)
	err = errors.Join(err, p.Close())
	warn(res, opt.BufferSize)
	switch {
	case errors.Is(err, syscall.EPIPE): // the reader has had enough
	case err != nil:
		return f.exit(err)
	}
	if res.Status != 0 {
		return &cli.Exit{Status: res.Status}
	}
	if res.Lost > 0 {
		return &cli.Exit{Status: cli.Incomplete}
	}
	return nil
}

// check prints what is live; a requested event that is missing is exit status 3.
func (f *flags) check(opt probe.Options) error {
	list, err := probe.Check(opt)
	if err != nil {
		return f.exit(err)
	}
	if err := probe.WriteStatus(os.Stdout, list); err != nil {
		return err
	}
	missing := 0
	for _, s := range list {
		if s.Hooks == "" {
			missing++
		}
	}
	if missing > 0 {
		return &cli.Exit{Status: cli.Incomplete, Err: fmt.Errorf("%d of %d events are missing here", missing, len(list))}
	}
	return nil
}

// failed is the status of a failure of ours.
func (f *flags) failed() int {
	if len(f.Command) > 0 || f.Check {
		return 125
	}
	return cli.Failed
}

func (f *flags) exit(err error) error {
	var c *launch.Error
	if errors.As(err, &c) {
		return &cli.Exit{Status: c.Status, Err: err}
	}
	return &cli.Exit{Status: f.failed(), Err: err}
}
