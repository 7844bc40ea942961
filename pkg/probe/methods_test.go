package probe

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/probe/spans"
	"vivarium/pkg/probe/wire"
	"vivarium/pkg/stream"
)

// newTestSites are the sites of methods.
func newTestSites(t testing.TB, names ...string) *spans.Table {
	t.Helper()
	table := spans.NewTable(nil)
	for _, name := range names {
		if _, err := table.Function(name, true); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

// TestMethods: starts and ends of methods from stack pointers.
func TestMethods(t *testing.T) {
	const (
		size   = 0x10000 // of a stack
		top    = 0x7fff0000
		fibers = 0x10000000 // the end of another one
		a, b   = 1, 2
	)
	at := func(depth uint64) uint64 { return top - depth }
	fiber := func(depth uint64) uint64 { return fibers - depth }
	type step struct {
		id   event.ID // NumKinds: a jump
		sp   uint64
		site uint64
	}
	enter := func(sp, site uint64) step { return step{event.SpanStart, sp, site} }
	leave := func(sp, site uint64) step { return step{event.SpanStop, sp, site} }
	does := func(sp uint64) step { return step{event.PathOpen, sp, 0} }
	jump := func(sp uint64) step { return step{event.NumKinds, sp, 0} }
	var deep []step
	for i := range uint64(maxMethodFrames + 1) {
		deep = append(deep, enter(at(8+8*i), a))
	}
	deep = append(deep, leave(at(8+8*maxMethodFrames), a), leave(at(8*maxMethodFrames), a))
	for _, c := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"nested", []step{enter(at(8), a), does(at(16)), enter(at(24), b), leave(at(24), b), leave(at(8), a), does(0)}, "+a open +b -b -a open"},
		{"left, as its caller does something", []step{enter(at(8), a), enter(at(24), b), does(at(16)), does(at(8)), does(at(1))}, "+a +b -b open -a open open"},
		{"left by an exception", []step{enter(at(8), a), enter(at(24), b), jump(at(16)), does(at(32)), jump(at(1)), does(at(32))}, "+a +b -b open -a open"},
		{"an exception that is rescued inside", []step{enter(at(8), a), jump(at(16)), leave(at(8), a), jump(at(1))}, "+a -a"},
		{"left, and entered again", []step{enter(at(8), a), enter(at(8), b), leave(at(8), b)}, "+a -a +b -b"},
		{"inner ones left", []step{enter(at(8), a), enter(at(24), b), enter(at(32), b), leave(at(8), a)}, "+a +b +b -b -b -a"},
		{"a return without its entry", []step{does(at(8)), leave(at(8), a), enter(at(24), a), leave(at(8), b), does(at(32))}, "open +a -a open"},
		{"a fiber", []step{enter(at(8), a), does(fiber(8)), enter(fiber(16), b), does(at(16)), does(fiber(24)), leave(fiber(16), b), leave(at(8), a)},
			"+a -a open +b -b +a open -a +b open -b +a -a"},
		{"more than are remembered", deep, strings.Repeat("+a ", maxMethodFrames+1) + "-a"},
		{"another program", []step{enter(at(8), a), {event.ProcExec, at(16), 0}, does(at(16)), leave(at(8), a)}, "+a exec open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			sites := newTestSites(t, "a", "b")
			r := &recording{sites: sites, opt: &Options{Events: allEvents()}, w: stream.NewWriter(&out), threads: methodThreads{}}
			if err := r.w.Session(&stream.Session{Version: stream.Version, Targets: []uint32{7}}); err != nil {
				t.Fatal(err)
			}
			for i, s := range c.steps {
				r.m = wire.Message{ID: s.id, StackPointer: s.sp, Function: wire.Function{Site: s.site}}
				r.m.Event = event.Event{KtimeNS: uint64(i), PID: 7, TID: 7, SpanID: 9, Comm: []byte("ruby")}
				if s.id == event.NumKinds {
					r.m.Type = wire.MethodJump
					if err := r.message(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if end := uint64(top); s.id == event.SpanStart && s.sp <= top {
					if s.sp < fibers {
						end = fibers
					}
					r.m.Function.StackFrom, r.m.Function.StackTo = end-size, end
				}
				r.m.Event.Kind = &event.Kinds[s.id]
				r.m.Event.Fields[event.SpanName] = textValue(sites.Name(s.site))
				seen, err := r.methods()
				if err != nil {
					t.Fatal(err)
				}
				if seen {
					if err := r.record(s.id, &r.m.Event); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := r.w.End(&stream.End{StopKtimeNS: uint64(len(c.steps)), Reason: "exited"}); err != nil {
				t.Fatal(err)
			}
			if err := r.w.Flush(); err != nil {
				t.Fatal(err)
			}
			s := readBack(t, out.Bytes())
			if s.err != io.EOF {
				t.Fatal(s.err)
			}
			got := ""
			for _, ev := range s.events {
				switch ev.Kind {
				case &event.Kinds[event.SpanStart]:
					got += fmt.Sprintf(" +%s", ev.Fields[0].Text)
				case &event.Kinds[event.SpanStop]:
					got += fmt.Sprintf(" -%s", ev.Fields[0].Text)
				case &event.Kinds[event.PathOpen]:
					got += " open"
				default:
					got += " exec"
				}
			}
			if want := " " + c.want; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// BenchmarkMethods is of an event in a method, and of one in none.
func BenchmarkMethods(b *testing.B) {
	sites := newTestSites(b, "a")
	r := &recording{sites: sites, threads: methodThreads{}}
	for name, sp := range map[string]uint64{"inside": 1 << 20, "outside": 0} {
		b.Run(name, func(b *testing.B) {
			r.threads[7] = &methodThread{stacks: []*methodStack{{0, 1 << 30, []methodFrame{{1 << 21, 1}}}}}
			r.m = wire.Message{ID: event.PathOpen, StackPointer: sp, Event: event.Event{Kind: &event.Kinds[event.PathOpen], TID: 7}}
			b.ReportAllocs()
			for b.Loop() {
				if seen, err := r.methods(); !seen || err != nil {
					b.Fatal(seen, err)
				}
			}
		})
	}
}
