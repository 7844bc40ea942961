package tree

import (
	"bytes"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
	"vivarium/pkg/stream"
)

// script writes a stream, one call per record.
type script struct {
	buf bytes.Buffer
	w   *stream.Writer
	now uint64 // us since the session's start
	ids map[uint32]uint64
}

const start = 1_000_000_000

func newScript(targets ...uint32) *script {
	s := &script{ids: map[uint32]uint64{}}
	s.w = stream.NewWriter(&s.buf)
	return s.session(targets...)
}

func (s *script) session(targets ...uint32) *script {
	head := stream.Session{
		Version: stream.Version, StartUnixNS: 1_700_000_000_123_456_789, StartKtimeNS: start,
		TraceID: [16]byte{1: 7, 15: 9}, Targets: targets,
	}
	if len(targets) > 0 {
		head.MainTID = targets[0]
	}
	s.w.Session(&head)
	return s
}

// at sets the time in us.
func (s *script) at(us uint64) *script { s.now = us; return s }

// event writes an event of a thread; fields are name, value pairs.
func (s *script) event(pid, tid uint32, id event.ID, fields ...any) *script {
	k := &event.Kinds[id]
	ev := event.Event{Kind: k, Name: []byte(k.Name), KtimeNS: start + 1000*s.now, PID: pid, TID: tid, Comm: []byte("app")}
	if s.ids[tid] == 0 {
		s.ids[tid] = uint64(tid) << 32
	}
	ev.SpanID = s.ids[tid]
	for i := 0; i < len(fields); i += 2 {
		switch name := fields[i].(string); name {
		case "comm":
			ev.Comm = []byte(fields[i+1].(string))
			continue
		case "error":
			ev.Error = []byte(fields[i+1].(string))
			continue
		case "hidden":
			ev.Hidden = true
			continue
		}
		eventtest.Set(&ev, fields[i].(string), fields[i+1])
	}
	s.w.Event(&ev)
	s.now += 10
	return s
}

func (s *script) open(pid, tid uint32, path string) *script {
	return s.event(pid, tid, event.PathOpen, "path", path)
}

func (s *script) start(pid, tid uint32, name string) *script {
	return s.event(pid, tid, event.SpanStart, "name", name, "file", "/app/"+name+".rb", "line", 3, "source", "usdt")
}

func (s *script) stop(pid, tid uint32, name string) *script {
	return s.event(pid, tid, event.SpanStop, "name", name)
}

func (s *script) fork(pid, tid, child, childTID uint32) *script {
	if s.ids[childTID] == 0 {
		s.ids[childTID] = uint64(childTID) << 32
	}
	return s.event(pid, tid, event.ProcFork, "child_pid", int(child), "child_tid", int(childTID), "child_span_id", int(s.ids[childTID]))
}

func (s *script) lost(n uint64, cause string) *script {
	s.w.Lost(&stream.Lost{KtimeNS: start + 1000*s.now, Count: n, Cause: cause})
	return s
}

func (s *script) end() *script {
	s.w.End(&stream.End{StopUnixNS: 1_700_000_000_123_456_789 + 1000*int64(s.now), StopKtimeNS: start + 1000*s.now, Reason: "exited"})
	return s
}

func (s *script) bytes() []byte {
	s.w.Flush()
	return s.buf.Bytes()
}
