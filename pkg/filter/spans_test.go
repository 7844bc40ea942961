package filter

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"

	"github.com/google/go-cmp/cmp"
)

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
		"outside methods": {Options{Span: []string{stream.NoSpan}}, frame(
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
