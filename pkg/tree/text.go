package tree

import (
	"strconv"
	"unicode/utf8"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// text draws the tree like vivarium.
type text struct {
	color  bool
	stop   uint64         // ktime of the session's end; 0: not known
	start  uint64         // and of its start
	policy *stream.Policy // of the session
	line   []byte         // prefix of a line: the branches around it
	depth  int            // of the line
}

// The colours. The text has the same information without them.
const (
	colorOff     = "\x1b[m"
	colorName    = "\x1b[1m"
	colorHigh    = "\x1b[1;31m"
	colorLost    = "\x1b[33m"
	colorProcess = "\x1b[36m"
)

func (d *text) paint(b []byte, c string) []byte {
	if d.color {
		b = append(b, c...)
	}
	return b
}

// event appends the line of an event up to its offset.
func (d *text) event(b []byte, _ *stream.Record, ev *event.Event, p *stream.Policy) []byte {
	high := ev.Severity() == event.High
	b = append(padded(b, 4, func(b []byte) []byte { return append(b, ev.Label()...) }), ' ')
	if high {
		b = d.paint(b, colorHigh)
	}
	b = padded(b, 15, func(b []byte) []byte { return p.AppendName(b, ev.Name) })
	if high {
		b = d.paint(b, colorOff)
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

// padded calls add to append text, and appends blanks up to a width in characters.
func padded(b []byte, width int, add func([]byte) []byte) []byte {
	at := len(b)
	b = add(b)
	for n := utf8.RuneCount(b[at:]); n < width; n++ {
		b = append(b, ' ')
	}
	return b
}

func (d *text) session(w *output, s *session) {
	d.start, d.stop, d.line, d.policy = s.StartKtimeNS, 0, nil, &s.Policy
	if s.ended {
		d.stop = s.end.StopKtimeNS
	}
	w.b = appendHeader(w.b, s)
	for _, n := range s.roots {
		d.node(w, n, nil)
	}
}

// node draws n and the nodes below it. enclosing is the innermost span around n.
func (d *text) node(w *output, n, enclosing *node) {
	b := w.b
	switch n.kind {
	case kindProc:
		b = d.proc(b, n.proc)
	case kindEvent:
		b = append(b, n.text...)
		b = d.offset(b, n.start, enclosing)
	case kindLost:
		b = d.lost(b, n, enclosing)
	default:
		b = d.span(b, n)
		enclosing = n
	}
	w.b = append(b, '\n')
	w.flushFull()
	if d.depth == maxDepth {
		d.deeper(w, n, enclosing)
		return
	}
	children := n.children(enclosing)
	at := len(d.line)
	d.depth++
	for i, c := range children {
		branch, below := "├─ ", "│  "
		if i == len(children)-1 {
			branch, below = "└─ ", "   "
		}
		w.b = append(append(w.b, d.line...), branch...)
		d.line = append(d.line, below...)
		d.node(w, c, enclosing)
		d.line = d.line[:at]
	}
	d.depth--
}

// deeper draws the number of lines below n instead of the lines.
func (d *text) deeper(w *output, n, enclosing *node) {
	if lines := n.deeper(enclosing); lines > 0 {
		w.b = append(append(w.b, d.line...), "└─ ... "...)
		w.b = append(strconv.AppendInt(w.b, int64(lines), 10), " deeper\n"...)
	}
}

func (d *text) proc(b []byte, p *proc) []byte {
	b = d.paint(b, colorProcess)
	b = strconv.AppendUint(append(b, "[PROC pid="...), uint64(p.pid), 10)
	b = append(b, " comm="...)
	if p.comm != "" {
		b = d.policy.AppendName(b, []byte(p.comm))
	} else {
		b = append(b, '?')
	}
	if p.parent != nil {
		b = strconv.AppendUint(append(b, " parent="...), uint64(p.parent.pid), 10)
	}
	return d.paint(append(b, ']'), colorOff)
}

func (d *text) span(b []byte, n *node) []byte {
	s := n.span
	b = strconv.AppendUint(append(b, "[SPAN tid="...), uint64(s.TID), 10)
	b = append(b, ' ')
	if n.kind == kindGap {
		b = append(b, stream.NoSpan...)
	} else {
		b = d.paint(b, colorName)
		if s.Name == "" {
			b = append(b, stream.Anonymous...)
		} else {
			b = d.policy.AppendName(b, []byte(s.Name))
		}
		b = d.paint(b, colorOff)
		if s.File != "" {
			b = append(b, ' ')
			b = event.AppendPlace(b, []byte(s.File), s.Line, d.policy.AppendName)
		}
	}
	b = appendDuration(append(b, "  dur="...), int64(s.EndKtimeNS-s.StartKtimeNS))
	if s.Source == event.SourceMarker {
		b = append(b, "  (marker)"...) // reported by the program itself
	}
	if s.Dangling {
		b = append(b, "  (open)"...)
	} else if s.Raised {
		b = append(b, "  (raise)"...)
	}
	return append(b, ']')
}

func (d *text) offset(b []byte, ktime uint64, enclosing *node) []byte {
	b = append(b, " @+"...)
	return appendDuration(b, d.since(ktime, enclosing))
}

// since returns the time from the start of the span enclosing, ns. Times outside the
// session count as its start or end, and times before the span as its start.
func (d *text) since(ktime uint64, enclosing *node) int64 {
	from := d.start
	if enclosing != nil {
		from = d.inSession(enclosing.span.StartKtimeNS)
	}
	return int64(max(d.inSession(ktime), from) - from)
}

// inSession limits a ktime to the session.
func (d *text) inSession(ktime uint64) uint64 {
	if d.stop != 0 {
		ktime = min(ktime, d.stop)
	}
	return max(ktime, d.start)
}

func (d *text) lost(b []byte, n, enclosing *node) []byte {
	b = d.paint(b, colorLost)
	b = append(b, "DROP dropped_events"...)
	b = d.paint(b, colorOff)
	b = append(b, "  →  "...)
	b = padded(b, 30, func(b []byte) []byte {
		b = strconv.AppendUint(b, n.lost.Count, 10)
		b = append(b, " event(s) lost ("...)
		return append(d.policy.AppendName(b, []byte(cause(n.lost))), ')')
	})
	return d.offset(b, n.shownTime(enclosing), enclosing)
}

func cause(l stream.Lost) string {
	switch l.Cause {
	case "", stream.CauseBufferFull:
		return "ringbuf overflow"
	}
	return l.Cause
}
