package tree

import (
	"strconv"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// document draws the tree as JSON: the records of the stream with their children, and
// events with their text.
type document struct{}

func (document) event(b []byte, rec *stream.Record, ev *event.Event, p *stream.Policy) []byte {
	b = stream.AppendJSON(b, rec)
	b = append(b[:len(b)-1], `,"label":"`...)
	b = append(append(b, ev.Label()...), `","severity":"`...)
	b = append(append(b, ev.Severity().String()...), `",`...)
	return stream.AppendJSONText(b, "text", p.AppendText(nil, ev))
}

func (document) record(b []byte, rec *stream.Record) []byte {
	b = stream.AppendJSON(b, rec)
	return b[:len(b)-1]
}

func (d document) session(w *output, s *session) {
	w.b = append(append(w.b, `{"session":`...), s.headText...)
	t := text{start: s.StartKtimeNS}
	if s.ended {
		t.stop = s.end.StopKtimeNS
		w.b = append(append(w.b, `},"end":`...), s.endText...)
	}
	w.b = append(w.b, `},"tree":`...)
	d.list(w, s.roots, nil, &t)
	w.b = append(w.b, "}\n"...)
}

func (d document) list(w *output, nodes []*node, enclosing *node, t *text) {
	w.b = append(w.b, '[')
	for i, n := range nodes {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		d.node(w, n, enclosing, t)
	}
	w.b = append(w.b, ']')
}

// node appends n. The rendered record of a node does not have its closing brace yet.
func (d document) node(w *output, n, enclosing *node, t *text) {
	b := append(w.b, n.text...)
	switch n.kind {
	case kindEvent:
		b = strconv.AppendInt(append(b, `,"offset_ns":`...), t.since(n.start, enclosing), 10)
	case kindGap:
		b = strconv.AppendUint(append(b, `{"type":"no_span","pid":`...), uint64(n.span.PID), 10)
		b = strconv.AppendUint(append(b, `,"tid":`...), uint64(n.span.TID), 10)
		b = strconv.AppendUint(append(b, `,"start_ktime_ns":`...), n.span.StartKtimeNS, 10)
		b = strconv.AppendUint(append(b, `,"end_ktime_ns":`...), n.span.EndKtimeNS, 10)
		enclosing = n
	case kindMethod:
		enclosing = n
	case kindProc:
		b = strconv.AppendUint(append(b, `{"type":"process","pid":`...), uint64(n.proc.pid), 10)
		if n.proc.comm != "" {
			b = stream.AppendJSONText(append(b, ','), "comm", []byte(n.proc.comm))
		}
		if n.proc.parent != nil {
			b = strconv.AppendUint(append(b, `,"parent_pid":`...), uint64(n.proc.parent.pid), 10)
		}
	}
	w.b = b
	w.flushFull()
	if t.depth++; t.depth > maxDepth {
		if lines := n.deeper(enclosing); lines > 0 {
			w.b = strconv.AppendInt(append(w.b, `,"deeper":`...), int64(lines), 10)
		}
	} else if children := n.children(enclosing); len(children) > 0 {
		w.b = append(w.b, `,"children":`...)
		d.list(w, children, enclosing, t)
	}
	t.depth--
	w.b = append(w.b, '}')
}
