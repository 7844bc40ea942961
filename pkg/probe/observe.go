package probe

import (
	"errors"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

// observed knows which processes are inside a span of that name: they, and what they
// make meanwhile, are recorded.
type observed struct {
	span string
	open map[uint32]int // by process: spans that are open
}

// sees says whether an event is of such a process.
func (o *observed) sees(id event.ID, ev *event.Event) bool {
	in := o.open[ev.PID] > 0
	switch id {
	case event.SpanStart:
		if string(ev.Fields[event.SpanName].Text) == o.span {
			o.open[ev.PID]++
			return true
		}
	case event.SpanStop:
		if in && string(ev.Fields[event.SpanName].Text) == o.span {
			o.open[ev.PID]--
		}
	case event.ProcFork:
		if child := uint32(ev.Fields[event.ProcForkChildPID].Num); in && child != ev.PID {
			o.open[child] = 1
		} else if !in {
			delete(o.open, child) // the end of another one with that id was missed
		}
	}
	return in
}

// sweep forgets the processes that have ended. Nothing says so at once: the first
// thread's end is not the last's.
func (o *observed) sweep() {
	for pid := range o.open {
		if errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) {
			delete(o.open, pid)
		}
	}
}
