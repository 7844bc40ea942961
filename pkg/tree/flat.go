package tree

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Flat reads r to its end and writes a table of its events to w, in the order of the
// stream, each with the innermost method around it. It writes whenever the stream pauses,
// and keeps only the open methods in memory. Its results are those of Draw.
func Flat(w io.Writer, r *stream.Reader) (res Result, err error) {
	type method struct {
		parent uint64
		depth  int
	}
	var (
		b       []byte
		methods = map[uint64]method{}
		events  bool // of the session
		spanned bool // it has spans
		policy  stream.Policy
	)
	unspanned := func() {
		if events && !spanned {
			res.Unspanned++
		}
		events, spanned = false, false
	}
	for {
		rec, err := r.Next()
		if err != nil {
			unspanned()
			if _, werr := w.Write(b); werr != nil {
				err = werr
			}
			return res, err
		}
		switch rec.Type {
		case stream.TypeSession:
			unspanned()
			clear(methods)
			if s, err := rec.Session(); err == nil {
				policy = s.Policy
			}
			b = fmt.Appendf(b, "%-18s %-7s %-7s %-6s %-6s %-16s %-32s %-16s %-16s %-5s %s\n", "ktime_ns", "pid", "tid",
				"uid", "gid", "comm", "trace_id", "span_id", "parent_span", "depth", "event")
		case stream.TypeSpanOpen:
			spanned = true
			if s, err := rec.Span(); err == nil && s.Kind == stream.SpanMethod {
				parent := s.ParentSpanID
				if parent == 0 {
					parent = s.LinkSpanID
				}
				methods[s.SpanID] = method{parent, methods[parent].depth + 1}
			}
		case stream.TypeSpan:
			if s, err := rec.Span(); err == nil {
				delete(methods, s.SpanID)
			}
		case stream.TypeEvent:
			ev, err := rec.Event()
			if err != nil || ev.Hidden {
				break
			}
			events = true
			m, ok := methods[ev.SpanID]
			if !ok {
				m.parent = ev.ParentSpanID
			}
			b = appendRow(b, ev, &policy, m.parent, m.depth)
		}
		if len(b) > 1<<16 || len(b) > 0 && !r.Pending() {
			if _, err := w.Write(b); err != nil {
				return res, err
			}
			b = b[:0]
		}
	}
}

func appendRow(b []byte, ev *event.Event, p *stream.Policy, parent uint64, depth int) []byte {
	num := func(n uint64, width int) {
		at := len(b)
		b = strconv.AppendUint(b, n, 10)
		for len(b) < at+width {
			b = append(b, ' ')
		}
		b = append(b, ' ')
	}
	num(ev.KtimeNS, 18)
	num(uint64(ev.PID), 7)
	num(uint64(ev.TID), 7)
	num(uint64(ev.UID), 6)
	num(uint64(ev.GID), 6)
	b = padded(b, 16, func(b []byte) []byte { return p.AppendName(b, ev.Comm) })
	b = append(b, ' ')
	b = append(hex.AppendEncode(b, ev.TraceID[:]), ' ')
	b = append(event.AppendSpanID(b, ev.SpanID), ' ')
	b = append(event.AppendSpanID(b, parent), ' ')
	num(uint64(depth), 5)
	return append(p.AppendName(b, ev.Name), '\n')
}
