package otlp

import (
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// Those that ran when the session began have what it says of them.
func TestRunningProcesses(t *testing.T) {
	s := newScript(func(s *stream.Session) {
		s.Processes = []stream.Process{{PID: pid, Path: "/usr/bin/ruby", Argv: []string{"ruby", strings.Repeat("f", maxArgs)}}, {PID: 300}}
	})
	s.event(1, event.ProcFork, 2, all(set("child_pid", 200), set("child_tid", 200)))
	child := stream.Span{SpanID: 5, ParentSpanID: 2, Kind: stream.SpanThread, Name: "ruby", PID: 200, TID: 200}
	s.open(child)
	s.close(child, 5)
	e := exportScript(t, s.finish(9), Options{})
	for _, id := range []uint64{2, 5} {
		same(t, "path", "/usr/bin/ruby", e.resources[id]["process.executable.path"])
		same(t, "arguments", []any{"ruby", strings.Repeat("f", maxArgs-4)}, e.resources[id]["process.command_args"])
	}
}

// A process has a resource of its own, and another after an exec.
func TestResources(t *testing.T) {
	s := newScript()
	s.event(1, event.ProcExec, 2, all(set("path", "/bin/sh"), set("argv", []string{"sh", "-c", "x"})))
	s.event(2, event.ProcFork, 2, all(set("child_pid", 200), set("child_tid", 200)))
	child := stream.Span{SpanID: 5, ParentSpanID: 2, Kind: stream.SpanThread, Name: "sh", PID: 200, TID: 200}
	s.open(child)
	m := s.method(6, "A#b")
	m.PID, m.TID, m.ParentSpanID = 200, 200, 5
	s.close(m, 3)
	other := func(ev *event.Event) { ev.PID, ev.TID, ev.ThreadSpanID = 200, 200, 5 }
	s.event(4, event.ProcExec, 5, all(other, set("path", "/nowhere"), func(ev *event.Event) { ev.Error = []byte("ENOENT") }))
	s.event(4, event.ProcExec, 5, all(other, set("path", "/bin/cat"), set("argv", []string{"cat", strings.Repeat("f", maxArgs)})))
	s.close(child, 5)
	s.open(stream.Span{SpanID: 8, ParentSpanID: 1, Kind: stream.SpanThread, Name: "new", PID: 200, TID: 200}) // the id is used again
	e := exportScript(t, s.finish(9), Options{Resource: map[string]string{"service.name": "mine", "host.name": "other"}})
	for id, want := range map[uint64]map[string]any{
		1: {},
		2: {"process.pid": int64(100), "process.executable.path": "/bin/sh", "process.command_args": []any{"sh", "-c", "x"}},
		6: {"process.pid": int64(200), "process.parent_pid": int64(100), "process.executable.path": "/bin/sh", "process.command_args": []any{"sh", "-c", "x"}},
		5: {"process.pid": int64(200), "process.parent_pid": int64(100), "process.executable.path": "/bin/cat",
			"process.command_args": []any{"cat", strings.Repeat("f", maxArgs-3)}},
		8: {"process.pid": int64(200)},
	} {
		got := e.resources[id]
		same(t, "service", "mine", got["service.name"])
		same(t, "host", "other", got["host.name"])
		for k := range got {
			if !strings.HasPrefix(k, "process.") {
				delete(got, k)
			}
		}
		same(t, "resource of span "+string(rune('0'+id)), want, got)
	}
	same(t, "processes left", 0, len(e.procs.all))
}
