package span

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
var scenarios = []struct {
	name, in, want string
	stats          Stats
	perMethod      bool
	max            bounds // smaller than the default ones, where they are not 0
}{
	{
		name: "methods nest",
		in: `session 100
			20 100 start a
			21 100 open
			22 100 start b
			23 100 raise
			24 100 open
			25 100 stop b
			26 100 open
			27 100 stop a
			28 100 open
			29 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 path_open a
			+b <a 22
			100 span_start b
			100 span_raise b
			100 path_open b
			100 span_stop b
			-b 22..25 raised
			100 path_open a
			100 span_stop a
			-a 20..27
			100 path_open t100
			100 proc_exit t100
			-t100 10..29
			-S 10..40
			end`,
	},
	{
		name: "a child hangs under the method that forked it, also when that has ended",
		in: `session 100
			20 100 start system
			21 100 fork 200
			22 200^100 open
			23 100 fork 300
			24 100 stop system
			25 300^100 open
			26 300^100 exit
			27 100 fork 400
			28 400^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+system <t100 20
			100 span_start system
			100 proc_fork system
			+t200 <system 22
			200 path_open t200
			100 proc_fork system
			100 span_stop system
			-system 20..24
			+t300 <system 25
			300 path_open t300
			300 proc_exit t300
			-t300 25..26
			100 proc_fork t100
			+t400 <t100 28
			400 proc_exit t400
			-t400 28..28
			-t100 10..40 dangling
			-t200 22..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a thread without a fork hangs under the thread that its events name, else under the session",
		in: `session 100
			20 100 open
			21 100/101^100 open
			22 300^7 open
			23 301^300 open
			end 40`,
		want: `+S 10
			+t100 <S 10
			100 path_open t100
			+t101 <t100 21
			101 path_open t101
			+t300 <S 22
			300 path_open t300
			+t301 <t300 23
			301 path_open t301
			-t100 10..40 dangling
			-t101 21..40 dangling
			-t300 22..40 dangling
			-t301 23..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a parent that comes late is in the span record, but never a circle",
		in: `session 1
			20 200^100 open
			21 100^200 open
			22 300^300 open
			23 400^100 open
			24 400^100 exit
			25 500 open
			26 600 open
			27 500^600 exit
			end 40`,
		want: `+S 10
			+t200 <S 20
			200 path_open t200
			+t100 <t200 21
			100 path_open t100
			+t300 <S 22
			300 path_open t300
			+t400 <t100 23
			400 path_open t400
			400 proc_exit t400
			-t400 23..24
			+t500 <S 25
			500 path_open t500
			+t600 <S 26
			600 path_open t600
			500 proc_exit t500
			-t500 25..27 <t600
			-t200 20..40 dangling
			-t100 21..40 dangling
			-t300 22..40 dangling
			-t600 26..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a child whose events overtake its fork",
		in: `session 100
			20 100 start a
			22 200^100 open
			21 100 fork 200
			23 200^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+t200 <t100 22
			200 path_open t200
			100 proc_fork a
			200 proc_exit t200
			-t200 22..23 <a
			-a 20..40 dangling
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a fork that is said when its call returns, after the child began",
		in: `session 100
			20 100 start a
			21 200^100 open
			22 100 fork 200#200
			23 200^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+t200 <t100 21
			200 path_open t200
			100 proc_fork a
			200 proc_exit t200
			-t200 21..23 <a
			-a 20..40 dangling
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a lost stop: the outer one's stop closes both",
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 start c
			23 100 stop x
			24 100 stop a
			25 100 stop b
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+b <a 21
			100 span_start b
			+c <b 22
			100 span_start c
			100 span_stop c
			100 span_stop a
			-c 22..24 dangling
			-b 21..24 dangling
			-a 20..24
			100 span_stop t100
			-t100 10..40 dangling
			-S 10..40
			end`,
		stats: Stats{UnknownStops: 2},
	},
	{
		name: "a stop without a name closes the innermost; recursion closes the inner one",
		in: `session 100
			20 100 start f
			21 100 start f
			22 100 stop f
			23 100 start -
			24 100 stop -
			25 100 stop -
			26 100 stop -
			end 40`,
		want: `+S 10
			+t100 <S 10
			+f <t100 20
			100 span_start f
			+f' <f 21
			100 span_start f'
			100 span_stop f'
			-f' 21..22
			+<anonymous> <f 23
			100 span_start <anonymous>
			100 span_stop <anonymous>
			-<anonymous> 23..24
			100 span_stop f
			-f 20..25
			100 span_stop t100
			-t100 10..40 dangling
			-S 10..40
			end`,
		stats: Stats{UnknownStops: 1},
	},
	{
		name: "threads have stacks of their own, and an exit closes its own",
		in: `session 100
			20 100 start a
			21 100 thread 101
			22 100/101^100 start w
			23 100 open
			24 100 stop w
			25 100/101 exit
			26 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 proc_fork a
			+t101 <a 22
			+w <t101 22
			101 span_start w
			100 path_open a
			100 span_stop a
			101 proc_exit w
			-w 22..25 dangling
			-t101 22..25
			100 proc_exit a
			-a 20..26 dangling
			-t100 10..26
			-S 10..40
			end`,
		stats: Stats{UnknownStops: 1},
	},
	{
		name: "late events keep the span that has ended, a second exit too",
		in: `session 100
			20 200 exit
			21 200 open
			22 200 exit
			23 200#0 start x
			24 200#7 start y
			end 40`,
		want: `+S 10
			+t200 <S 20
			200 proc_exit t200
			-t200 20..20
			200 path_open t200
			200 proc_exit t200
			200 span_start t200
			+t200' <S 24
			+y <t200' 24
			200 span_start y
			-y 24..40 dangling
			-t200' 24..40 dangling
			-S 10..40
			end`,
		stats: Stats{Late: 3},
	},
	{
		name: "a reused tid is a new thread: by its span id, after an exit, by a fork",
		in: `session 100
			20 200 start a
			22 200#7 open
			23 200#7 exit
			24 200#8 open
			25 100 fork 200
			26 200#9 open
			27 100 fork 300
			28 300#0 open
			29 100 fork 300
			30 300#0 open
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			-a 20..20 dangling
			-t200 20..20 dangling
			+t200' <S 22
			200 path_open t200'
			200 proc_exit t200'
			-t200' 22..23
			+t200'' <S 24
			200 path_open t200''
			+t100 <S 10
			-t200'' 24..24 dangling
			100 proc_fork t100
			+t200''' <t100 26
			200 path_open t200'''
			100 proc_fork t100
			+t300 <t100 28
			300 path_open t300
			-t300 28..28 dangling
			100 proc_fork t100
			+t300' <t100 30
			300 path_open t300'
			-t100 10..40 dangling
			-t200''' 26..40 dangling
			-t300' 30..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "an exec keeps the span and what is open in it",
		in: `session 100
			20 100 start exec
			21 100 exec
			22 100 open
			end 40`,
		want: `+S 10
			+t100 <S 10
			+exec <t100 20
			100 span_start exec
			100 proc_exec exec
			100 path_open exec
			-exec 20..40 dangling
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "an exec by another thread than the first goes on under the first one's tid",
		in: `session 1
			20 100 open
			21 100 thread 101
			22 100/101 start run
			23 100 exit
			24 100#101 exec 101
			25 100#101 open
			26 100#101 stop run
			27 100#101 exit
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			100 proc_fork t100
			+t101 <t100 22
			+run <t101 22
			101 span_start run
			100 proc_exit t100
			-t100 20..23
			100 proc_exec run
			100 path_open run
			100 span_stop run
			-run 22..26
			100 proc_exit t101
			-t101 22..27
			-S 10..40
			end`,
	},
	{
		name: "the same, with the first thread's exit lost, or no event of the other one",
		in: `session 1
			20 100 start a
			21 100 thread 101
			24 100#101 exec 101
			25 100#101 open
			end 40`,
		want: `+S 10
			+t100 <S 20
			+a <t100 20
			100 span_start a
			100 proc_fork a
			-a 20..21 dangling
			-t100 20..21 dangling
			+t100' <a 24
			100 proc_exec t100'
			100 path_open t100'
			-t100' 24..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a failed exec moves nothing",
		in: `session 1
			20 100/101 open
			21 100 failed 101
			22 100/101 open
			end 40`,
		want: `+S 10
			+t101 <S 20
			101 path_open t101
			+t100 <S 21
			100 proc_exec t100
			101 path_open t101
			-t101 20..40 dangling
			-t100 21..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a loss falls into what is open",
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 stop b
			lost
			23 100 start c
			24 100 stop c
			25 100 stop a
			26 200 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			+b <a 21
			100 span_start b
			100 span_stop b
			-b 21..22
			lost
			+c <a 23
			100 span_start c
			100 span_stop c
			-c 23..24
			100 span_stop a
			-a 20..25 lossy
			+t200 <S 26
			200 proc_exit t200
			-t200 26..26
			-t100 10..40 dangling lossy
			-S 10..40 lossy
			end`,
	},
	{
		name: "events out of order are counted; a thread's span begins with the first in time",
		in: `session 1
			30 100 start a
			20 100 open
			25 100 stop a
			31 100 open
			end 40`,
		want: `+S 10
			+t100 <S 30
			+a <t100 30
			100 span_start a
			100 path_open a
			100 span_stop a
			-a 30..30
			100 path_open t100
			-t100 20..40 dangling
			-S 10..40
			end`,
		stats: Stats{OutOfOrder: 2},
	},
	{
		name: "without an end, and with a session behind it that begins anew",
		in: `session 100
			20 100 start a
			30 100 open
			session 100
			40 100 stop a
			clock 50`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 path_open a
			-a 20..30 dangling
			-t100 10..30 dangling
			-S 10..30 dangling
			+S' 10
			+t100' <S' 10
			100 span_stop t100'
			clock
			-t100' 10..50 dangling
			-S' 10..50 dangling`,
		stats: Stats{UnknownStops: 1},
	},
	{
		name: "a session without events, and events behind an end",
		in: `session 1
			end 40
			raw
			50 100 open`,
		want: `+S 10
			-S 10..40
			end
			raw
			100 path_open -`,
		stats: Stats{Outside: 1},
	},
	{
		name: "events without ids",
		in: `session 1
			20 100#0 open
			21 100#0 start a
			22 100#5 open
			23 100#5 exit
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			+a <t100 21
			100 span_start a
			100 path_open a
			100 proc_exit a
			-a 21..23 dangling
			-t100 20..23
			-S 10..40
			end`,
	},
	{
		name: "two threads with one id get two spans, and two starts at one time too",
		in: `session 1
			20 100#5 open
			21 200#5 open
			22 100#5 start a
			22 100#5 start b
			22 100#5 start c
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			+t200 <S 21
			200 path_open t200
			+a <t100 22
			100 span_start a
			+b <a 22
			100 span_start b
			+c <b 22
			100 span_start c
			-c 22..40 dangling
			-b 22..40 dangling
			-a 22..40 dangling
			-t100 20..40 dangling
			-t200 21..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "a capture: vivarium closes methods at the session's stop and the main thread not at its exit",
		in: `session 100 capture 40
			20 200 start a
			21 200 exit
			22 100 exit
			23 100 open
			end 40`,
		want: `+S 10
			+t200 <S 20
			+a <t200 20
			200 span_start a
			200 proc_exit a
			-a 20..40 dangling
			-t200 20..21
			+t100 <S 10
			100 proc_exit t100
			100 path_open t100
			-t100 10..40
			-S 10..40
			end`,
	},
	{
		name: "a late parent under a thread that was forgotten could make a circle",
		max:  bounds{gone: 1},
		in: `session 1
			20 2 open
			21 4^2 open
			22 3^4 open
			23 4 exit
			24 9 open
			25 9 exit
			26 10 open
			27 2^3 exit
			end 40`,
		want: `+S 10
			+t2 <S 20
			2 path_open t2
			+t4 <t2 21
			4 path_open t4
			+t3 <t4 22
			3 path_open t3
			4 proc_exit t4
			-t4 21..23
			+t9 <S 24
			9 path_open t9
			9 proc_exit t9
			-t9 24..25
			+t10 <S 26
			10 path_open t10
			2 proc_exit t2
			-t2 20..27
			-t3 22..40 dangling
			-t10 26..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "the thread that was silent for longest makes room",
		max:  bounds{open: 3},
		in: `session 1
			20 5 open
			21 6 open
			22 5 open
			23 7 open
			24 5 open
			end 40`,
		want: `+S 10
			+t5 <S 20
			5 path_open t5
			+t6 <S 21
			6 path_open t6
			5 path_open t5
			-t6 21..21 dangling
			+t7 <S 23
			7 path_open t7
			5 path_open t5
			-t5 20..40 dangling
			-t7 23..40 dangling
			-S 10..40
			end`,
		stats: Stats{Evicted: 1},
	},
	{
		name: "what happens in a method that was not opened is not the outer one's",
		max:  bounds{perThread: 2},
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 raise
			23 100 stop b
			24 100 stop a
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <t100 20
			100 span_start a
			100 span_start a
			100 span_raise a
			100 span_stop a
			100 span_stop a
			-a 20..24
			-t100 10..40 dangling
			-S 10..40
			end`,
		stats: Stats{NotOpened: 1},
	},
	{
		name: "an exit that is older than the event before it",
		in: `session 1
			30 100 open
			25 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 30
			100 path_open t100
			100 proc_exit t100
			-t100 25..30
			-S 10..40
			end`,
		stats: Stats{OutOfOrder: 1},
	},
	{
		name:      "a late fork does not move a thread into another trace",
		perMethod: true,
		in: `session 100
			20 100 start a
			22 200^100 open
			21 100 fork 200
			23 200^100 exit
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <- 20 trace link t100
			100 span_start a
			+t200 <t100 22
			200 path_open t200
			100 proc_fork a
			200 proc_exit t200
			-t200 22..23
			-a 20..40 dangling trace link t100
			-t100 10..40 dangling
			-S 10..40
			end`,
	},
	{
		name: "an exec with the first thread's id: that one's span has ended all the same",
		in: `session 1
			20 100 open
			21 100 thread 101
			24 100 exec 101
			25 100 exit
			end 40`,
		want: `+S 10
			+t100 <S 20
			100 path_open t100
			100 proc_fork t100
			-t100 20..21 dangling
			+t100' <t100 24
			100 proc_exec t100'
			100 proc_exit t100'
			-t100' 24..25
			-S 10..40
			end`,
	},
	{
		name:      "a trace for each method",
		perMethod: true,
		in: `session 100
			20 100 start a
			21 100 start b
			22 100 fork 200
			23 200 start c
			24 100 stop b
			25 100 stop a
			26 100 start d
			end 40`,
		want: `+S 10
			+t100 <S 10
			+a <- 20 trace link t100
			100 span_start a
			+b <a 21 trace
			100 span_start b
			100 proc_fork b
			+t200 <b 23 trace
			+c <t200 23 trace
			200 span_start c
			100 span_stop b
			-b 21..24 trace
			100 span_stop a
			-a 20..25 trace link t100
			+d <- 26 trace' link t100
			100 span_start d
			-d 26..40 dangling trace' link t100
			-c 23..40 dangling trace
			-t100 10..40 dangling
			-t200 23..40 dangling trace
			-S 10..40
			end`,
	},
}

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
			if !bytes.Equal(again, out) || stats.Through == 0 {
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
	}{{&b.max.open, max.open}, {&b.max.perThread, max.perThread}, {&b.max.gone, max.gone}} {
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

// render writes what came out as the scenarios do.
func render(t testing.TB, data []byte) string {
	var out strings.Builder
	labels := map[uint64]string{}
	traces := map[[16]byte]string{}
	used := map[string]bool{}
	unique := func(s string) string {
		for used[s] {
			s += "'"
		}
		used[s] = true
		return s
	}
	label := func(id uint64) string {
		if l, ok := labels[id]; ok {
			return l
		}
		return "-"
	}
	opened := map[uint64]uint64{}
	r := stream.NewReader(bytes.NewReader(data), vivraw.Format)
	for {
		rec, err := r.Next()
		if err != nil {
			return strings.TrimSpace(out.String())
		}
		switch rec.Type {
		case stream.TypeSession:
		case stream.TypeEvent:
			ev, _ := rec.Event()
			fmt.Fprintf(&out, "%d %s %s\n", ev.TID, ev.Name, label(ev.SpanID))
		case stream.TypeSpanOpen, stream.TypeSpan:
			s, err := rec.Span()
			if err != nil {
				t.Fatal(err)
			}
			mark := "-"
			if rec.Type == stream.TypeSpanOpen {
				mark = "+"
				switch s.Kind {
				case stream.SpanSession:
					labels[s.SpanID] = unique("S")
					traces[s.TraceID] = ""
				case stream.SpanThread:
					labels[s.SpanID] = unique("t" + strconv.Itoa(int(s.TID)))
				default:
					labels[s.SpanID] = unique(s.Name)
				}
				if _, ok := traces[s.TraceID]; !ok {
					traces[s.TraceID] = unique("trace")
				}
				opened[s.SpanID] = s.ParentSpanID
			}
			out.WriteString(mark + label(s.SpanID))
			if mark == "+" && s.Kind != stream.SpanSession {
				out.WriteString(" <" + label(s.ParentSpanID))
			}
			fmt.Fprintf(&out, " %d", s.StartKtimeNS)
			if mark == "-" {
				fmt.Fprintf(&out, "..%d", s.EndKtimeNS)
				if opened[s.SpanID] != s.ParentSpanID {
					out.WriteString(" <" + label(s.ParentSpanID))
				}
			}
			for _, flag := range []struct {
				set  bool
				text string
			}{
				{s.Dangling, "dangling"}, {s.Raised, "raised"}, {s.Lossy, "lossy"},
				{traces[s.TraceID] != "", traces[s.TraceID]},
				{s.LinkSpanID != 0, "link " + label(s.LinkSpanID)},
			} {
				if flag.set {
					out.WriteString(" " + flag.text)
				}
			}
			out.WriteString("\n")
		case stream.TypeLost:
			out.WriteString("lost\n")
		case stream.TypeClock:
			out.WriteString("clock\n")
		case stream.TypeEnd:
			out.WriteString("end\n")
		default:
			out.WriteString("raw\n")
		}
	}
}

// check holds the promises of any output: every span is opened once and closed
// once, after its parent was opened and within its session; an event's span was
// opened before it; no circle of parents; the bounds.
func check(data []byte, max bounds, strict bool) error {
	type span struct {
		stream.Span
		open bool
	}
	var spans map[uint64]*span
	var open, events int
	var perThread map[uint64]int // by thread span
	threadOf := func(id uint64) uint64 {
		for s := spans[id]; s != nil; s = spans[s.ParentSpanID] {
			if s.Kind == stream.SpanThread {
				return s.SpanID
			}
			if s.LinkSpanID != 0 {
				return s.LinkSpanID
			}
		}
		return 0
	}
	finished := func() error {
		if open > 0 {
			return fmt.Errorf("%d spans were left open", open)
		}
		for id, s := range spans {
			hops := 0
			for ; s != nil && strict; s = spans[s.ParentSpanID] {
				if hops++; hops > len(spans) {
					return fmt.Errorf("span %#x: a circle of parents", id)
				}
			}
		}
		return nil
	}
	r := stream.NewReader(bytes.NewReader(data), vivraw.Format)
	for {
		rec, err := r.Next()
		if err != nil {
			return finished()
		}
		switch rec.Type {
		case stream.TypeSession:
			if err := finished(); err != nil {
				return err
			}
			spans, perThread = map[uint64]*span{}, map[uint64]int{}
		case stream.TypeEnd:
			if err := finished(); err != nil {
				return err
			}
			spans = nil
		case stream.TypeSpanOpen:
			s, _ := rec.Span()
			if o := spans[s.SpanID]; o != nil && (strict || o.open) {
				return fmt.Errorf("span %#x %q: opened twice", s.SpanID, s.Name)
			}
			if p := spans[s.ParentSpanID]; p == nil && s.Kind != stream.SpanSession && s.LinkSpanID == 0 {
				return fmt.Errorf("span %#x %q: no parent %#x", s.SpanID, s.Name, s.ParentSpanID)
			} else if p != nil && p.TraceID != s.TraceID {
				return fmt.Errorf("span %#x %q: not in its parent's trace", s.SpanID, s.Name)
			}
			spans[s.SpanID] = &span{s, true}
			if open++; open > max.open {
				return fmt.Errorf("span %#x %q: %d spans open", s.SpanID, s.Name, open)
			}
			if s.Kind != stream.SpanSession {
				if perThread[threadOf(s.SpanID)]++; perThread[threadOf(s.SpanID)] > max.perThread {
					return fmt.Errorf("span %#x %q: too many open in its thread", s.SpanID, s.Name)
				}
			}
		case stream.TypeSpan:
			s, _ := rec.Span()
			o := spans[s.SpanID]
			if o == nil || !o.open {
				return fmt.Errorf("span %#x %q: closed but not open", s.SpanID, s.Name)
			}
			if s.EndKtimeNS < s.StartKtimeNS {
				return fmt.Errorf("span %#x %q: ends before it starts", s.SpanID, s.Name)
			}
			if s.Kind != stream.SpanSession {
				perThread[threadOf(s.SpanID)]--
			}
			o.Span, o.open = s, false
			open--
		case stream.TypeEvent:
			ev, _ := rec.Event()
			if events++; spans != nil && spans[ev.SpanID] == nil {
				return fmt.Errorf("event %d (%s of %d): no span %#x", events, ev.Name, ev.TID, ev.SpanID)
			}
		}
	}
}
