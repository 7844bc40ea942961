package otlp

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func TestSpans(t *testing.T) {
	s := newScript(func(s *stream.Session) { s.Missing = map[string]string{"b": "no", "a": "never"} })
	m := s.method(3, "A#b")
	m.StartKtimeNS = ms(1)
	s.open(m)
	s.event(2, event.SockConnect, 3, all(set("family", 2), set("addr", "10.0.0.1"), set("port", 53), func(ev *event.Event) {
		ev.Error = []byte("ECONNREFUSED")
	}))
	s.event(2, event.PathOpen, 3, func(ev *event.Event) { ev.Hidden = true })
	s.event(3, event.SpanRaise, 3, all(set("error", "E::X"), set("message", "no \xff"), set("file", "/app/a.rb"), set("line", 9)))
	m.Raised = true
	s.close(m, 5)
	s.event(6, event.ProcExit, 2, set("exit_code", 3))
	e := exportScript(t, s.finish(10), Options{})

	span := e.spans[3]
	same(t, "times", []int64{unix0 + 1e6, unix0 + 5e6}, []int64{int64(span.StartTimestamp()), int64(span.EndTimestamp())})
	same(t, "method", map[string]any{"thread.id": int64(pid), "process.pid": int64(pid), "code.filepath": "/app/a.rb", "code.lineno": int64(7),
		"code.function.name": "A#b", "code.file.path": "/app/a.rb", "code.line.number": int64(7), "viv.source": "usdt", "viv.raised": true},
		span.Attributes().AsRaw())
	same(t, "status", "Error E::X: no \\xFF", span.Status().Code().String()+" "+span.Status().Message())
	same(t, "parent", uint64(2), idOf(span.ParentSpanID()))
	same(t, "events", 2, span.Events().Len())
	same(t, "connect", map[string]any{"thread.id": int64(pid), "process.pid": int64(pid), "user.id": int64(1), "group.id": int64(2),
		"severity": "medium", "process.command": "sh", "target": "10.0.0.1:53 (AF_INET) error=ECONNREFUSED",
		"network.peer.address": "10.0.0.1", "network.peer.port": int64(53), "error.type": "ECONNREFUSED"},
		span.Events().At(0).Attributes().AsRaw())
	raise := span.Events().At(1)
	same(t, "raise", "exception", raise.Name())
	for k, want := range map[string]any{"exception.type": "E::X", "exception.message": `no \xFF`, "code.file.path": "/app/a.rb", "code.line.number": int64(9)} {
		got, _ := raise.Attributes().Get(k)
		same(t, k, want, got.AsRaw())
	}
	same(t, "thread", map[string]any{"thread.id": int64(pid), "process.pid": int64(pid), "process.command": "sh", "process.exit.code": int64(3)},
		e.spans[2].Attributes().AsRaw())
	same(t, "session", map[string]any{"thread.id": int64(pid), "process.pid": int64(pid), "viv.missing": []any{"a: never", "b: no"},
		"viv.end_reason": "exited", "process.exit.code": int64(4)}, e.spans[1].Attributes().AsRaw())
	same(t, "session's status", ptrace.StatusCodeUnset, e.spans[1].Status().Code())
	same(t, "session's resource", map[string]any{"service.name": "vivarium", "host.name": "h", "host.arch": "amd64", "os.type": "linux",
		"os.description": "Debian GNU/Linux 12", "os.version": "6.1.0"}, e.resources[1])
}

func TestLosses(t *testing.T) {
	s := newScript()
	s.Lost(&stream.Lost{KtimeNS: ms(3), Count: 5, Cause: "ring buffer full"})
	s.Lost(&stream.Lost{KtimeNS: ms(4), Count: 6, Cause: "ring buffer full"})
	m := s.method(3, "A#b")
	m.Lossy, m.Dangling = true, true
	s.close(m, 5) // without a span_open
	e := exportScript(t, s.finish(10), Options{})
	root := e.spans[1]
	lost, _ := root.Attributes().Get("viv.lost_events")
	same(t, "lost", int64(11), lost.Int())
	same(t, "events", 2, root.Events().Len())
	same(t, "event", map[string]any{"viv.lost_events": int64(5), "viv.cause": "ring buffer full"}, root.Events().At(0).Attributes().AsRaw())
	same(t, "time", int64(unix0+3e6), int64(root.Events().At(0).Timestamp()))
	for _, k := range []string{"viv.lossy", "viv.dangling"} {
		if v, ok := e.spans[3].Attributes().Get(k); !ok || !v.Bool() {
			t.Errorf("no %s", k)
		}
	}
}

// A stream that was cut still gives whole spans, the session's last.
func TestCut(t *testing.T) {
	s := newScript()
	s.open(s.method(3, "A#b"))
	s.event(7, event.PathOpen, 3, set("path", "/x"))
	e := exportScript(t, s.bytes(), Options{})
	same(t, "spans", 3, len(e.spans))
	for id, span := range e.spans {
		same(t, "end", int64(unix0+7e6), int64(span.EndTimestamp()))
		if v, ok := span.Attributes().Get("viv.dangling"); !ok || !v.Bool() {
			t.Errorf("span %d is not dangling", id)
		}
	}
	same(t, "events", 1, e.spans[3].Events().Len())
}

// Two streams, one behind the other, are two sessions.
func TestTwoSessions(t *testing.T) {
	first := newScript(func(s *stream.Session) { s.Host.Name = "first" })
	first.open(stream.Span{SpanID: 9, Kind: stream.SpanThread, Name: "x"})
	second := newScript(func(s *stream.Session) { s.StartUnixNS += 1e12 })
	b := bytes.ReplaceAll(second.finish(1), []byte{0, 0, 0, 0, 0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 0, 1, 1})
	e := exportScript(t, append(first.bytes(), b...), Options{})
	same(t, "first", "first", e.resources[1]["host.name"])
	same(t, "second", "h", e.resources[0x101]["host.name"])
	same(t, "second's start", int64(unix0+1e12), int64(e.spans[0x101].StartTimestamp()))
	same(t, "spans", 4, len(e.spans)) // the threads have one id
}

func TestClock(t *testing.T) {
	s := newScript()
	a, b := s.method(3, "before"), s.method(4, "after")
	a.StartKtimeNS, b.StartKtimeNS = ms(1), ms(20)
	s.open(a)
	s.Clock(&stream.Clock{UnixNS: unix0 + 3600e9, KtimeNS: ms(10)}) // the machine slept
	s.event(9, event.PathOpen, 3, nil)                              // of another CPU, older than the anchor
	s.event(12, event.PathOpen, 3, nil)
	s.close(a, 15)
	s.open(b)
	s.close(b, 21)
	e := exportScript(t, s.finish(30), Options{})
	same(t, "times", []int64{unix0 + 1e6, unix0 + 9e6, unix0 + 3600e9 + 2e6, unix0 + 3600e9 + 5e6, unix0 + 3600e9 + 10e6}, []int64{
		int64(e.spans[3].StartTimestamp()), int64(e.spans[3].Events().At(0).Timestamp()), int64(e.spans[3].Events().At(1).Timestamp()),
		int64(e.spans[3].EndTimestamp()), int64(e.spans[4].StartTimestamp())})
	// A clock that is set back never makes a span end before it began.
	s = newScript()
	s.open(a)
	s.Clock(&stream.Clock{UnixNS: unix0 - 3600e9, KtimeNS: ms(10)})
	s.close(a, 15)
	e = exportScript(t, s.finish(30), Options{})
	same(t, "end", int64(unix0+1e6), int64(e.spans[3].EndTimestamp()))
}

// Each thread's span has the command of its own events and its own exit, whatever
// id these have as their thread's: none, that of another process's span, or that
// of one that has ended.
func TestThreadOfEvent(t *testing.T) {
	s := newScript()
	kid := func(id uint64, spanPID uint32) stream.Span {
		return stream.Span{SpanID: id, ParentSpanID: 2, Kind: stream.SpanThread, Name: "kid", PID: spanPID, TID: spanPID}
	}
	of := func(pid uint32, comm string, threadID uint64) func(*event.Event) {
		return func(ev *event.Event) {
			ev.PID, ev.TID, ev.Comm, ev.ThreadSpanID = pid, pid, []byte(comm), threadID
		}
	}
	s.open(kid(10, 200))
	s.open(kid(11, 201))
	s.open(kid(12, 202))
	method := s.method(13, "K#k")
	method.ParentSpanID, method.PID, method.TID = 12, 202, 202
	s.open(method)
	s.event(1, event.PathOpen, 10, of(200, "shared", 2))
	s.event(2, event.PathOpen, 11, of(201, "none", 0))
	s.event(3, event.PathOpen, 13, of(202, "ended", 99)) // in a method
	s.event(4, event.PathOpen, 2, nil)
	s.event(5, event.ProcExit, 11, all(of(201, "none", 0), set("exit_code", 3)))
	s.close(method, 6)
	for id, pid := range map[uint64]uint32{10: 200, 11: 201, 12: 202} {
		s.close(kid(id, pid), 7)
	}
	e := exportScript(t, s.finish(8), Options{})
	for id, want := range map[uint64]string{2: "sh", 10: "shared", 11: "none", 12: "ended"} {
		attrs := e.spans[id].Attributes().AsRaw()
		same(t, "process.command", any(want), attrs["process.command"])
		var code any
		if id == 11 {
			code = int64(3)
		}
		same(t, "process.exit.code", code, attrs["process.exit.code"])
	}
}

// A method of a capture may outlive its thread: it has the process all the same.
func TestMethodOutlivesThread(t *testing.T) {
	s := newScript()
	kid := stream.Span{SpanID: 10, ParentSpanID: 2, Kind: stream.SpanThread, Name: "kid", PID: 200, TID: 200}
	method := s.method(13, "K#k")
	method.ParentSpanID, method.PID, method.TID = 10, 200, 200
	s.open(kid)
	s.event(1, event.ProcExec, 10, all(set("path", "/bin/x"), func(ev *event.Event) { ev.PID, ev.TID, ev.ThreadSpanID = 200, 200, 10 }))
	s.open(method)
	s.close(kid, 2)
	s.close(method, 3)
	e := exportScript(t, s.finish(4), Options{})
	for _, id := range []uint64{10, 13} {
		same(t, "process.executable.path", any("/bin/x"), e.resources[id]["process.executable.path"])
	}
	if e.procs.all[200] != nil {
		t.Error("the process is kept when all of its spans have ended")
	}
}

func TestLateEvents(t *testing.T) {
	s := newScript()
	m := s.method(3, "A#b")
	s.open(m)
	s.close(m, 1)
	s.event(2, event.PathOpen, 3, nil)
	s.event(2, event.PathOpen, 77, func(ev *event.Event) { ev.ThreadSpanID = 77 })
	e := exportScript(t, s.finish(3), Options{})
	same(t, "thread's", 1, e.spans[2].Events().Len())
	same(t, "session's", 1, e.spans[1].Events().Len())
	late, _ := e.spans[1].Attributes().Get("viv.late_events")
	same(t, "late", int64(2), late.Int())
}

func TestNoSpans(t *testing.T) {
	w := &script{}
	w.Writer = stream.NewWriter(&w.buf)
	w.Session(&stream.Session{Version: stream.Version})
	w.event(1, event.PathOpen, 5, nil)
	if _, err := convert(w.bytes(), Options{}, nil); err != ErrNoSpans {
		t.Errorf("error %v", err)
	}
}

// Events behind the end of a session are counted.
func TestOutside(t *testing.T) {
	s := newScript()
	s.finish(1)
	s.event(2, event.PathOpen, 2, nil)
	e := exportScript(t, s.bytes(), Options{})
	same(t, "dropped", Dropped{NoSpan: 1}, e.Dropped())
}

func TestBounds(t *testing.T) {
	s := newScript()
	for range maxEvents + 3 {
		s.event(1, event.PathOpen, 2, set("path", "/x"))
	}
	m := s.method(3, "A#b")
	s.open(m)
	for range 10 {
		s.event(1, event.PathOpen, 3, set("path", strings.Repeat("x", maxEventBytes/3)))
	}
	s.close(m, 2)
	s.close(stream.Span{Kind: stream.SpanMethod}, 2) // an id of zero
	e := exportScript(t, s.finish(3), Options{})
	same(t, "events", maxEvents, e.spans[2].Events().Len())
	same(t, "dropped", uint32(3), e.spans[2].DroppedEventsCount())
	same(t, "events by bytes", 2, e.spans[3].Events().Len())
	same(t, "dropped by bytes", uint32(8), e.spans[3].DroppedEventsCount())
	same(t, "dropped in all", Dropped{Events: 11, NoID: 1}, e.Dropped())
	same(t, "pending", 0, e.pending)
}

func TestBatches(t *testing.T) {
	s := newScript()
	for i := range maxItems + 10 {
		m := s.method(uint64(100+i), "A#b")
		s.close(m, 1)
	}
	big := s.method(3, "A#b")
	s.open(big)
	for range 900 {
		s.event(1, event.PathOpen, 3, nil)
	}
	s.close(big, 2)
	e := exportScript(t, s.finish(3), Options{})
	same(t, "spans", maxItems+10+3, len(e.spans))
	for _, b := range e.batches {
		if b.Items > maxItems || len(b.Body) > maxBytes+1024 {
			t.Errorf("a batch of %d spans, %d bytes", b.Items, len(b.Body))
		}
	}
	if len(e.batches) < 3 {
		t.Errorf("%d batches", len(e.batches))
	}
}

func TestLinks(t *testing.T) {
	s := newScript()
	m := s.method(3, "A#b")
	m.ParentSpanID, m.LinkTraceID, m.LinkSpanID = 0, trace, 2
	s.close(m, 1)
	e := exportScript(t, s.finish(2), Options{})
	links := e.spans[3].Links()
	if links.Len() != 1 || idOf(links.At(0).SpanID()) != 2 || links.At(0).TraceID() != pcommon.TraceID(trace) {
		t.Errorf("%d links", links.Len())
	}
}

// What viv-spans makes of a session that joins a trace, with a trace for each
// top-level method.
func TestJoinedTrace(t *testing.T) {
	s := &script{}
	s.Writer = stream.NewWriter(&s.buf)
	s.Session(&stream.Session{Version: stream.Version, StartUnixNS: unix0, StartKtimeNS: ktime0, TraceID: trace, ParentSpanID: 0xcafe,
		MainTID: pid, ObserverPID: pid, Targets: []uint32{pid}})
	own := func(ev *event.Event) { ev.SpanID, ev.ThreadSpanID, ev.TraceID = 0x77, 0, trace }
	s.event(1, event.SpanStart, 0, all(own, set("name", "A#b")))
	s.event(2, event.PathOpen, 0, all(own, set("path", "/x")))
	s.event(3, event.SpanStop, 0, all(own, set("name", "A#b")))
	s.End(&stream.End{StopUnixNS: unix0 + 9e6, StopKtimeNS: ms(9)})

	var spans bytes.Buffer
	if err := span.New(stream.NewWriter(&spans), true).Run(stream.NewReader(bytes.NewReader(s.bytes()))); err != io.EOF {
		t.Fatal(err)
	}
	e := exportScript(t, spans.Bytes(), Options{})
	same(t, "spans", 3, len(e.spans))
	for id, span := range e.spans {
		switch span.Name() {
		case "vivarium session":
			same(t, "session's parent", uint64(0xcafe), idOf(span.ParentSpanID()))
			same(t, "session's trace", pcommon.TraceID(trace), span.TraceID())
		case "A#b":
			if span.TraceID() == trace || !span.ParentSpanID().IsEmpty() {
				t.Errorf("method: trace %s, parent %s", span.TraceID(), span.ParentSpanID())
			}
			same(t, "links", 1, span.Links().Len())
			same(t, "link", [2]any{pcommon.TraceID(trace), uint64(0x77)}, [2]any{span.Links().At(0).TraceID(), idOf(span.Links().At(0).SpanID())})
			same(t, "events", 1, span.Events().Len())
		default:
			same(t, "thread", uint64(0x77), id)
		}
	}
	e = exportScript(t, spans.Bytes(), Options{EventsAsLogs: true})
	if len(e.logs) != 1 || e.logs[0].TraceID() == trace || e.logs[0].TraceID().IsEmpty() {
		t.Errorf("%d log records, not in the method's trace", len(e.logs))
	}
}

func TestEventsAsLogs(t *testing.T) {
	s := newScript()
	s.event(1, event.PathOpen, 2, set("path", "/x"))
	s.event(2, event.TaskKill, 2, set("sig", 9))
	s.event(3, event.SpanRaise, 2, set("error", "E"))
	s.Lost(&stream.Lost{KtimeNS: ms(4), Count: 5})
	e := exportScript(t, s.finish(5), Options{EventsAsLogs: true})
	var got []string
	for _, l := range e.logs {
		got = append(got, l.EventName()+" "+l.SeverityNumber().String()+" "+l.Body().AsString())
		if l.TraceID() != pcommon.TraceID(trace) || l.Timestamp() != l.ObservedTimestamp() {
			t.Errorf("trace %x, times %d %d", l.TraceID(), l.Timestamp(), l.ObservedTimestamp())
		}
	}
	same(t, "logs", []string{`path_open Info "/x"`, "task_kill Warn sig=9 signame=KILL", "exception Error error=E", "dropped_events Error 5 events lost"}, got)
	same(t, "span ids", []uint64{2, 2, 2, 1}, []uint64{idOf(e.logs[0].SpanID()), idOf(e.logs[1].SpanID()), idOf(e.logs[2].SpanID()), idOf(e.logs[3].SpanID())})
	same(t, "time", int64(unix0+1e6), int64(e.logs[0].Timestamp()))
	target, _ := e.logs[0].Attributes().Get("target")
	same(t, "attributes", `"/x"`, target.AsString())
	for id, s := range e.spans {
		if s.Events().Len() != 0 {
			t.Errorf("span %d has events", id)
		}
	}
}

// TestExitOfThread: a thread that ends before its process says nothing of how the
// process ended.
func TestExitOfThread(t *testing.T) {
	for _, c := range []struct {
		process int
		want    any
	}{
		{0, nil},
		{1, int64(3)},
	} {
		s := newScript()
		s.event(6, event.ProcExit, 2, all(set("exit_code", 3), set("process", c.process)))
		e := exportScript(t, s.finish(10), Options{})
		got, ok := e.spans[2].Attributes().AsRaw()["process.exit.code"]
		if ok != (c.want != nil) || got != c.want {
			t.Errorf("process %d: exit code %v, want %v", c.process, got, c.want)
		}
	}
}
