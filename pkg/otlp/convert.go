// Package otlp converts a stream of spans and events to OTLP and delivers it.
package otlp

import (
	"errors"
	"slices"
	"sort"
	"sync"
	"unicode/utf8"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// ErrNoSpans is the error for a stream with events but without spans: it did not go
// through viv-spans.
var ErrNoSpans = errors.New("the stream has no spans")

// The bounds of the events that wait for the end of their span. Events beyond a
// bound are counted in the span's dropped_events_count and by Dropped.
const (
	maxEvents     = 1024      // events of a span
	maxEventBytes = 256 << 10 // of a span, encoded
	maxPending    = 16 << 20  // bytes of memory for the events of all open spans
	maxOpen       = 65536 + 8192
	maxText       = 2048    // bytes of each text that is kept with an open span
	keepBuffer    = 8 << 10 // buffers of finished spans up to this size are reused
)

// Options are the options of a Converter.
type Options struct {
	// Version is that of the instrumentation scope.
	Version string
	// Resource has attributes of all resources. They override those of the
	// session and the host.
	Resource map[string]string
	// EventsAsLogs exports events as log records instead of span events.
	EventsAsLogs bool
}

// Converter converts the records of a stream to batches.
type Converter struct {
	opt   Options
	spans *batcher
	logs  *batcher

	session stream.Session
	in      bool // inside a session
	root    *openSpan
	final   *stream.Span // the session's span, kept until its end record
	procs   processes
	open    map[uint64]*openSpan
	threads map[uint32]*openSpan // the open spans of threads, by tid
	free    []*openSpan
	pending int    // bytes of memory for the events of all open spans
	seq     uint64 // number of the newest open span
	last    uint64 // newest ktime seen, ns
	lost    uint64 // events, in this session
	late    uint64 // events whose span had ended, in this session

	clock, before stream.Clock // the newest clock record and the one before it

	buf, target []byte
	dropped     Dropped
}

// Dropped counts what a Converter could not export.
type Dropped struct {
	Events uint64 // beyond the bounds of their span or of all spans
	NoID   uint64 // spans whose id is zero, which OTLP forbids
	NoSpan uint64 // events outside any session that has spans
}

// openSpan is a span that has not ended.
type openSpan struct {
	stream.Span
	seq       uint64
	start     uint64 // ns since 1970
	comm      []byte // newest of the thread's events
	events    []byte // encoded, each as a field of Span
	n         int    // events
	dropped   uint64 // events over the bounds
	exception []byte // newest, "Class: message"
	exit      []byte // attributes from the thread's proc_exit, encoded
}

// NewConverter returns a Converter that passes batches to emit, one at a time. It
// emits a batch that is one second old from a goroutine of its own.
func NewConverter(opt Options, emit func(Batch) error) *Converter {
	scope, body := begin(nil, 1)
	scope = appendText(scope, 1, "vivarium")
	scope = appendText(scope, 2, opt.Version)
	scope = end(scope, body)
	var mu sync.Mutex // timers and Record may emit at the same time
	one := func(b Batch) error {
		mu.Lock()
		defer mu.Unlock()
		return emit(b)
	}
	return &Converter{
		opt:   opt,
		spans: newBatcher(Traces, scope, one),
		logs:  newBatcher(Logs, scope, one),
		open:  map[uint64]*openSpan{}, threads: map[uint32]*openSpan{},
	}
}

// Dropped returns the counts of what could not be exported so far.
func (c *Converter) Dropped() Dropped { return c.dropped }

// Record converts a record. It returns an error of emit or ErrNoSpans.
func (c *Converter) Record(rec *stream.Record) error {
	switch rec.Type {
	case stream.TypeEvent:
		ev, err := rec.Event()
		if err != nil {
			return err
		}
		return c.event(ev)
	case stream.TypeSpanOpen:
		s, err := rec.Span()
		if err != nil {
			return err
		}
		c.openSpan(&s)
	case stream.TypeSpan:
		s, err := rec.Span()
		if err != nil {
			return err
		}
		return c.span(&s)
	case stream.TypeSession:
		s, err := rec.Session()
		if err != nil {
			return err
		}
		if err := c.finish(nil); err != nil { // a session without an end record
			return err
		}
		c.session, c.in = s, true
		c.clock = stream.Clock{UnixNS: s.StartUnixNS, KtimeNS: s.StartKtimeNS}
		c.before, c.last = c.clock, s.StartKtimeNS
		c.procs = newProcesses(&s, c.opt.Resource)
		c.lost, c.late = 0, 0
	case stream.TypeClock:
		a, err := rec.Clock()
		if err != nil {
			return err
		}
		c.before, c.clock = c.clock, a
	case stream.TypeLost:
		l, err := rec.Lost()
		if err != nil {
			return err
		}
		return c.loss(&l)
	case stream.TypeEnd:
		e, err := rec.End()
		if err != nil {
			return err
		}
		return c.finish(&e)
	}
	return nil
}

// Close ends the spans that are still open and emits the last batches. It returns an
// error of emit.
func (c *Converter) Close() error {
	if err := c.finish(nil); err != nil {
		return err
	}
	if err := c.spans.flush(); err != nil {
		return err
	}
	return c.logs.flush()
}

// wall converts a ktime to ns since 1970. It uses the newest clock record at or before
// the moment, so that times are right before and after the clock was set or the
// machine slept.
func (c *Converter) wall(ktime uint64) uint64 {
	a := c.clock
	if ktime < a.KtimeNS {
		a = c.before
	}
	return uint64(max(0, a.UnixNS+int64(ktime-a.KtimeNS)))
}

func (c *Converter) openSpan(s *stream.Span) {
	c.last = max(c.last, s.StartKtimeNS)
	if c.open[s.SpanID] != nil || len(c.open) >= maxOpen {
		return
	}
	var o *openSpan
	if n := len(c.free); n > 0 {
		o, c.free = c.free[n-1], c.free[:n-1]
	} else {
		o = new(openSpan)
	}
	c.seq++
	o.Span, o.seq, o.start = *s, c.seq, c.wall(s.StartKtimeNS)
	if len(o.Name)+len(o.File)+len(o.Source) > maxText { // only used if the span record is missing
		o.Name, o.File, o.Source = cut(o.Name, maxText/2), cut(o.File, maxText/2), ""
	}
	c.pending += cap(o.events)
	c.open[s.SpanID] = o
	switch s.Kind {
	case stream.SpanSession:
		c.root = o
	case stream.SpanMethod: // in a capture it may end after its thread
		c.procs.spanOpened(s.PID)
	case stream.SpanThread:
		c.procs.spanOpened(s.PID)
		c.threads[s.TID] = o
	}
}

// threadOf returns the open span of an event's thread; nil: there is none. It first
// uses the span that the event belongs to, because the thread's own span id in the
// event can be zero, or can be used by another process; viv-spans then creates
// another id for the thread.
func (c *Converter) threadOf(ev *event.Event) *openSpan {
	o := c.open[ev.SpanID]
	if o != nil && o.Kind == stream.SpanMethod {
		o = c.threads[o.TID]
	}
	if o == nil || o.Kind != stream.SpanThread {
		o = c.open[ev.ThreadSpanID]
	}
	if o != nil && o.PID != ev.PID { // the id is used by another process
		o = c.threads[ev.TID]
	}
	if o == nil || o.PID != ev.PID {
		return nil
	}
	return o
}

func (c *Converter) span(s *stream.Span) error {
	o := c.open[s.SpanID]
	if o == nil { // its span_open is not in the stream
		c.openSpan(s)
		if o = c.open[s.SpanID]; o == nil {
			o = &openSpan{Span: *s, start: c.wall(s.StartKtimeNS)}
		}
	}
	c.last = max(c.last, s.EndKtimeNS)
	if s.Kind == stream.SpanSession && o == c.root && c.in {
		c.final = s
		return nil
	}
	return c.export(o, s)
}

// finish ends a session. e is nil if it has no end record.
func (c *Converter) finish(e *stream.End) error {
	if !c.in {
		return nil
	}
	c.in = false
	var left []*openSpan
	for _, o := range c.open {
		if o != c.root {
			left = append(left, o)
		}
	}
	sort.Slice(left, func(i, j int) bool { return left[i].seq > left[j].seq })
	for _, o := range left {
		if err := c.export(o, c.dangling(o)); err != nil {
			return err
		}
	}
	if c.root == nil {
		return nil
	}
	root, s := c.root, c.final
	if s == nil {
		s = c.dangling(root)
	}
	c.root, c.final = nil, nil
	b := root.exit
	if len(c.session.Command) > 0 {
		b = attrList(b, 9, "process.command_args", slices.Values(c.session.Command))
	}
	if len(c.session.Missing) > 0 {
		missing := make([]string, 0, len(c.session.Missing))
		for event, why := range c.session.Missing {
			missing = append(missing, event+": "+why)
		}
		sort.Strings(missing)
		b = attrList(b, 9, "viv.missing", slices.Values(missing))
	}
	if c.lost > 0 {
		b = attrInt(b, 9, "viv.lost_events", clampInt(c.lost))
	}
	if c.late > 0 {
		b = attrInt(b, 9, "viv.late_events", clampInt(c.late))
	}
	if e != nil {
		if e.Reason != "" {
			b = attrText(b, 9, "viv.end_reason", e.Reason)
		}
		if e.HasExit {
			b = attrInt(b, 9, "process.exit.code", e.ExitCode)
		}
		if e.Alive > 0 {
			b = attrInt(b, 9, "viv.processes_alive", clampInt(e.Alive))
		}
	}
	root.exit = b
	return c.export(root, s)
}

// dangling returns the end of a span whose span record is not in the stream.
func (c *Converter) dangling(o *openSpan) *stream.Span {
	s := o.Span
	s.EndKtimeNS, s.Dangling = c.last, true
	return &s
}

// export emits a span and removes it.
func (c *Converter) export(o *openSpan, s *stream.Span) error {
	of := c.procs.resource(s.PID)
	if s.Kind == stream.SpanSession {
		of = c.procs.base
	}
	trace := s.TraceID
	if trace == [16]byte{} {
		trace = c.session.TraceID
	}
	if s.SpanID == 0 || trace == [16]byte{} {
		c.dropped.NoID++
	} else {
		b, body := begin(c.buf[:0], 2) // ScopeSpans.spans
		b = appendBytes(b, 1, trace[:])
		b = appendSpanID(b, 2, s.SpanID)
		if s.ParentSpanID != 0 {
			b = appendSpanID(b, 4, s.ParentSpanID)
		}
		b = appendText(b, 5, s.Name)
		b = appendVarint(b, 6, 1) // SPAN_KIND_INTERNAL
		b = appendFixed64(b, 7, o.start)
		b = appendFixed64(b, 8, max(o.start, c.wall(s.EndKtimeNS)))
		b = appendSpanAttrs(b, o, s)
		b = append(b, o.events...)
		if o.dropped > 0 {
			b = appendVarint(b, 12, min(o.dropped, 1<<32-1))
		}
		if s.LinkSpanID != 0 && s.LinkTraceID != [16]byte{} {
			var link int
			b, link = begin(b, 13)
			b = appendBytes(b, 1, s.LinkTraceID[:])
			b = appendSpanID(b, 2, s.LinkSpanID)
			b = end(b, link)
		}
		if s.Raised {
			var status int
			b, status = begin(b, 15)
			if len(o.exception) > 0 {
				b = appendText(b, 2, view(o.exception))
			}
			b = appendVarint(b, 3, 2) // STATUS_CODE_ERROR
			b = end(b, status)
		}
		if err := c.addItem(c.spans, of, end(b, body)); err != nil {
			return err
		}
	}
	if s.Kind == stream.SpanMethod && c.open[s.SpanID] == o {
		c.procs.spanClosed(s.PID)
	}
	if s.Kind == stream.SpanThread {
		c.procs.spanClosed(s.PID)
		if c.threads[o.TID] == o {
			delete(c.threads, o.TID)
		}
	}
	if c.open[s.SpanID] == o {
		delete(c.open, s.SpanID)
		c.pending -= cap(o.events)
	}
	if cap(o.events) <= keepBuffer && len(c.free) < 1024 {
		*o = openSpan{comm: o.comm[:0], events: o.events[:0], exception: o.exception[:0], exit: o.exit[:0]}
		c.free = append(c.free, o)
	}
	return nil
}

// addItem adds an item that was encoded in c.buf to a batch.
func (c *Converter) addItem(to *batcher, of *resource, item []byte) error {
	if c.buf = item; cap(item) > maxBytes { // free the memory of a very large item
		c.buf = nil
	}
	return to.append(of, item)
}

func appendSpanAttrs(b []byte, o *openSpan, s *stream.Span) []byte {
	if s.Kind == stream.SpanSession { // vivarium's order
		b = attrInt(b, 9, "process.pid", int64(s.PID))
		b = attrInt(b, 9, "thread.id", int64(s.TID))
	} else {
		b = attrInt(b, 9, "thread.id", int64(s.TID))
		b = attrInt(b, 9, "process.pid", int64(s.PID))
	}
	if s.Kind == stream.SpanThread && len(o.comm) > 0 {
		b = attrText(b, 9, "process.command", view(o.comm))
	}
	if s.File != "" {
		b = attrText(b, 9, "code.filepath", s.File)
	}
	if s.Line > 0 {
		b = attrInt(b, 9, "code.lineno", s.Line)
	}
	if s.Kind == stream.SpanMethod {
		b = attrText(b, 9, "code.function.name", s.Name)
		b = appendPlaceAttrs(b, 9, s.File, s.Line)
		if s.Source != "" {
			b = attrText(b, 9, "viv.source", s.Source)
		}
	}
	b = append(b, o.exit...)
	if s.Dangling {
		b = attrBool(b, 9, "viv.dangling", true)
	}
	if s.Raised {
		b = attrBool(b, 9, "viv.raised", true)
	}
	if s.Lossy {
		b = attrBool(b, 9, "viv.lossy", true)
	}
	return b
}

func appendPlaceAttrs(b []byte, f field, file string, line int64) []byte {
	if file != "" {
		b = attrText(b, f, "code.file.path", file)
	}
	if line > 0 {
		b = attrInt(b, f, "code.line.number", line)
	}
	return b
}

// cut copies at most the first n bytes of a text, without dividing a character.
func cut[T string | []byte](v T, n int) string { return string(v[:cutLen(v, n)]) }

// cutLen returns the length of the longest prefix of at most n bytes that ends with
// a whole character.
func cutLen[T string | []byte](v T, n int) int {
	if n >= len(v) {
		return len(v)
	}
	for i := n; i >= 0 && i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(v[i]) {
			return i
		}
	}
	return n
}

func clampInt(n uint64) int64 { return int64(min(n, 1<<63-1)) }
