package otlp

import (
	"bytes"
	"strconv"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Severity numbers of log records.
const (
	severityInfo  = 9
	severityWarn  = 13
	severityError = 17
)

// event adds an event to its span, or emits its log record.
func (c *Converter) event(ev *event.Event) error {
	c.last = max(c.last, ev.KtimeNS)
	thread := c.threadOf(ev)
	if thread == nil && c.root == nil && c.open[ev.SpanID] == nil {
		if c.seq == 0 {
			return ErrNoSpans
		}
		c.dropped.NoSpan++
		return nil
	}
	if thread != nil && thread.PID == ev.PID && len(ev.Comm) > 0 && !bytes.Equal(thread.comm, ev.Comm) {
		thread.comm = append(thread.comm[:0], ev.Comm[:min(len(ev.Comm), maxText)]...)
	}
	switch ev.Kind {
	case &event.Kinds[event.ProcFork]:
		c.procs.forked(ev)
	case &event.Kinds[event.ProcExec]:
		c.procs.executed(ev)
	case &event.Kinds[event.ProcExit]: // exported with the thread's span
		if thread != nil {
			b := thread.exit[:0]
			if p := ev.Fields[event.ProcExitProcess]; p.Type != event.None && p.Num == 0 {
				thread.exit = b // the process goes on
				return nil
			}
			if code := ev.Fields[event.ProcExitCode]; code.Type != event.None {
				b = attrInt(b, 9, "process.exit.code", int64(code.Num))
			}
			if sig := ev.Fields[event.ProcExitSignal]; sig.Num != 0 {
				b = attrInt(b, 9, "viv.exit_signal", int64(sig.Num))
			}
			thread.exit = b
		}
		return nil
	case &event.Kinds[event.SpanStart], &event.Kinds[event.SpanStop]:
		return nil
	}
	if ev.Hidden {
		return nil
	}
	o := c.open[ev.SpanID]
	if o == nil { // its span has already ended
		c.late++
		if o = thread; o == nil {
			o = c.root
		}
	}
	name, severity := ev.Name, severityInfo
	if ev.Severity() == event.High {
		severity = severityWarn
	}
	if ev.Is(event.SpanRaise) {
		name, severity = exceptionName, severityError
		o.exception = append(o.exception[:0], ev.Fields[event.SpanRaiseError].Text...)
		if m := ev.Fields[event.SpanRaiseMessage].Text; len(m) > 0 {
			o.exception = append(append(o.exception, ": "...), m...)
		}
		o.exception = o.exception[:cutLen(o.exception, maxText)]
	}
	if cap(c.target) > maxBytes { // free the memory of a very large text
		c.target = nil
	}
	c.target = appendTarget(c.target[:0], ev, &c.session.Policy)
	return c.addOccurrence(o, ev.PID, occurrence{ev.KtimeNS, name, severity, c.target}, func(b []byte, f field) []byte {
		return appendEventAttrs(b, f, ev, c.target)
	})
}

var (
	exceptionName = []byte("exception") // the name of the semantic conventions
	lossName      = []byte("dropped_events")
)

// loss adds a loss to the session's span.
func (c *Converter) loss(l *stream.Lost) error {
	c.last = max(c.last, l.KtimeNS)
	c.lost += l.Count
	if c.root == nil {
		return nil
	}
	c.target = append(strconv.AppendUint(c.target[:0], l.Count, 10), " events lost"...)
	return c.addOccurrence(c.root, 0, occurrence{l.KtimeNS, lossName, severityError, c.target}, func(b []byte, f field) []byte {
		b = attrInt(b, f, "viv.lost_events", clampInt(l.Count))
		return attrText(b, f, "viv.cause", l.Cause)
	})
}

// occurrence has the parts of a span event or log record except its attributes.
type occurrence struct {
	ktime    uint64
	name     []byte
	severity int
	body     []byte
}

// addOccurrence exports an occurrence in span o: as one of its events, or as a log
// record with the resource of process pid.
func (c *Converter) addOccurrence(o *openSpan, pid uint32, h occurrence, attrs func(b []byte, f field) []byte) error {
	at := c.wall(h.ktime)
	if c.opt.EventsAsLogs {
		return c.log(o, pid, at, h, attrs)
	}
	if o.n >= maxEvents || len(o.events) >= maxEventBytes || c.pending >= maxPending {
		o.dropped++
		c.dropped.Events++
		return nil
	}
	was, room := len(o.events), cap(o.events)
	b, body := begin(o.events, 11) // Span.events
	b = appendFixed64(b, 1, at)
	b = appendText(b, 2, view(h.name))
	b = attrs(b, 3)
	o.events = end(b, body)
	c.pending += cap(o.events) - room
	if len(o.events) > maxEventBytes {
		o.events = o.events[:was]
		o.dropped++
		c.dropped.Events++
		return nil
	}
	o.n++
	return nil
}

func (c *Converter) log(o *openSpan, pid uint32, at uint64, h occurrence, attrs func(b []byte, f field) []byte) error {
	trace := o.TraceID
	if trace == [16]byte{} {
		trace = c.session.TraceID
	}
	b, body := begin(c.buf[:0], 2) // ScopeLogs.log_records
	b = appendFixed64(b, 1, at)
	b = appendVarint(b, 2, uint64(h.severity))
	b, value := begin(b, 5)
	b = appendText(b, 1, view(h.body))
	b = end(b, value)
	b = attrs(b, 6)
	if o.SpanID != 0 && trace != [16]byte{} {
		b = appendBytes(b, 9, trace[:])
		b = appendSpanID(b, 10, o.SpanID)
	}
	b = appendFixed64(b, 11, at)
	b = appendText(b, 12, view(h.name))
	return c.addItem(c.logs, c.procs.resource(pid), end(b, body))
}

// appendTarget appends the event's text in the form that vivarium exports.
func appendTarget(b []byte, ev *event.Event, p *stream.Policy) []byte {
	if !ev.Is(event.SSLWrite) {
		return p.AppendText(b, ev)
	}
	length, captured := ev.Fields[event.SSLWriteLen].Num, ev.Fields[event.SSLWriteCaptured].Num
	b = strconv.AppendUint(append(b, "data_len="...), length, 10)
	return strconv.AppendUint(append(b, " cap_len="...), captured, 10)
}

// appendEventAttrs appends vivarium's attributes in its order, then those of the
// semantic conventions, then viv's own.
func appendEventAttrs(b []byte, f field, ev *event.Event, target []byte) []byte {
	b = attrInt(b, f, "thread.id", int64(ev.TID))
	b = attrInt(b, f, "process.pid", int64(ev.PID))
	b = attrInt(b, f, "user.id", int64(ev.UID))
	b = attrInt(b, f, "group.id", int64(ev.GID))
	b = attrText(b, f, "severity", ev.Severity().String())
	if len(ev.Comm) > 0 {
		b = attrText(b, f, "process.command", view(ev.Comm))
	}
	if len(target) > 0 {
		b = attrText(b, f, "target", view(target))
	}
	switch ev.Kind {
	case &event.Kinds[event.SockConnect]:
		if addr := ev.Fields[event.SockConnectAddr].Text; len(addr) > 0 {
			b = attrText(b, f, "network.peer.address", view(addr))
			if port := ev.Fields[event.SockConnectPort]; port.Type != event.None {
				b = attrInt(b, f, "network.peer.port", int64(port.Num))
			}
		} else if path := ev.Fields[event.SockConnectPath].Text; len(path) > 0 {
			b = attrText(b, f, "network.peer.address", view(path))
		}
		if proto := ev.Fields[event.SockConnectProto].Text; len(proto) > 0 {
			b = attrText(b, f, "network.transport", view(proto))
		} else if len(ev.Fields[event.SockConnectPath].Text) > 0 {
			b = attrText(b, f, "network.transport", "unix")
		}
	case &event.Kinds[event.SockOutcome]:
		b = attrText(b, f, "network.peer.address", view(ev.Fields[event.SockOutcomeAddr].Text))
		b = attrInt(b, f, "network.peer.port", int64(ev.Fields[event.SockOutcomePort].Num))
	case &event.Kinds[event.ProcExec]:
		if path := ev.Fields[event.ProcExecPath].Text; len(path) > 0 {
			b = attrText(b, f, "process.executable.path", view(path))
		}
		if argv := ev.Fields[event.ProcExecArgv]; argv.Type != event.None {
			b = attrList(b, f, "process.command_args", func(yield func(string) bool) {
				for _, a := range argv.List {
					if !yield(view(a)) {
						return
					}
				}
			})
		}
	case &event.Kinds[event.SSLWrite]:
		if s := ev.Fields[event.SSLWriteSummary].Text; len(s) > 0 {
			b = attrText(b, f, "viv.summary", view(s))
		}
	case &event.Kinds[event.SpanRaise]:
		if class := ev.Fields[event.SpanRaiseError].Text; len(class) > 0 {
			b = attrText(b, f, "exception.type", view(class))
		}
		if m := ev.Fields[event.SpanRaiseMessage].Text; len(m) > 0 {
			b = attrText(b, f, "exception.message", view(m))
		}
		b = appendPlaceAttrs(b, f, view(ev.Fields[event.SpanRaiseFile].Text), int64(ev.Fields[event.SpanRaiseLine].Num))
	}
	if len(ev.Error) > 0 {
		b = attrText(b, f, "error.type", view(ev.Error))
	}
	if ev.OutcomeUnknown {
		b = attrText(b, f, "viv.outcome", "unknown")
	}
	if len(ev.Root) > 0 {
		b = attrText(b, f, "viv.root", view(ev.Root))
	}
	if ev.Deleted {
		b = attrBool(b, f, "viv.deleted", true)
	}
	if ev.Truncated {
		b = attrBool(b, f, "viv.truncated", true)
	}
	return b
}
