package probe

import (
	"bytes"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
)

// TestMaskedArguments: secrets of a command line are nowhere in the stream,
// unless they were asked for.
func TestMaskedArguments(t *testing.T) {
	for _, shown := range []bool{false, true} {
		d := tempDir(t)
		s := recordAny(t, Options{Events: events(event.ProcExec), NoMask: shown},
			program(t, "execs"), d, "exit", "--password=hunter2", "--token", "hunter2")
		want := "argv=[${self} " + d + " exit --password=*** --token ***]"
		if shown {
			want = strings.ReplaceAll(want, "***", "hunter2")
		}
		want = strings.Replace(want, "${self}", program(t, "execs"), 1)
		if len(s.events) == 0 || !strings.Contains(eventtest.Show(s.events[0]), want) {
			t.Errorf("the exec is not shown with %s", want)
		}
		if s.session.Masked == shown {
			t.Errorf("masked=%v in the session", s.session.Masked)
		}
		if got := strings.Join(s.session.Command, " "); strings.Contains(got, "hunter2") != shown {
			t.Errorf("command %s in the session", got)
		}
		if bytes.Contains(s.raw, []byte("hunter2")) != shown {
			t.Errorf("hunter2 in the stream: %v", !shown)
		}
	}
}
