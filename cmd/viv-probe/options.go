package main

import (
	"fmt"
	"os"
	"strings"

	"vivarium/pkg/cli"
	"vivarium/pkg/event"
	"vivarium/pkg/probe"
	"vivarium/pkg/probe/spans"
)

// options checks the flags and makes the recording's options of them.
func (f *flags) options() (probe.Options, error) {
	opt := probe.Options{
		PIDs: f.PID, Command: f.Command, Hooks: probe.Hooks(f.Hooks), User: f.User, CommandStdout: os.Stderr,
		NoFollow: f.NoFollow, FailedOpens: f.FailedOpens, Duration: f.Duration, NoMask: f.NoMask, TLSData: f.TLSData, Version: cli.Version,
	}
	if len(opt.Command) > 0 && opt.Command[0] == "--" {
		opt.Command = opt.Command[1:]
	}
	const hint = "viv-probe -p PID, or viv-probe -- CMD ARG..."
	for _, pid := range opt.PIDs {
		if pid <= 0 {
			return opt, cli.Usagef(hint, "-p %d: no process has that id", pid)
		}
	}
	switch {
	case f.Check && (len(opt.Command) > 0 || len(opt.PIDs) > 0):
		return opt, cli.Usagef("viv-probe --check", "--check watches nothing")
	case len(opt.Command) == 0 && len(opt.PIDs) == 0 && !f.Check:
		return opt, cli.Usagef(hint, "nothing to watch")
	case len(opt.Command) > 0 && len(opt.PIDs) > 0:
		return opt, cli.Usagef(hint, "either -p or a command, not both")
	case f.User != "" && len(opt.Command) == 0:
		return opt, cli.Usagef("", "--user is for a command")
	case f.Duration < 0:
		return opt, cli.Usagef("", "--duration %v: must not be negative", f.Duration)
	case f.BufferSize < os.Getpagesize() || f.BufferSize > 1<<30:
		return opt, cli.Usagef("", "--buffer-size %d: must be from %d to %d", f.BufferSize, os.Getpagesize(), 1<<30)
	}
	for opt.BufferSize = os.Getpagesize(); opt.BufferSize < f.BufferSize; {
		opt.BufferSize *= 2
	}
	var err error
	if opt.Events, err = choose(f.Event, f.Exclude); err != nil {
		return opt, err
	}
	if opt.Spans, err = probe.ParseSpans(f.Spans); err != nil {
		return opt, cli.Usagef("the providers are: "+strings.Join(probe.SpanProviders(), ", "), "--spans: %v", err)
	}
	for _, p := range opt.Spans.Providers {
		if p.Command != "" && len(opt.Command) == 0 {
			return opt, cli.Usagef(p.Command, "--spans %s is for a command", p.Name)
		}
	}
	if opt.Spans.Allow, err = spans.ReadAllow(f.SpanAllow); err != nil {
		return opt, cli.Usagef("", "--span-allow: %v", err)
	}
	err = f.joinTrace(&opt)
	return opt, err
}

// joinTrace sets the trace that the recording belongs to: that of the option, of
// the environment, or of the watched process.
func (f *flags) joinTrace(opt *probe.Options) error {
	tp, from := f.Traceparent, "--traceparent: "
	if tp == "" {
		tp, from = os.Getenv("TRACEPARENT"), "TRACEPARENT is ignored: "
	}
	for _, pid := range opt.PIDs {
		if tp == "" {
			tp, from = probe.Traceparent(pid), fmt.Sprintf("TRACEPARENT of process %d is ignored: ", pid)
		}
	}
	if tp != "" {
		var err error
		opt.TraceID, opt.ParentSpanID, err = probe.ParseTraceparent(tp)
		if err != nil && f.Traceparent != "" {
			return cli.Usagef("", "%s%v", from, err)
		}
		if err != nil {
			cli.Warn("%s%v", from, err)
		}
	}
	return nil
}

// choose is the set of events that -e and -x leave. What becomes of a connection
// belongs to its connect.
func choose(only, without []string) (map[event.ID]bool, error) {
	recordable := map[string]event.ID{}
	var names string
	chosen := map[event.ID]bool{}
	for _, id := range probe.Recordable() {
		recordable[event.Kinds[id].Name] = id
		names += " " + event.Kinds[id].Name
		chosen[id] = len(only) == 0
	}
	set := func(list []string, to bool) error {
		for _, name := range list {
			id, ok := recordable[name]
			if !ok {
				return cli.Usagef("the events are:"+names, "unknown event %q", name)
			}
			chosen[id] = to
		}
		return nil
	}
	if err := set(only, true); err != nil {
		return nil, err
	}
	if chosen[event.SockConnect] { // which may be pending
		chosen[event.SockOutcome] = true
	}
	if err := set(without, false); err != nil {
		return nil, err
	}
	for _, on := range chosen {
		if on {
			return chosen, nil
		}
	}
	return nil, cli.Usagef("", "%s", "no event is left to record")
}
