package probe

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
	"vivarium/pkg/probe/launch"
	"vivarium/pkg/stream"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestLossIsExact: of a flood that the smallest buffer cannot hold, what is
// missing is counted to the last one, at its place in the stream.
func TestLossIsExact(t *testing.T) {
	const n = 100_000
	s := record(t, Options{Events: taskEvents, BufferSize: os.Getpagesize()}, program(t, "loop"), "100000", "/etc/passwd")
	const all = n + 2 // and an exec and an exit
	if s.end.Lost == 0 {
		t.Fatal("nothing was lost: the test does not test anything")
	}
	if got := s.end.Events + s.end.Lost; got != all {
		t.Errorf("%d events and %d lost make %d, want %d", s.end.Events, s.end.Lost, got, all)
	}
	for i, l := range s.lost {
		if l.Count == 0 || l.Cause == "" || l.KtimeNS < s.session.StartKtimeNS || l.KtimeNS > s.end.StopKtimeNS {
			t.Errorf("lost record %d: %+v", i, l)
		}
	}
	t.Logf("%d events, %d lost in %d places", s.end.Events, s.end.Lost, len(s.lost))
}

// TestFloodOfThreads: threads that run beside each other on all CPUs: each one's
// events are all there, and in their order, which readBack checks.
func TestFloodOfThreads(t *testing.T) {
	const threads, n = 8, 2000
	s := record(t, Options{Events: events(event.PathOpen)}, program(t, "loop"), strconv.Itoa(n), "/etc/passwd", strconv.Itoa(threads))
	bySpan := map[uint64]int{}
	for _, ev := range s.events {
		if ev.Kind == &event.Kinds[event.PathOpen] {
			bySpan[ev.SpanID]++
		}
	}
	if len(bySpan) != threads {
		t.Errorf("%d threads, want %d", len(bySpan), threads)
	}
	for span, got := range bySpan {
		if got != n {
			t.Errorf("thread %x: %d opens, want %d", span, got, n)
		}
	}
}

// TestSession: what the session says of itself.
func TestSession(t *testing.T) {
	trace, parent, err := ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	s := record(t, Options{Events: events(event.ProcExec), TraceID: trace, ParentSpanID: parent, Version: "1.2.3"},
		program(t, "loop"), "0", "/")
	got := s.session
	if got.TraceID != trace || got.ParentSpanID != parent || got.ProbeVersion != "1.2.3" || got.Version != stream.Version {
		t.Errorf("session: %+v", got)
	}
	if strings.Join(got.Command, " ") != program(t, "loop")+" 0 /" {
		t.Errorf("command %q", got.Command)
	}
	pid := s.events[0].PID
	if len(got.Targets) != 1 || got.Targets[0] != pid || got.MainTID != pid || got.ObserverPID != pid {
		t.Errorf("targets %v, main thread %d, observer %d, but the command is %d", got.Targets, got.MainTID, got.ObserverPID, pid)
	}
	if got.StartUnixNS < before.UnixNano() || s.end.StopUnixNS < got.StartUnixNS {
		t.Errorf("from %d to %d, but it was now %d", got.StartUnixNS, s.end.StopUnixNS, before.UnixNano())
	}
	// The two clocks tell the same time.
	if d := (s.end.StopUnixNS - got.StartUnixNS) - int64(s.end.StopKtimeNS-got.StartKtimeNS); d > 1e7 || d < -1e7 {
		t.Errorf("the clocks differ by %d ns", d)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	if got.Host.Kernel != unix.ByteSliceToString(uts.Release[:]) || got.Host.Name != unix.ByteSliceToString(uts.Nodename[:]) ||
		got.Host.OS == "" || got.Host.Arch == "" || len(got.Host.BootID) != 36 {
		t.Errorf("host: %+v", got.Host)
	}
	if got.Hooks["proc_exec"] == "" || len(got.Hooks) != 1 || len(got.Missing) != 0 {
		t.Errorf("hooks %v, missing %v", got.Hooks, got.Missing)
	}
	if s.end.Reason != "exited" || !s.end.HasExit || s.end.ExitCode != 0 || s.end.Alive != 0 {
		t.Errorf("end: %+v", s.end)
	}
	other := record(t, Options{Events: events(event.ProcExec)}, program(t, "loop"), "0", "/")
	if other.session.TraceID == trace || other.session.TraceID == [16]byte{} {
		t.Errorf("a session without a trace has %x", other.session.TraceID)
	}
}

// TestEnds: each reason to end, and what is left alive.
func TestEnds(t *testing.T) {
	t.Run("signal", func(t *testing.T) {
		r := start(t, program(t, "once"), tempDir(t)+"/f")
		ctx, stop := context.WithCancel(t.Context())
		p := newProbe(t, Options{PIDs: []int{r.pid}, Events: taskEvents})
		time.AfterFunc(50*time.Millisecond, stop)
		s := finish(t, ctx, p)
		if s.end.Reason != "signal" || s.end.HasExit || s.end.Alive != 0 {
			t.Errorf("end: %+v", s.end)
		}
	})
	t.Run("duration", func(t *testing.T) {
		r := start(t, program(t, "once"), tempDir(t)+"/f")
		p := newProbe(t, Options{PIDs: []int{r.pid}, Events: taskEvents, Duration: 200 * time.Millisecond})
		begin := time.Now()
		s := finish(t, t.Context(), p)
		if s.end.Reason != "duration" || time.Since(begin) < 200*time.Millisecond {
			t.Errorf("end after %v: %+v", time.Since(begin), s.end)
		}
	})
	t.Run("alive", func(t *testing.T) {
		s := recordAny(t, Options{Events: taskEvents}, "/bin/sh", "-c", "sleep 1 & sleep 1 & exit 7")
		if s.end.Reason != "exited" || s.end.ExitCode != 7 || s.result.Status != 7 || s.end.Alive != 2 {
			t.Errorf("end: %+v", s.end)
		}
		if res := s.result; res.Outlived != 2 || len(res.Survivors) != 2 || res.Survivors[0].PID == 0 || res.Survivors[0].PID == res.Survivors[1].PID ||
			res.Survivors[0].Name != "sleep" && res.Survivors[0].Name != "sh" { // which has not become it yet
			t.Errorf("%d went on: %+v", res.Outlived, res.Survivors)
		}
	})
	t.Run("killed", func(t *testing.T) {
		s := recordAny(t, Options{Events: taskEvents}, "/bin/sh", "-c", "kill -USR1 $$")
		want := 128 + int(unix.SIGUSR1)
		if s.end.ExitCode != int64(want) || s.result.Status != want {
			t.Errorf("status %d, end: %+v", s.result.Status, s.end)
		}
		last := s.events[len(s.events)-1]
		if eventtest.Show(last) != "proc_exit exit_code=0 signal=10 process=1" {
			t.Errorf("last: %s", eventtest.Show(last))
		}
	})
	t.Run("before it began", func(t *testing.T) {
		r := start(t, program(t, "once"), tempDir(t)+"/f")
		p := newProbe(t, Options{PIDs: []int{r.pid}, Events: taskEvents})
		r.end()
		s := finish(t, t.Context(), p)
		compare(t, s.threads(t)["0"][1:], []string{exited(0)})
	})
}

// TestClock: a stream that goes on for long gets fresh anchors.
func TestClock(t *testing.T) {
	defer func(d time.Duration) { clockEvery = d }(clockEvery)
	clockEvery = 60 * time.Millisecond
	r := start(t, program(t, "once"), tempDir(t)+"/f")
	s := finish(t, t.Context(), newProbe(t, Options{PIDs: []int{r.pid}, Events: taskEvents, Duration: 300 * time.Millisecond}))
	if n := len(s.clocks); n < 2 || n > 5 {
		t.Fatalf("%d clock records", n)
	}
	for _, c := range s.clocks {
		d := (c.UnixNS - s.session.StartUnixNS) - int64(c.KtimeNS-s.session.StartKtimeNS)
		if d > 1e7 || d < -1e7 || c.KtimeNS <= s.session.StartKtimeNS || c.KtimeNS > s.end.StopKtimeNS {
			t.Errorf("clock: %+v", c)
		}
	}
}

// TestReaderGone: when nobody reads any more, which no event tells, recording
// ends; the command does not, and its status is returned.
func TestReaderGone(t *testing.T) {
	d := tempDir(t)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := newProbe(t, Options{Events: taskEvents, Command: []string{"/bin/sh", "-c", "sleep 0.3; echo >" + d + "/f; exit 9"}})
	time.AfterFunc(50*time.Millisecond, func() { in.Close() })
	res, err := p.Record(t.Context(), out)
	if !errors.Is(err, syscall.EPIPE) || res.Status != 9 {
		t.Errorf("status %d, error %v", res.Status, err)
	}
	if _, err := os.Stat(d + "/f"); err != nil {
		t.Error(err)
	}
}

// TestNothingIsLeft: of a probe that is closed, however far it got, no
// goroutine, no descriptor, no process and no BPF program is left.
func TestNothingIsLeft(t *testing.T) {
	needRoot(t)
	one := func(how string) (programs []ebpf.ProgramID) {
		opt := Options{Events: taskEvents, BufferSize: 1 << 20, CommandStdout: os.Stderr, Command: []string{"/bin/true"}}
		if how == "not found" {
			opt.Command[0] = "/nonexistent"
		}
		p, err := New(opt)
		if how == "not found" {
			var e *launch.Error
			if !errors.As(err, &e) || e.Status != 127 {
				t.Errorf("%s: %v", how, err)
			}
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, prog := range p.bpf.programs {
			info, err := prog.Info()
			if err != nil {
				t.Fatal(err)
			}
			id, _ := info.ID()
			programs = append(programs, id)
		}
		if how == "recorded" {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Record(t.Context(), null); err != nil {
				t.Error(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-p.cmd.Done()
		return programs
	}
	count := func() (goroutines, fds int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(list)
	}
	one("recorded") // what is made once for all, is made
	goroutines, fds := count()
	for _, how := range []string{"recorded", "closed", "not found"} {
		for range 3 {
			for _, id := range one(how) {
				eventually(t, "the program is gone", func() bool {
					prog, err := ebpf.NewProgramFromID(id)
					if err == nil {
						prog.Close()
					}
					return errors.Is(err, os.ErrNotExist)
				})
			}
		}
	}
	eventually(t, "no more goroutines and descriptors than before", func() bool {
		g, f := count()
		return g <= goroutines && f <= fds
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stuck is a link that the kernel does not let go of.
type stuck struct{ until chan struct{} }

func (s stuck) Close() error { <-s.until; return nil }

type failing struct{}

func (failing) Close() error { return unix.EIO }

// TestCloseAll: what cannot be taken back is left to the kernel after a time.
func TestCloseAll(t *testing.T) {
	defer func(d time.Duration) { detachMost = d }(detachMost)
	if err := closeAll([]io.Closer{failing{}}); !errors.Is(err, unix.EIO) {
		t.Errorf("%v, want EIO", err)
	}
	detachMost = 50 * time.Millisecond
	s := stuck{make(chan struct{})}
	defer close(s.until)
	begin := time.Now()
	if err := closeAll([]io.Closer{failing{}, s}); !errors.Is(err, errUndetached) {
		t.Errorf("%v, want errUndetached", err)
	}
	if d := time.Since(begin); d < detachMost {
		t.Errorf("it waited %v", d)
	}
}
