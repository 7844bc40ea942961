package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"

	"vivarium/pkg/cli/clitest"
	"vivarium/pkg/event"
	"vivarium/pkg/inherited"
	"vivarium/pkg/stream"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(beside{m}, map[string]func(){"viv-otlp": main})
}

// beside runs more tests at a time than there are CPUs: most of them wait for
// something most of the time.
type beside struct{ *testing.M }

func (b beside) Run() int {
	inherited.Set()
	flag.Set("test.parallel", "8") // the command line's is parsed later
	return b.M.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "OTEL_EXPORTER_OTLP_ENDPOINT=", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=", quickExit)
			for name, b := range map[string][]byte{
				"spans.viv":  testStream(1, 1),
				"events.viv": eventStream(),
				"cut.viv":    cutStream(),
				"lossy.viv":  lossyStream(),
			} {
				if err := os.WriteFile(env.WorkDir+"/"+name, b, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": clitest.Status,
			"mode":   cmdMode,
		},
	})
}

// quickExit spares each run a second that the race detector sleeps at its end.
const quickExit = "GORACE=atexit_sleep_ms=0"

func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	st, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", st.Mode().Perm()); got != args[1] {
		ts.Fatalf("mode %s, want %s", got, args[1])
	}
}

var testTrace = [16]byte{8: 0xab, 15: 1}

const (
	testUnix  = 1_700_000_000_000_000_000
	testKtime = 5_000_000_000
)

type testWriter struct {
	*stream.Writer
	buf bytes.Buffer
}

func newTestWriter() *testWriter {
	w := &testWriter{}
	w.Writer = stream.NewWriter(&w.buf)
	w.Session(&stream.Session{Version: stream.Version, StartUnixNS: testUnix, StartKtimeNS: testKtime, TraceID: testTrace, MainTID: 7})
	return w
}

func (w *testWriter) bytes() []byte {
	w.Flush()
	return w.buf.Bytes()
}

func (w *testWriter) frame(span func(*stream.Span) error, end uint64) {
	span(&stream.Span{SpanID: 1, TraceID: testTrace, Kind: stream.SpanSession, Name: "vivarium session", PID: 7, TID: 7, StartKtimeNS: testKtime, EndKtimeNS: end})
	span(&stream.Span{SpanID: 2, ParentSpanID: 1, TraceID: testTrace, Kind: stream.SpanThread, Name: "sh", PID: 7, TID: 7, StartKtimeNS: testKtime, EndKtimeNS: end})
}

// method is the i-th method span, with a number of events.
func (w *testWriter) method(i, events int) {
	s := stream.Span{SpanID: uint64(100 + i), ParentSpanID: 2, TraceID: testTrace, Kind: stream.SpanMethod, Source: "usdt",
		Name: "Kernel#load", PID: 7, TID: 7, StartKtimeNS: testKtime + uint64(i)*1000, File: "/app/a.rb", Line: 3}
	w.SpanOpen(&s)
	ev := event.Event{Kind: &event.Kinds[event.PathOpen], PID: 7, TID: 7, Comm: []byte("sh"), TraceID: testTrace,
		SpanID: s.SpanID, ParentSpanID: 2, ThreadSpanID: 2, KtimeNS: s.StartKtimeNS}
	ev.Fields[0] = event.Value{Type: event.Text, Text: []byte("/usr/lib/x86_64-linux-gnu/libc.so.6")}
	for range events {
		ev.KtimeNS += 10
		w.Event(&ev)
	}
	s.EndKtimeNS = s.StartKtimeNS + 900
	w.Span(&s)
}

// testStream is a complete session: its span, a thread's, and method spans.
func testStream(methods, events int) []byte {
	w := newTestWriter()
	w.frame(w.SpanOpen, 0)
	for i := range methods {
		w.method(i, events)
	}
	end := testKtime + uint64(methods+1)*1000
	w.frame(w.Span, end)
	w.End(&stream.End{StopKtimeNS: end})
	return w.bytes()
}

// eventStream has not gone through viv-spans.
func eventStream() []byte {
	w := newTestWriter()
	w.Event(&event.Event{Kind: &event.Kinds[event.PathOpen], SpanID: 5})
	w.End(&stream.End{})
	return w.bytes()
}

func cutStream() []byte {
	w := newTestWriter()
	w.frame(w.SpanOpen, 0)
	return w.bytes()
}

func lossyStream() []byte {
	w := newTestWriter()
	w.frame(w.SpanOpen, 0)
	w.Lost(&stream.Lost{KtimeNS: testKtime, Count: 5, Cause: "ring buffer full"})
	w.frame(w.Span, testKtime+1000)
	w.End(&stream.End{Lost: 5})
	return w.bytes()
}
