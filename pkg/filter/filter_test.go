package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

// tape writes a stream by hand.
type tape struct {
	bytes.Buffer
	w     *stream.Writer
	ktime uint64
}

func newTape() *tape {
	p := &tape{ktime: 1000}
	p.w = stream.NewWriter(&p.Buffer)
	return p
}

func (p *tape) now() uint64 { p.ktime += 10; return p.ktime }

func (p *tape) session() {
	must(p.w.Session(&stream.Session{Version: stream.Version, StartUnixNS: 1e18, StartKtimeNS: p.now(),
		TraceID: [16]byte{1}, Targets: []uint32{100}, MainTID: 100, ObserverPID: 100}))
}

func (p *tape) end() {
	must(p.w.End(&stream.End{StopUnixNS: 1e18 + 1, StopKtimeNS: p.now(), Reason: "exited"}))
	must(p.w.Flush())
}

func (p *tape) open(id, parent uint64, kind stream.SpanKind, name string, pid, tid uint32) {
	must(p.w.SpanOpen(&stream.Span{SpanID: id, ParentSpanID: parent, TraceID: [16]byte{1}, Kind: kind, Name: name, PID: pid, TID: tid, StartKtimeNS: p.now()}))
}

func (p *tape) close(id, parent uint64, kind stream.SpanKind, name string, pid, tid uint32) {
	must(p.w.Span(&stream.Span{SpanID: id, ParentSpanID: parent, TraceID: [16]byte{1}, Kind: kind, Name: name, PID: pid, TID: tid, StartKtimeNS: 1, EndKtimeNS: p.now()}))
}

// event writes one; text and numbers go to the kind's fields of these types in order.
func (p *tape) event(id event.ID, tid uint32, spanID uint64, values ...any) {
	ev := event.Event{Kind: &event.Kinds[id], KtimeNS: p.now(), PID: tid, TID: tid, Comm: []byte("prog"),
		TraceID: [16]byte{1}, SpanID: spanID, ParentSpanID: 1}
	if spanID >= 10 { // a method's or another effective span
		ev.ThreadSpanID = 9
	}
	i := 0
	for _, v := range values {
		switch v := v.(type) {
		case string:
			for ev.Kind.Fields[i].Type != event.Text {
				i++
			}
			ev.Fields[i] = event.Value{Type: event.Text, Text: []byte(v)}
		case int:
			for t := ev.Kind.Fields[i].Type; t != event.Uint && t != event.Int; t = ev.Kind.Fields[i].Type {
				i++
			}
			ev.Fields[i] = event.Value{Type: ev.Kind.Fields[i].Type, Num: uint64(v)}
		}
		i++
	}
	must(p.w.Event(&ev))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func selection(t testing.TB, o Options) Selection {
	t.Helper()
	sel, _, err := o.Selection()
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

// run filters a stream and returns it and the records as JSON objects.
func run(t testing.TB, in []byte, sel Selection) ([]byte, []map[string]any, *Filter) {
	t.Helper()
	var out bytes.Buffer
	f := New(sel)
	if err := Run(stream.NewReader(bytes.NewReader(in)), f, Msgpack(&out)); err != io.EOF {
		t.Fatal(err)
	}
	return out.Bytes(), records(t, out.Bytes()), f
}

func records(t testing.TB, in []byte) []map[string]any {
	t.Helper()
	var list []map[string]any
	r := stream.NewReader(bytes.NewReader(in))
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(stream.AppendJSON(nil, rec), &m); err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
}

// brief shows records as short lines.
func brief(list []map[string]any) []string {
	var out []string
	id := func(v any) string { return strings.TrimLeft(fmt.Sprint(v), "0") }
	for _, m := range list {
		switch m["type"] {
		case "event":
			s := fmt.Sprint(m["event"], " in ", id(m["span_id"]))
			if m["path"] != nil {
				s = fmt.Sprint(m["path"], " in ", id(m["span_id"]))
			}
			if m["hidden"] == true {
				s += " hidden"
			}
			out = append(out, s)
		case "span_open", "span":
			out = append(out, fmt.Sprint(m["type"], " ", id(m["span_id"]), " ", m["name"], " in ", id(m["parent_span_id"])))
		default:
			out = append(out, fmt.Sprint(m["type"]))
		}
	}
	return out
}

// nested is a stream behind viv-spans: a thread with methods A > B > C, a child
// process that B forked and that has a method D, and events everywhere.
func nested() []byte {
	p := newTape()
	p.session()
	p.open(0x10, 0, stream.SpanSession, "vivarium session", 100, 100)
	p.open(0x11, 0x10, stream.SpanThread, "prog", 100, 100)
	p.event(event.PathOpen, 100, 0x11, "/t")
	p.open(0xa, 0x11, stream.SpanMethod, "A", 100, 100)
	p.event(event.PathOpen, 100, 0xa, "/a")
	p.open(0xb, 0xa, stream.SpanMethod, "B", 100, 100)
	p.event(event.PathOpen, 100, 0xb, "/b")
	p.event(event.ProcFork, 100, 0xb, 200, 200)
	p.open(0xc, 0xb, stream.SpanMethod, "C", 100, 100)
	p.event(event.PathOpen, 100, 0xc, "/c")
	p.close(0xc, 0xb, stream.SpanMethod, "C", 100, 100)
	p.close(0xb, 0xa, stream.SpanMethod, "B", 100, 100)
	p.open(0x20, 0xb, stream.SpanThread, "child", 200, 200) // its first event comes late
	p.event(event.PathOpen, 200, 0x20, "/child")
	p.open(0xd, 0x20, stream.SpanMethod, "D", 200, 200)
	p.event(event.PathOpen, 200, 0xd, "/d")
	p.close(0xd, 0x20, stream.SpanMethod, "D", 200, 200)
	p.close(0x20, 0xb, stream.SpanThread, "child", 200, 200)
	must(p.w.Lost(&stream.Lost{KtimeNS: p.now(), Count: 3, Cause: "ring"}))
	must(p.w.Clock(&stream.Clock{UnixNS: 1e18, KtimeNS: p.now()}))
	p.close(0xa, 0x11, stream.SpanMethod, "A", 100, 100)
	p.close(0x11, 0x10, stream.SpanThread, "prog", 100, 100)
	p.close(0x10, 0, stream.SpanSession, "vivarium session", 100, 100)
	p.end()
	return p.Bytes()
}

func TestSpans(t *testing.T) {
	two := int64(2)
	one := int64(1)
	frame := func(middle ...string) []string {
		return slices.Concat([]string{"session", "span_open 10 vivarium session in ", "span_open 11 prog in 10"}, middle,
			[]string{"span 11 prog in 10", "span 10 vivarium session in ", "end"})
	}
	for name, c := range map[string]struct {
		o    Options
		want []string
	}{
		"refused in the middle": {Options{Span: []string{"^[AC]$"}}, frame(
			"span_open a A in 11", "/a in a", "proc_fork in a hidden",
			"span_open c C in a", "/c in c", "span c C in a",
			"span_open 20 child in a", "span 20 child in a",
			"lost", "clock", "span a A in 11")},
		"only the one that forked": {Options{Span: []string{"^B$"}}, frame(
			"span_open b B in 11", "/b in b", "proc_fork in b", "span b B in 11",
			"span_open 20 child in b", "/child in 20", "span 20 child in b",
			"lost", "clock")},
		"method of the child": {Options{Span: []string{"D"}}, frame(
			"proc_fork in 11 hidden",
			"span_open 20 child in 11", "span_open d D in 20", "/d in d", "span d D in 20", "span 20 child in 11",
			"lost", "clock")},
		"outside methods": {Options{Span: []string{NoSpan}}, frame(
			"/t in 11", "proc_fork in 11 hidden",
			"span_open 20 child in 11", "span 20 child in 11",
			"lost", "clock")},
		"depth 1": {Options{Depth: &one, All: true}, frame(
			"/t in 11", "span_open a A in 11", "/a in a", "/b in a", "proc_fork in a", "/c in a",
			"span_open 20 child in a", "/child in 20", "span_open d D in 20", "/d in d", "span d D in 20", "span 20 child in a",
			"lost", "clock", "span a A in 11")},
		"depth 2": {Options{Depth: &two, All: true}, frame(
			"/t in 11", "span_open a A in 11", "/a in a", "span_open b B in a", "/b in b", "proc_fork in b", "/c in b", "span b B in a",
			"span_open 20 child in b", "/child in 20", "span_open d D in 20", "/d in d", "span d D in 20", "span 20 child in b",
			"lost", "clock", "span a A in 11")},
		"depth before names": {Options{Depth: &two, Span: []string{"B|C"}}, frame(
			"span_open b B in 11", "/b in b", "proc_fork in b", "/c in b", "span b B in 11",
			"span_open 20 child in b", "/child in 20", "span 20 child in b",
			"lost", "clock")},
		"by event": {Options{Events: []string{"proc_exec"}}, frame(
			"span_open a A in 11", "span_open b B in a", "proc_fork in b hidden", "span_open c C in b", "span c C in b", "span b B in a",
			"span_open 20 child in b", "span_open d D in 20", "span d D in 20", "span 20 child in b",
			"lost", "clock", "span a A in 11")},
	} {
		t.Run(name, func(t *testing.T) {
			_, list, _ := run(t, nested(), selection(t, c.o))
			if d := cmp.Diff(c.want, brief(list)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAllIsTheSameBytes(t *testing.T) {
	in := nested()
	for name, o := range map[string]Options{"-a": {All: true}, "-a over --filter": {All: true, JSON: new(string)}, "--to": {Encoding: true}} {
		if out, _, f := run(t, in, selection(t, o)); !bytes.Equal(in, out) || f.Stats.Matched != 7 {
			t.Errorf("%s: other bytes, or %d events", name, f.Stats.Matched)
		}
	}
}

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

func TestOptionsErrors(t *testing.T) {
	bad := `[[]]`
	for want, o := range map[string]Options{
		"--severity: there is":      {Severities: []string{"low"}},
		"--severity: the list":      {Severities: []string{","}},
		"--pid: \"x\"":              {PIDs: []string{"1,x"}},
		"--tid: the list":           {TIDs: []string{""}},
		"--span: error parsing":     {Span: []string{"("}},
		"--payload: error parsing":  {Payload: []string{"path_open=("}},
		"--filter: must be a JSON ": {JSON: &bad},
	} {
		if _, _, err := o.Selection(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, warn, err := (&Options{Events: []string{"path_opne,path_open"}, Exclude: []string{"x"}}).Selection()
	if err != nil || len(warn) != 2 || !strings.Contains(warn[0], "path_opne") {
		t.Errorf("%v %v", warn, err)
	}
}

func TestExpression(t *testing.T) {
	for _, c := range []struct {
		expr, text string
		want       bool
	}{
		{"etc", `"/etc/x"`, true}, {"^etc", `"/etc/x"`, false}, {`^"/etc`, `"/etc/x"`, true}, {"etc$", "x/etc", true}, {"etc$", "etc/x", false},
		{"(?i)ETC", "/etc", true}, {"ETC", "/etc", false}, {`a\.b`, "a.b", true}, {`a\.b`, "axb", false}, {"", "x", true}, {"日本", "a日本b", true},
	} {
		p, err := Expression(c.expr)
		if err != nil || p.Match([]byte(c.text)) != c.want {
			t.Errorf("%q on %q: not %v, %v", c.expr, c.text, c.want, err)
		}
	}
}

// random writes a stream of several threads and processes in front of viv-spans.
func random(rng *rand.Rand, events int) []byte {
	p := newTape()
	p.session()
	tids := []uint32{100}
	own := map[uint32]uint64{100: 5}
	names := []string{"A", "B", "C", "D"}
	for range events {
		tid := tids[rng.IntN(len(tids))]
		id := own[tid]
		switch rng.IntN(10) {
		case 0, 1:
			p.event(event.SpanStart, tid, id, names[rng.IntN(4)], "f.rb", 1)
		case 2, 3:
			p.event(event.SpanStop, tid, id, names[rng.IntN(4)], "f.rb", 1)
		case 4:
			child := uint32(200 + len(own))
			own[child] = uint64(1000+len(own))<<8 | 1
			p.event(event.ProcFork, tid, id, int(child), int(child))
			tids = append(tids, child)
		case 5:
			if len(tids) > 1 && rng.IntN(2) == 0 {
				p.event(event.ProcExit, tid, id)
				break
			}
			must(p.w.Lost(&stream.Lost{KtimeNS: p.now(), Count: 1, Cause: "ring"}))
		case 6:
			p.event(event.TaskKill, tid, id, 9)
		default:
			p.event(event.PathOpen, tid, id, fmt.Sprintf("/etc/%d", rng.IntN(5)))
		}
	}
	p.end()
	return p.Bytes()
}

func spanned(t testing.TB, in []byte, perMethod bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := span.New(stream.NewWriter(&b), perMethod).Run(stream.NewReader(bytes.NewReader(in))); err != io.EOF {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestNoOrphans holds for random streams and selections that whatever is kept
// has its span, that every span has its parent, and that nothing is lost which
// later stages need.
func TestNoOrphans(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		in := spanned(t, random(rng, 300), seed%3 == 0)
		depth := int64(rng.IntN(4))
		o := Options{Span: []string{[]string{"A", "B|C", "no-span", "D|no-span", ""}[rng.IntN(5)]}, Depth: &depth, Dedup: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			o.Events = []string{"path_open"}
		}
		_, list, _ := run(t, in, selection(t, o))
		opened := map[any]bool{}
		count := map[any]int{}
		lost := false
		for _, m := range list {
			count[m["type"]]++
			behind := lost && m["type"] == "event"
			lost = m["type"] == "lost" || lost && m["type"] != "event"
			switch m["type"] {
			case "span_open":
				if parent := m["parent_span_id"]; parent != "0000000000000000" && !opened[parent] {
					t.Fatalf("seed %d, %+v: orphan %v", seed, o, m)
				}
				opened[m["span_id"]] = true
			case "span":
				if parent := m["parent_span_id"]; !opened[m["span_id"]] || parent != "0000000000000000" && !opened[parent] {
					t.Fatalf("seed %d, %+v: orphan %v", seed, o, m)
				}
			case "event":
				if !opened[m["span_id"]] {
					t.Fatalf("seed %d, %+v: no span for %v", seed, o, m)
				}
				switch m["event"] {
				case "proc_fork":
					count["proc_fork"]++
				case "span_start", "span_stop":
					// Hidden only where their span went, which opened would tell.
				default:
					if m["hidden"] != true || behind {
						break
					}
					t.Fatalf("seed %d: hidden %v", seed, m)
				}
			}
		}
		all := map[any]int{}
		for _, m := range records(t, in) {
			all[m["type"]]++
			if m["type"] == "event" {
				all[m["event"]]++
			}
		}
		for _, typ := range []string{"session", "lost", "clock", "end", "proc_fork"} {
			if count[typ] != all[typ] {
				t.Errorf("seed %d: %d of %d %s", seed, count[typ], all[typ], typ)
			}
		}
		if count["span_open"] != count["span"] {
			t.Errorf("seed %d: %d spans opened, %d closed", seed, count["span_open"], count["span"])
		}
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
	if len(said) != 2 || !strings.HasPrefix(said[0], "4 events may be repeats") {
		t.Error(said)
	}
}
