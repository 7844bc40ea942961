package main

import (
	"fmt"

	"vivarium/pkg/cli"
	"vivarium/pkg/event"
	"vivarium/pkg/probe"
)

// warn prints what a recording lacks.
func warn(res probe.Result, bufferSize int) {
	for _, err := range res.Unattached {
		cli.Warn("not attached: %v", err)
	}
	if res.RunsOn != 0 {
		cli.Warn("--duration is over: the command runs on, unwatched, as process %d", res.RunsOn)
	}
	if res.BadMarkers > 0 {
		cli.Warn("%d paths began with viv:// but were no markers; they are viv://start/NAME, viv://stop/NAME and viv://raise/ERROR", res.BadMarkers)
	}
	if res.Unfound != nil {
		cli.Warn("%v", res.Unfound)
	}
	if n := res.Lost - res.Unseen - res.Missed - res.Withheld; n > 0 {
		cli.Warn("%d events were lost: the reader was too slow for the ring buffer; try --buffer-size %d", n, 4*bufferSize)
	}
	if res.Outlived > 0 {
		cli.Warn("%s", outlived(res))
	}
	if res.Withheld > 0 {
		cli.Warn("%d events did not come until the end: the lost records say what held them back", res.Withheld)
	}
	if res.Unseen > 0 {
		cli.Warn("%d times a process went past the hooks, with io_uring or 32-bit system calls: the lost records say which, docs/events.md what is not seen then", res.Unseen)
	}
}

// outlived says which processes go on when the recording has ended.
func outlived(res probe.Result) string {
	b := fmt.Appendf(nil, "%d of the watched processes run on, and what they do now is not recorded:", res.Outlived)
	for i, s := range res.Survivors {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, " %d", s.PID)
		if s.Name != "" {
			b = append(event.AppendSafe(append(b, " ("...), []byte(s.Name)), ')')
		}
	}
	if n := res.Outlived - len(res.Survivors); n > 0 {
		b = fmt.Appendf(b, " and %d more", n)
	}
	return string(b)
}
