package stream

// Names in the place of a span's name.
const (
	NoSpan    = "<no-span>"   // of a thread's time outside all methods
	Anonymous = "<anonymous>" // of a method without a name
)

// SpanKind is the kind of a span.
type SpanKind string

// The kinds of spans.
const (
	SpanSession SpanKind = "session"
	SpanThread  SpanKind = "thread"
	SpanMethod  SpanKind = "method"
)

// Span is a span_open record, or with its last four fields a span record. The name of
// a thread, and its parent if its fork was read late, can change in between: the span
// record has the final values.
type Span struct {
	SpanID       uint64
	ParentSpanID uint64 // 0: none
	TraceID      [16]byte
	Kind         SpanKind
	Source       string // usdt, marker or uprobe; methods only
	Name         string
	PID, TID     uint32
	StartKtimeNS uint64
	File         string
	Line         int64 // 0: unknown

	// An outermost method span that has a trace of its own (viv-spans --trace-per
	// method) has no parent. These name the span of its thread, in the session's
	// trace: keys link_trace_id and link_span_id, absent if zero.
	LinkTraceID [16]byte
	LinkSpanID  uint64

	EndKtimeNS uint64
	Dangling   bool // was still open when its thread or the session ended
	Raised     bool // an exception passed through it
	Lossy      bool // events were lost during it
}

// SpanOpen writes a span_open record: s without its last four fields.
func (w *Writer) SpanOpen(s *Span) error {
	k := w.begin("span_open")
	k.span(s)
	return w.finish(&k)
}

// Span writes a span record.
func (w *Writer) Span(s *Span) error {
	k := w.begin("span")
	k.span(s)
	k.uint("end_ktime_ns", s.EndKtimeNS)
	k.setIf("dangling", s.Dangling)
	k.setIf("raised", s.Raised)
	k.setIf("lossy", s.Lossy)
	return w.finish(&k)
}

func (k *keys) span(s *Span) {
	k.id("span_id", s.SpanID)
	k.id("parent_span_id", s.ParentSpanID)
	k.traceID(&s.TraceID)
	k.text("kind", string(s.Kind))
	k.textIf("source", s.Source)
	k.text("name", s.Name)
	k.uint("pid", uint64(s.PID))
	k.uint("tid", uint64(s.TID))
	k.uint("start_ktime_ns", s.StartKtimeNS)
	k.textIf("file", s.File)
	if s.Line != 0 {
		k.int("line", s.Line)
	}
	if s.LinkSpanID != 0 {
		k.appendKey("link_trace_id")
		k.b = appendBin(k.b, s.LinkTraceID[:])
		k.id("link_span_id", s.LinkSpanID)
	}
}

// Span decodes a span_open or a span record.
func (rec *Record) Span() (Span, error) {
	var s Span
	for _, p := range rec.pairs {
		v := rec.value(p)
		switch string(rec.key(p)) {
		case "span_id":
			s.SpanID, _ = uintOf(v)
		case "parent_span_id":
			s.ParentSpanID, _ = uintOf(v)
		case "trace_id":
			s.TraceID, _ = traceIDOf(v)
		case "kind":
			t, _ := textOf(v)
			s.Kind = spanKindOf(t)
		case "source":
			s.Source = stringOf(v)
		case "name":
			s.Name = stringOf(v)
		case "pid":
			s.PID = uint32Of(v)
		case "tid":
			s.TID = uint32Of(v)
		case "start_ktime_ns":
			s.StartKtimeNS, _ = uintOf(v)
		case "file":
			s.File = stringOf(v)
		case "line":
			s.Line, _ = intOf(v)
		case "link_trace_id":
			s.LinkTraceID, _ = traceIDOf(v)
		case "link_span_id":
			s.LinkSpanID, _ = uintOf(v)
		case "end_ktime_ns":
			s.EndKtimeNS, _ = uintOf(v)
		case "dangling":
			s.Dangling, _ = boolOf(v)
		case "raised":
			s.Raised, _ = boolOf(v)
		case "lossy":
			s.Lossy, _ = boolOf(v)
		}
	}
	return s, rec.is(TypeSpanOpen, TypeSpan)
}

func spanKindOf(t []byte) SpanKind {
	switch string(t) { // without a new string for each span
	case string(SpanMethod):
		return SpanMethod
	case string(SpanThread):
		return SpanThread
	case string(SpanSession):
		return SpanSession
	}
	return SpanKind(t)
}
