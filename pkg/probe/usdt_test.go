package probe

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
)

func spansFrom(t testing.TB, providers ...string) Spans {
	t.Helper()
	s, err := ParseSpans(providers)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spanEventsOf are the span events and forks, by thread, with what they are in.
func spanThreads(t testing.TB, s *seen) map[string][]string {
	got := map[string][]string{}
	for name, list := range s.threads(t) {
		for _, e := range list {
			if strings.HasPrefix(e, "span_") {
				got[name] = append(got[name], e)
			}
		}
	}
	return got
}

var wantVivarium = []string{
	"span_start name=Greeter#hello file=/srv/greeter.rb line=12 source=usdt",
	"span_start name=U#m file=/srv/u.rb line=1 source=usdt",
	`span_raise error=IOError message="no more" file=/srv/u.rb line=2 source=usdt`,
	"span_stop name=U#m file=/srv/u.rb line=3 source=usdt",
	"span_stop name=Greeter#hello file=/srv/greeter.rb line=13 source=usdt",
}

const ownProvider = "usdt:own:enter:leave@1/2#3/4"

// TestUSDT: probes of a running program, in all its threads and children, with
// a semaphore that only it has raised, and only as long as it is watched.
func TestUSDT(t *testing.T) {
	d := tempDir(t)
	path := program(t, "usdt")
	other := start(t, path, d, "wait")
	opt := Options{Events: maps.Clone(taskEvents), Spans: spansFrom(t, "vivarium_usdt", ownProvider, "func:"+path+":worked")}
	for _, id := range spanEvents {
		opt.Events[id] = true
	}
	s := recordRunning(t, opt, start(t, path, d, "wait"), 1)
	other.stdin.Close()
	if raised := other.end(); raised != 0 {
		t.Errorf("the semaphore of a process that is not watched is %d", raised)
	}
	checkUSDT(t, s)
}

// TestUSDTCommand: the same from a command's first instruction on.
func TestUSDTCommand(t *testing.T) {
	path := program(t, "usdt")
	opt := Options{Events: maps.Clone(taskEvents), Spans: spansFrom(t, "vivarium_usdt", ownProvider, "func:"+path+":worked")}
	for _, id := range spanEvents {
		opt.Events[id] = true
	}
	s := recordAny(t, opt, path, tempDir(t))
	if s.result.Status != 1 {
		t.Errorf("its semaphore was %d", s.result.Status)
	}
	checkUSDT(t, s)
}

func checkUSDT(t *testing.T, s *seen) {
	t.Helper()
	pair := func(name string) []string {
		return []string{"span_start name=" + name + " source=usdt", "span_stop name=" + name + " source=usdt"}
	}
	own := append(pair("Class#method"), pair("Other#x")...)
	fn := []string{"span_start name=worked source=uprobe", "span_start name=worked source=uprobe",
		"span_stop name=worked source=uprobe", "span_stop name=worked source=uprobe"}
	got := spanThreads(t, s)
	want := map[string][]string{
		"0":   append(append(append([]string{}, wantVivarium...), own...), fn...),
		"0.1": pair("Child#work"),
		"0.2": pair("Thread#run"),
	}
	for name := range want {
		compare(t, got[name], want[name])
	}
	for _, ev := range s.events {
		if ev.Kind == &event.Kinds[event.SpanStart] && bytes.Contains(ev.Get("name").Text, []byte("XX")) {
			t.Errorf("%s: more than the length that was given", eventtest.Show(ev))
		}
	}
}
