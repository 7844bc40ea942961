package span

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/google/go-cmp/cmp"
)

// A scenario is a stream, a record a line:
//
//	session TID [capture STOP]  of the target TID, from time 10
//	lost | clock TIME | end TIME | raw
//	TIME TID EVENT [ARG]        EVENT: start NAME, stop NAME, raise, exit,
//	                            fork TID[#ID], thread TID, exec, exec OLDTID, else a path_open
//
// TID may have the pid in front (PID/TID), and behind it the span id in the
// event (#ID, by default the TID) and its parent (^ID). In a stop, `-` is no
// name.
//
// What comes out is, a record a line, `+` for span_open with its parent and
// start, `-` for span with its times, and for an event its thread, what it is and
// its span. The session's span is S, a thread's tTID, a method's its name; the
// second of a name gets a ' behind it.
type scenario struct {
	name, in, want string
	stats          Stats
	perMethod      bool
	max            bounds // smaller than the default ones, where they are not 0
}

var scenarios = slices.Concat(methodScenarios, parentScenarios, threadScenarios, sessionScenarios, boundScenarios)

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			in := encode(t, s.in)
			out, stats, err := build(in, s.perMethod, s.max)
			if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
				t.Fatal(err)
			}
			if err := check(out, defaultBounds, true); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(strings.Split(trim(s.want), "\n"), strings.Split(render(t, out), "\n")); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if d := cmp.Diff(s.stats, stats); d != "" {
				t.Errorf("stats: -want +got\n%s", d)
			}
			again, stats, _ := build(out, s.perMethod, s.max)
			if !bytes.Equal(again, out) || stats.HadSpans == 0 {
				t.Error("a stream that has spans was changed")
			}
		})
	}
}

func trim(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

func build(in []byte, perMethod bool, max bounds) ([]byte, Stats, error) {
	var out bytes.Buffer
	b := New(stream.NewWriter(&out), perMethod)
	for _, m := range []struct {
		bound *int
		to    int
	}{{&b.max.open, max.open}, {&b.max.perThread, max.perThread}, {&b.max.ended, max.ended}} {
		if m.to != 0 {
			*m.bound = m.to
		}
	}
	err := b.Run(stream.NewReader(bytes.NewReader(in), vivraw.Format))
	return out.Bytes(), b.Stats, err
}

func num(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// encode makes a stream of a scenario.
func encode(t testing.TB, text string) []byte {
	var buf bytes.Buffer
	w := stream.NewWriter(&buf)
	for _, line := range strings.Split(trim(text), "\n") {
		f := strings.Fields(line)
		switch f[0] {
		case "session":
			s := stream.Session{Version: stream.Version, StartKtimeNS: 10, ObserverPID: 1, MainTID: uint32(num(t, f[1]))}
			s.Targets = []uint32{s.MainTID}
			if len(f) > 2 {
				s.Origin = fmt.Appendf(nil, `{"session_stop_ktime":%s}`, f[3])
			}
			w.Session(&s)
		case "lost":
			w.Lost(&stream.Lost{Count: 1})
		case "clock":
			w.Clock(&stream.Clock{KtimeNS: num(t, f[1])})
		case "raw":
			w.Raw([]byte("\x81\xa4type\xa3raw"))
		case "end":
			w.End(&stream.End{StopKtimeNS: num(t, f[1])})
		default:
			w.Event(parseEvent(t, f))
		}
	}
	w.Flush()
	return buf.Bytes()
}

func parseEvent(t testing.TB, f []string) *event.Event {
	ev := &event.Event{KtimeNS: num(t, f[0]), TraceID: [16]byte{1}, Comm: []byte("x")}
	who, parent, ok := strings.Cut(f[1], "^")
	if ok {
		ev.ParentSpanID = num(t, parent)
	}
	who, id, ok := strings.Cut(who, "#")
	pid, tid, thread := strings.Cut(who, "/")
	if !thread {
		tid = pid
	}
	ev.PID, ev.TID = uint32(num(t, pid)), uint32(num(t, tid))
	ev.SpanID = uint64(ev.TID)
	if ok {
		ev.SpanID = num(t, id)
	}
	arg := ""
	if len(f) > 3 {
		arg = f[3]
	}
	kind := func(id event.ID) { ev.Kind = &event.Kinds[id] }
	set := func(name string, v event.Value) {
		for i := range ev.Kind.Fields {
			if ev.Kind.Fields[i].Name == name {
				v.Type = ev.Kind.Fields[i].Type
				ev.Fields[i] = v
			}
		}
	}
	name := event.Value{Text: []byte(strings.Trim(arg, "-"))}
	switch f[2] {
	case "start":
		kind(event.SpanStart)
		set("name", name)
	case "stop":
		kind(event.SpanStop)
		set("name", name)
	case "raise":
		kind(event.SpanRaise)
	case "exit":
		kind(event.ProcExit)
	case "fork":
		kind(event.ProcFork)
		if child, id, ok := strings.Cut(arg, "#"); ok {
			set("child_span_id", event.Value{Num: num(t, id)})
			arg = child
		}
		set("child_pid", event.Value{Num: num(t, arg)})
	case "thread":
		kind(event.ProcFork)
		set("child_pid", event.Value{Num: uint64(ev.PID)})
		set("child_tid", event.Value{Num: num(t, arg)})
	case "exec", "failed":
		kind(event.ProcExec)
		if arg != "" {
			set("old_tid", event.Value{Num: num(t, arg)})
		}
		if f[2] == "failed" {
			ev.Error = []byte("ENOENT")
		}
	default:
		kind(event.PathOpen)
	}
	return ev
}
