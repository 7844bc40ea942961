package tree

import (
	"strconv"
	"time"
	"unicode/utf8"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// text draws as vivarium does.
type text struct {
	color bool
	stop  uint64 // when the session ended; 0: not known
	start uint64 // and began
	line  []byte // what stands in front of a line: the branches around it
}

// The colours: few, and none that says what the words do not.
const (
	plain     = "\x1b[m"
	bold      = "\x1b[1m"
	alarming  = "\x1b[1;31m"
	striking  = "\x1b[33m"
	structure = "\x1b[36m"
)

func (d *text) paint(b []byte, c string) []byte {
	if d.color {
		b = append(b, c...)
	}
	return b
}

// event makes a line of an event, but for its offset.
func (d *text) event(b []byte, _ *stream.Record, ev *event.Event, p *stream.Policy) []byte {
	high := ev.Severity() == event.High
	b = append(padded(b, 4, func(b []byte) []byte { return append(b, ev.Label()...) }), ' ')
	if high {
		b = d.paint(b, alarming)
	}
	b = padded(b, 15, func(b []byte) []byte { return event.AppendSafe(b, ev.Name) })
	if high {
		b = d.paint(b, plain)
	}
	b = append(b, " →  "...)
	return padded(b, 30, func(b []byte) []byte {
		at := len(b)
		if b = p.AppendText(b, ev); len(b) == at {
			b = append(b, '-')
		}
		return b
	})
}

func (d *text) record(b []byte, _ *stream.Record) []byte { return b }

// padded appends what add appends, and blanks up to a width in characters.
func padded(b []byte, width int, add func([]byte) []byte) []byte {
	at := len(b)
	b = add(b)
	for n := utf8.RuneCount(b[at:]); n < width; n++ {
		b = append(b, ' ')
	}
	return b
}

func (d *text) session(w *output, s *session) {
	d.start, d.stop, d.line = s.StartKtimeNS, 0, nil
	if s.ended {
		d.stop = s.end.StopKtimeNS
	}
	w.b = appendHeader(w.b, s)
	for _, n := range s.roots {
		d.node(w, n, nil)
	}
}

func appendHeader(b []byte, s *session) []byte {
	b = append(b, "# vivarium session\n"...)
	if t := s.Policy.Times; t != nil {
		b = event.AppendSafe(append(b, "#   started  iso="...), []byte(t.StartISO))
		b = event.AppendSafe(append(b, "  ktime="...), []byte(t.StartKtime))
		b = event.AppendSafe(append(b, "\n#   stopped  iso="...), []byte(t.StopISO))
		b = event.AppendSafe(append(b, "  ktime="...), []byte(t.StopKtime))
		b = appendSeconds(append(b, "\n#   duration "...), t.DurationNS)
		return append(b, '\n')
	}
	b = append(b, "#   started  iso="...)
	b = appendTime(b, s.StartUnixNS)
	b = strconv.AppendUint(append(b, "  ktime="...), s.StartKtimeNS, 10)
	b = append(b, "\n#   stopped  iso="...)
	end := s.newest
	if s.ended {
		end = s.end.StopKtimeNS
		b = appendTime(b, s.end.StopUnixNS)
		b = strconv.AppendUint(append(b, "  ktime="...), end, 10)
	} else {
		b = append(b, "  ktime="...)
	}
	b = append(b, "\n#   duration "...)
	return append(appendSeconds(b, int64(end-s.StartKtimeNS)), '\n')
}

func appendTime(b []byte, unixNS int64) []byte {
	return time.Unix(0, unixNS).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

// node draws n and what is under it. host is the innermost span around.
func (d *text) node(w *output, n, host *node) {
	b := w.b
	switch n.kind {
	case kindProc:
		b = d.proc(b, n.proc)
	case kindEvent:
		b = append(b, n.text...)
		b = d.offset(b, n.start, host)
	case kindLost:
		b = d.lost(b, n, host)
	default:
		b = d.span(b, n)
		host = n
	}
	w.b = append(b, '\n')
	w.spill()
	children := n.children(host)
	at := len(d.line)
	for i, c := range children {
		branch, below := "├─ ", "│  "
		if i == len(children)-1 {
			branch, below = "└─ ", "   "
		}
		w.b = append(append(w.b, d.line...), branch...)
		d.line = append(d.line, below...)
		d.node(w, c, host)
		d.line = d.line[:at]
	}
}

func (d *text) proc(b []byte, p *proc) []byte {
	b = d.paint(b, structure)
	b = strconv.AppendUint(append(b, "[PROC pid="...), uint64(p.pid), 10)
	b = append(b, " comm="...)
	if p.comm != "" {
		b = event.AppendSafe(b, []byte(p.comm))
	} else {
		b = append(b, '?')
	}
	if p.parent != nil {
		b = strconv.AppendUint(append(b, " parent="...), uint64(p.parent.pid), 10)
	}
	return d.paint(append(b, ']'), plain)
}

func (d *text) span(b []byte, n *node) []byte {
	s := n.span
	b = strconv.AppendUint(append(b, "[SPAN tid="...), uint64(s.TID), 10)
	b = append(b, ' ')
	if n.kind == kindGap {
		b = append(b, "<no-span>"...)
	} else {
		b = d.paint(b, bold)
		if s.Name == "" {
			b = append(b, "<anonymous>"...)
		} else {
			b = event.AppendSafe(b, []byte(s.Name))
		}
		b = d.paint(b, plain)
		if s.File != "" {
			b = append(b, ' ')
			b = event.AppendPlace(b, []byte(s.File), s.Line)
		}
	}
	b = appendDuration(append(b, "  dur="...), int64(s.EndKtimeNS-s.StartKtimeNS))
	if s.Source == "marker" {
		b = append(b, "  (marker)"...) // the program only says so
	}
	if s.Dangling {
		b = append(b, "  (open)"...)
	} else if s.Raised {
		b = append(b, "  (raise)"...)
	}
	return append(b, ']')
}

func (d *text) offset(b []byte, ktime uint64, host *node) []byte {
	b = append(b, " @+"...)
	return appendDuration(b, d.since(ktime, host))
}

// since is the time from the start of the span host, ns. Events outside the
// session are taken to be at its edge.
func (d *text) since(ktime uint64, host *node) int64 {
	if d.stop != 0 {
		ktime = min(ktime, max(d.stop, d.start))
	}
	ktime = max(ktime, d.start)
	if host == nil {
		return int64(ktime - d.start)
	}
	return int64(ktime - max(host.span.StartKtimeNS, min(d.start, ktime)))
}

func (d *text) lost(b []byte, n, host *node) []byte {
	b = d.paint(b, striking)
	b = append(b, "DROP dropped_events"...)
	b = d.paint(b, plain)
	b = append(b, "  →  "...)
	b = padded(b, 30, func(b []byte) []byte {
		b = strconv.AppendUint(b, n.lost.Count, 10)
		b = append(b, " event(s) lost ("...)
		return append(event.AppendSafe(b, []byte(cause(n.lost))), ')')
	})
	return d.offset(b, n.when(host), host)
}

func cause(l stream.Lost) string {
	switch l.Cause {
	case "", "ring buffer full":
		return "ringbuf overflow"
	}
	return l.Cause
}

// appendDuration appends ns as vivarium does: in microseconds below one
// millisecond, else in milliseconds, with one decimal.
func appendDuration(b []byte, ns int64) []byte {
	if ns < 0 {
		b = append(b, '-')
	}
	n := magnitude(ns)
	if n < 1e6 {
		return append(appendRounded(b, n, 100), "us"...)
	}
	return append(appendRounded(b, n, 100_000), "ms"...)
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// appendRounded appends n, of which unit is a tenth, with one decimal. Ruby
// rounds a half of a tenth to even, but for the half of the first one.
func appendRounded(b []byte, n, unit uint64) []byte {
	tenths := roundEven(n, unit)
	if n == 50 && unit == 100 {
		tenths = 1
	}
	b = strconv.AppendUint(b, tenths/10, 10)
	return append(b, '.', byte('0'+tenths%10))
}

func roundEven(n, unit uint64) uint64 {
	q, r := n/unit, n%unit
	if r > unit/2 || r == unit/2 && q%2 == 1 {
		q++
	}
	return q
}

// appendSeconds appends ns as seconds with three decimals.
func appendSeconds(b []byte, ns int64) []byte {
	if ns < 0 {
		b = append(b, '-')
	}
	ms := roundEven(magnitude(ns), 1e6)
	b = append(strconv.AppendUint(b, ms/1000, 10), '.')
	ms %= 1000
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 's')
}
