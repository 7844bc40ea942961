package filter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

// raw is a stream in front of viv-spans.
func raw() []byte {
	p := newTape()
	p.session()
	p.event(event.SpanStart, 100, 5, "A", "a.rb", 3)
	p.event(event.PathOpen, 100, 5, "/etc/a")
	p.event(event.PathOpen, 100, 5, "/usr/a")
	p.event(event.PathOpen, 100, 5, "/etc/a")
	p.event(event.SpanRaise, 100, 5, "E", "a.rb")
	p.event(event.ProcFork, 100, 5, 200, 200)
	p.event(event.ProcExec, 200, 6, "/bin/x")
	p.event(event.EnvCaccess, 200, 6, "getenv", "HOME")
	p.event(event.ProcExit, 200, 6)
	p.event(event.SpanStop, 100, 5, "A", "a.rb", 3)
	p.end()
	return p.Bytes()
}

func TestBeforeSpans(t *testing.T) {
	for name, c := range map[string]struct {
		o       Options
		want    []string
		matched uint64
	}{
		"default": {Options{}, []string{"span_start in 5", "/etc/a in 5", "/etc/a in 5", "span_raise in 5 hidden", "proc_fork in 5",
			"/bin/x in 6", "proc_exit in 6 hidden", "span_stop in 5"}, 4},
		"default, repeats": {Options{Dedup: true}, []string{"span_start in 5", "/etc/a in 5", "span_raise in 5 hidden", "proc_fork in 5",
			"/bin/x in 6", "proc_exit in 6 hidden", "span_stop in 5"}, 3},
		"blank -e is the default": {Options{Events: []string{" , "}, Dedup: true}, []string{"span_start in 5", "/etc/a in 5", "span_raise in 5 hidden",
			"proc_fork in 5", "/bin/x in 6", "proc_exit in 6 hidden", "span_stop in 5"}, 3},
		"-e": {Options{Events: []string{"env_caccess"}}, []string{"span_start in 5 hidden", "span_raise in 5 hidden", "proc_fork in 5 hidden",
			"/bin/x in 6 hidden", "env_caccess in 6", "proc_exit in 6 hidden", "span_stop in 5 hidden"}, 1},
		"-e span_start": {Options{Events: []string{"span_start"}}, []string{"span_start in 5", "span_raise in 5 hidden", "proc_fork in 5 hidden",
			"/bin/x in 6 hidden", "proc_exit in 6 hidden", "span_stop in 5 hidden"}, 1},
		"-x": {Options{Exclude: []string{"path_open,proc_fork", "span_raise"}}, []string{"span_start in 5", "span_raise in 5 hidden", "proc_fork in 5 hidden",
			"/bin/x in 6", "env_caccess in 6", "proc_exit in 6", "span_stop in 5"}, 3},
		"-x over -e": {Options{Events: []string{"env_caccess,path_open"}, Exclude: []string{"env_caccess"}, Dedup: true}, []string{
			"span_start in 5 hidden", "/etc/a in 5", "/usr/a in 5", "span_raise in 5 hidden", "proc_fork in 5 hidden",
			"/bin/x in 6 hidden", "proc_exit in 6 hidden", "span_stop in 5 hidden"}, 2},
		"--pid": {Options{PIDs: []string{"200"}}, []string{"span_start in 5 hidden", "span_raise in 5 hidden", "proc_fork in 5 hidden",
			"/bin/x in 6", "env_caccess in 6", "proc_exit in 6", "span_stop in 5 hidden"}, 3},
		"--payload of a kind": {Options{Payload: []string{`path_open=^"/usr`}, Exclude: []string{"span_start,span_stop,span_raise,env_caccess"}}, []string{
			"span_start in 5 hidden", "/usr/a in 5", "span_raise in 5 hidden", "proc_fork in 5",
			"/bin/x in 6", "proc_exit in 6", "span_stop in 5 hidden"}, 4},
		"--payload with = in it": {Options{Payload: []string{`op=getenv`}}, []string{"span_start in 5 hidden", "span_raise in 5 hidden", "proc_fork in 5 hidden",
			"/bin/x in 6 hidden", "env_caccess in 6", "proc_exit in 6 hidden", "span_stop in 5 hidden"}, 1},
		"-s high": {Options{Severities: []string{"high"}}, []string{"span_start in 5 hidden", "span_raise in 5 hidden", "proc_fork in 5 hidden",
			"/bin/x in 6 hidden", "proc_exit in 6 hidden", "span_stop in 5 hidden"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range c.want { // "/bin/x" is the exec's path
				c.want[i] = strings.ReplaceAll(c.want[i], "proc_exec", "/bin/x")
			}
			_, list, f := run(t, raw(), selection(t, c.o))
			if d := cmp.Diff(slices.Concat([]string{"session"}, c.want, []string{"end"}), brief(list)); d != "" {
				t.Error(d)
			}
			if f.Stats.Matched != c.matched {
				t.Errorf("%d matched, want %d", f.Stats.Matched, c.matched)
			}
		})
	}
}

// TestTwice holds that a second filter neither shows nor counts what the first
// has hidden.
func TestTwice(t *testing.T) {
	once, first, _ := run(t, raw(), selection(t, Options{Events: []string{"env_caccess"}}))
	_, second, f := run(t, once, selection(t, Options{All: true}))
	if d := cmp.Diff(first, second); d != "" {
		t.Error(d)
	}
	if f.Stats.Matched != 1 {
		t.Errorf("%d matched", f.Stats.Matched)
	}
	// Behind viv-spans what spans were rebuilt from can go.
	var spanned bytes.Buffer
	r := stream.NewReader(bytes.NewReader(once))
	if err := span.New(stream.NewWriter(&spanned), false).Run(r); err != io.EOF {
		t.Fatal(err)
	}
	_, third, _ := run(t, spanned.Bytes(), selection(t, Options{All: true}))
	for _, m := range third {
		if m["event"] == "span_start" || m["event"] == "span_raise" {
			t.Errorf("%v is still there", m["event"])
		}
	}
}

func TestNoSpans(t *testing.T) {
	one := int64(1)
	object := `{"max_depth":1}`
	for name, o := range map[string]Options{"--span": {Span: []string{"A"}}, "-d": {Depth: &one}, "--filter": {JSON: &object}} {
		err := Run(stream.NewReader(bytes.NewReader(raw())), New(selection(t, o)), Discard{})
		if !errors.Is(err, ErrNoSpans) {
			t.Errorf("%s: %v", name, err)
		}
		p := newTape()
		p.session()
		p.end()
		if err := Run(stream.NewReader(&p.Buffer), New(selection(t, o)), Discard{}); err != io.EOF {
			t.Errorf("%s, no event at all: %v", name, err)
		}
		// The second session decides for itself.
		both := append(nested(), raw()...)
		if err := Run(stream.NewReader(bytes.NewReader(both)), New(selection(t, o)), Discard{}); !errors.Is(err, ErrNoSpans) {
			t.Errorf("%s, second session: %v", name, err)
		}
	}
}

// TestPlaceOfLoss holds that the event behind a loss stays, but hidden.
func TestPlaceOfLoss(t *testing.T) {
	p := newTape()
	p.session()
	must(p.w.Lost(&stream.Lost{KtimeNS: p.now(), Count: 3, Cause: "ring"}))
	p.event(event.EnvCaccess, 100, 5, "getenv", "HOME")
	p.event(event.EnvCaccess, 100, 5, "getenv", "HOME")
	must(p.w.Lost(&stream.Lost{KtimeNS: p.now(), Count: 3, Cause: "ring"}))
	must(p.w.Lost(&stream.Lost{KtimeNS: p.now(), Count: 3, Cause: "ring"}))
	p.event(event.TaskKill, 100, 5, 9)
	p.end()
	_, list, f := run(t, p.Bytes(), selection(t, Options{Severities: []string{"high"}}))
	if d := cmp.Diff([]string{"session", "lost", "env_caccess in 5 hidden", "lost", "lost", "task_kill in 5", "end"}, brief(list)); d != "" {
		t.Error(d)
	}
	if f.Stats.Matched != 1 {
		t.Errorf("%d matched", f.Stats.Matched)
	}
}

func TestDedupIsPerSession(t *testing.T) {
	in := append(raw(), raw()...)
	_, list, _ := run(t, in, selection(t, Options{Events: []string{"path_open"}, Dedup: true}))
	n := 0
	for _, m := range list {
		if m["event"] == "path_open" {
			n++
		}
	}
	if n != 4 {
		t.Errorf("%d opens, want 2 of each session", n)
	}
}

// TestUnknownRecordsPass holds that what this version does not know is copied.
func TestUnknownRecordsPass(t *testing.T) {
	p := newTape()
	p.session()
	must(p.w.Flush())
	strange := "\x82\xa4type\xa7mystery\xa1x\xc3"
	p.WriteString(strange)
	ev := event.Event{Name: []byte("brand_new"), KtimeNS: 1, PID: 1, TID: 1}
	must(p.w.Event(&ev))
	p.end()
	out, list, _ := run(t, p.Bytes(), selection(t, Options{Events: []string{"path_open"}}))
	if !bytes.Contains(out, []byte(strange)) || len(list) != 3 {
		t.Errorf("%v", brief(list))
	}
	if _, list, _ = run(t, p.Bytes(), selection(t, Options{Events: []string{"brand_new"}})); len(list) != 4 {
		t.Errorf("%v", brief(list))
	}
}

// TestEventCount: the end of a filtered session counts the events that stay; a
// number that was wrong before stays wrong by as much.
func TestEventCount(t *testing.T) {
	for _, c := range []struct{ counted, want uint64 }{{4, 1}, {5, 2}, {3, 0}, {2, 2}, {0, 0}} {
		p := newTape()
		for range 2 { // each session has a number of its own
			p.session()
			for i, path := range []string{"/a", "/b", "/a", "/c"} {
				ev := event.Event{Kind: &event.Kinds[event.PathOpen], Name: []byte("path_open"), KtimeNS: uint64(i), PID: 1, TID: 1}
				ev.Fields[0] = event.Value{Type: event.Text, Text: []byte(path)}
				must(p.w.Event(&ev))
			}
			must(p.w.End(&stream.End{Events: c.counted}))
		}
		must(p.w.Flush())
		var out bytes.Buffer
		Run(stream.NewReader(bytes.NewReader(p.Bytes())), New(selection(t, Options{Payload: []string{"/b"}})), Msgpack(&out))
		ends := 0
		for r := stream.NewReader(&out); ; {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if rec.Type == stream.TypeEnd {
				ends++
				if e, _ := rec.End(); e.Events != c.want {
					t.Errorf("%d events of %d: the end counts %d, want %d", 1, c.counted, e.Events, c.want)
				}
			}
		}
		if ends != 2 {
			t.Errorf("%d ends", ends)
		}
	}
}

// TestBounds holds that memory does not grow without end, and that what is over
// a bound is shown and counted.
func TestBounds(t *testing.T) {
	sel := selection(t, Options{Span: []string{"^B$"}})
	f := New(sel)
	p := newTape()
	p.session()
	for i := range uint64(MaxSpans + 100) {
		p.open(1000+i, 0, stream.SpanMethod, "A", 100, 100)
	}
	for i := range uint64(3 * maxClosed) {
		p.close(1<<40+i, 0, stream.SpanMethod, "A", 100, 100)
	}
	p.end()
	if err := Run(stream.NewReader(&p.Buffer), f, Discard{}); err != io.EOF {
		t.Fatal(err)
	}
	if len(f.spans) > MaxSpans+maxClosed || f.Stats.Untraced != 100 {
		t.Errorf("%d spans are known, %d untraced", len(f.spans), f.Stats.Untraced)
	}

	f = New(selection(t, Options{All: true, Dedup: true}))
	for i := range uint64(MaxValues) {
		f.seen[[2]uint64{i, i}] = struct{}{}
	}
	r := stream.NewReader(bytes.NewReader(raw()))
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		if rec.Type == stream.TypeSession {
			continue // which would forget them
		}
		if _, _, err := f.Apply(rec); err != nil {
			t.Fatal(err)
		}
	}
	if f.Stats.Repeats != 4 || len(f.seen) != MaxValues {
		t.Errorf("%d repeats, %d values", f.Stats.Repeats, len(f.seen))
	}
	var said []string
	f.Stats.Untraced = 1
	f.Stats.Report(func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
	if len(said) != 2 || !strings.HasPrefix(said[0], "4 events are shown that may be repeats") {
		t.Error(said)
	}
}
