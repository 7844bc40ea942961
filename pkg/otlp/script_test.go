package otlp

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

func isIncomplete(err error) bool { return errors.Is(err, stream.ErrIncomplete) }

// convertAll converts a whole stream.
func convertAll(t testing.TB, in []byte, opt Options, emit func(Batch) error) *Converter {
	t.Helper()
	c, err := convert(in, opt, emit)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func convert(in []byte, opt Options, emit func(Batch) error) (*Converter, error) {
	c := NewConverter(opt, emit)
	for r := stream.NewReader(bytes.NewReader(in), vivraw.Format); ; {
		rec, err := r.Next()
		if err == io.EOF || isIncomplete(err) {
			return c, c.Close()
		}
		if err == nil {
			err = c.Record(rec)
		}
		if err != nil {
			return c, err
		}
	}
}

// The stream of the tests: its clocks differ by a round number.
const (
	unix0  = 1_700_000_000_000_000_000
	ktime0 = 5_000_000_000
	pid    = 100
)

var trace = [16]byte{0xab, 15: 1}

// script is a stream in the making. at is ms since the session's start.
type script struct {
	buf bytes.Buffer
	*stream.Writer
}

func newScript(set ...func(*stream.Session)) *script {
	s := &script{}
	s.Writer = stream.NewWriter(&s.buf)
	session := stream.Session{Version: stream.Version, StartUnixNS: unix0, StartKtimeNS: ktime0, TraceID: trace, MainTID: pid,
		Host: stream.Host{Name: "h", OS: "Debian GNU/Linux 12", Kernel: "6.1.0", Arch: "x86_64"}}
	for _, f := range set {
		f(&session)
	}
	s.Session(&session)
	s.open(stream.Span{SpanID: 1, Kind: stream.SpanSession, Name: "vivarium session"})
	s.open(stream.Span{SpanID: 2, ParentSpanID: 1, Kind: stream.SpanThread, Name: "sh"})
	return s
}

func ms(at int) uint64 { return ktime0 + uint64(at)*1_000_000 }

// fill adds what the tests' spans have alike.
func fill(s stream.Span) *stream.Span {
	s.TraceID = trace
	if s.PID == 0 {
		s.PID, s.TID = pid, pid
	}
	if s.StartKtimeNS == 0 {
		s.StartKtimeNS = ktime0
	}
	return &s
}

func (s *script) open(span stream.Span)          { s.SpanOpen(fill(span)) }
func (s *script) close(span stream.Span, at int) { span.EndKtimeNS = ms(at); s.Span(fill(span)) }
func (s *script) method(id uint64, name string) stream.Span {
	return stream.Span{SpanID: id, ParentSpanID: 2, Kind: stream.SpanMethod, Name: name, File: "/app/a.rb", Line: 7, Source: "usdt"}
}

// event writes an event of a span of the first thread.
func (s *script) event(at int, id event.ID, span uint64, set func(*event.Event)) {
	k := &event.Kinds[id]
	ev := event.Event{Kind: k, Name: []byte(k.Name), KtimeNS: ms(at), PID: pid, TID: pid, UID: 1, GID: 2, Comm: []byte("sh"),
		SpanID: span, ThreadSpanID: 2}
	if set != nil {
		set(&ev)
	}
	s.Event(&ev)
}

func set(name string, v any) func(*event.Event) {
	return func(ev *event.Event) {
		for i, f := range ev.Kind.Fields {
			if f.Name != name {
				continue
			}
			switch v := v.(type) {
			case string:
				ev.Fields[i] = event.Value{Type: event.Text, Text: []byte(v)}
			case int:
				ev.Fields[i] = event.Value{Type: f.Type, Num: uint64(v)}
			case []string:
				list := [][]byte{}
				for _, a := range v {
					list = append(list, []byte(a))
				}
				ev.Fields[i] = event.Value{Type: event.List, List: list}
			}
		}
	}
}

func all(fs ...func(*event.Event)) func(*event.Event) {
	return func(ev *event.Event) {
		for _, f := range fs {
			f(ev)
		}
	}
}

// finish ends the session as a complete stream does.
func (s *script) finish(at int) []byte {
	s.close(stream.Span{SpanID: 2, ParentSpanID: 1, Kind: stream.SpanThread, Name: "sh"}, at)
	s.close(stream.Span{SpanID: 1, Kind: stream.SpanSession, Name: "vivarium session"}, at)
	s.End(&stream.End{StopKtimeNS: ms(at), Reason: "exited", ExitCode: 4, HasExit: true})
	return s.bytes()
}

func (s *script) bytes() []byte {
	s.Flush()
	return s.buf.Bytes()
}

// exported is what a stream became, decoded by pdata.
type exported struct {
	*Converter
	spans     map[uint64]ptrace.Span
	resources map[uint64]map[string]any // of spans
	logs      []plog.LogRecord
	batches   []Batch
}

func exportScript(t *testing.T, in []byte, opt Options) exported {
	t.Helper()
	e := exported{spans: map[uint64]ptrace.Span{}, resources: map[uint64]map[string]any{}}
	opt.Version = "v"
	e.Converter = convertAll(t, in, opt, func(b Batch) error { e.batches = append(e.batches, b); return nil })
	for _, b := range e.batches {
		n := 0
		if b.Signal == Logs {
			r := plogotlp.NewExportRequest()
			if err := r.UnmarshalProto(b.Body); err != nil {
				t.Fatal(err)
			}
			for _, rl := range r.Logs().ResourceLogs().All() {
				for _, sl := range rl.ScopeLogs().All() {
					for _, l := range sl.LogRecords().All() {
						e.logs = append(e.logs, l)
						n++
					}
				}
			}
		} else {
			r := ptraceotlp.NewExportRequest()
			if err := r.UnmarshalProto(b.Body); err != nil {
				t.Fatal(err)
			}
			for _, rs := range r.Traces().ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					if ss.Scope().Name() != "vivarium" || ss.Scope().Version() != "v" || ss.SchemaUrl() != schemaURL || rs.SchemaUrl() != schemaURL {
						t.Errorf("scope %q %q, schema %q", ss.Scope().Name(), ss.Scope().Version(), ss.SchemaUrl())
					}
					for _, s := range ss.Spans().All() {
						id := idOf(s.SpanID())
						e.spans[id] = s
						e.resources[id] = rs.Resource().Attributes().AsRaw()
						n++
					}
				}
			}
		}
		if n != b.Items {
			t.Errorf("a batch of %d %s says that it has %d", n, b.Signal, b.Items)
		}
	}
	return e
}

func idOf(id pcommon.SpanID) (n uint64) {
	for _, c := range id {
		n = n<<8 | uint64(c)
	}
	return n
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
