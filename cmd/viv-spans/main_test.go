package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"vivarium/pkg/cli/clitest"
	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"viv-spans": main, "records": records})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "GORACE=atexit_sleep_ms=0") // the race detector sleeps a second at the end
			whole := testStream(2, true)
			for name, b := range map[string][]byte{
				"events.viv": whole,
				"twice.viv":  append(bytes.Clone(whole), whole...),
				"noend.viv":  testStream(2, false),
				"cut.viv":    whole[:len(whole)-3],
				"flood.viv":  testStream(300, true),
			} {
				if err := os.WriteFile(env.WorkDir+"/"+name, b, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": clitest.Status},
	})
}

// records shows the stream on its stdin, a record a line.
func records() {
	r := stream.NewReader(os.Stdin)
	for {
		rec, err := r.Next()
		if err != nil {
			return
		}
		switch rec.Type {
		case stream.TypeSession:
			fmt.Println("session")
		case stream.TypeEvent:
			ev, _ := rec.Event()
			fmt.Printf("%s of %d, thread's span %d\n", ev.Name, ev.TID, ev.ThreadSpanID)
		case stream.TypeSpanOpen, stream.TypeSpan:
			s, _ := rec.Span()
			fmt.Printf("%s %s %d..%d dangling=%v link=%v\n", s.Kind, s.Name, s.StartKtimeNS, s.EndKtimeNS, s.Dangling, s.LinkSpanID)
		case stream.TypeEnd:
			fmt.Println("end")
		}
	}
}

// testStream is a session of a thread that starts so many methods and stops
// all but the last two, and stops one that it never started.
func testStream(methods int, end bool) []byte {
	var buf bytes.Buffer
	w := stream.NewWriter(&buf)
	w.Session(&stream.Session{Version: stream.Version, StartKtimeNS: 10, MainTID: 7, ObserverPID: 6})
	ktime := uint64(20)
	send := func(id event.ID, name string) {
		ev := event.Event{Kind: &event.Kinds[id], KtimeNS: ktime, PID: 7, TID: 7, SpanID: 70, Comm: []byte("sh")}
		ev.Fields[0] = event.Value{Type: event.Text, Text: []byte(name)}
		w.Event(&ev)
		ktime++
	}
	for range methods {
		send(event.SpanStart, "run")
	}
	for range methods - 2 {
		send(event.SpanStop, "run")
	}
	send(event.SpanStop, "other")
	if end {
		w.End(&stream.End{StopKtimeNS: 1000})
	}
	w.Flush()
	return buf.Bytes()
}
