package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"vivarium/pkg/event"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"
)

// withSpans is what viv-spans makes of a stream.
func withSpans(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	builder := span.New(stream.NewWriter(&out), false)
	if err := builder.Run(stream.NewReader(bytes.NewReader(b))); err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
		t.Fatal(err)
	}
	return out.Bytes()
}

func drawn(t testing.TB, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := Draw(&out, stream.NewReader(bytes.NewReader(b)), false); err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
		t.Fatal(err)
	}
	return out.String()
}

// checkEvents checks that a drawn stream shows each event once, that all lines
// are harmless, and that all formats agree.
func checkEvents(t *testing.T, b []byte) {
	t.Helper()
	want, losses := 0, 0
	r := stream.NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		switch rec.Type {
		case stream.TypeEvent:
			ev, err := rec.Event()
			if err == nil && !ev.Hidden && !ev.Is(event.SpanStart) && !ev.Is(event.SpanStop) {
				want++
			}
		case stream.TypeLost:
			losses++
		}
	}
	tree := drawn(t, b)
	checkHarmless(t, tree)
	if got := strings.Count(tree, " → ") - strings.Count(tree, "─ DROP "); got != want {
		t.Errorf("%d events are shown of %d:\n%s", got, want, tree)
	}
	if got := strings.Count(tree, "─ DROP "); got != losses {
		t.Errorf("%d losses are shown of %d:\n%s", got, losses, tree)
	}
	var doc bytes.Buffer
	DrawJSON(&doc, stream.NewReader(bytes.NewReader(b)))
	checkHarmless(t, doc.String())
	if got := bytes.Count(doc.Bytes(), []byte(`"type":"event"`)); got != want {
		t.Errorf("%d events are in the JSON of %d", got, want)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(doc.Bytes()), []byte{'\n'}) {
		if len(line) > 0 && !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
	var flat bytes.Buffer
	Flat(&flat, stream.NewReader(bytes.NewReader(b)))
	checkHarmless(t, flat.String())
}

func checkHarmless(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, r := range s {
		if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("%U in %q", r, s)
			return
		}
	}
}

// TestNothingVanishes: random programs, whole and without some of their forks,
// exits and span records.
func TestNothingVanishes(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := newScript(1)
		tasks := [][2]uint32{{1, 1}}
		for next := uint32(2); len(tasks) < 40 && next < 120; {
			task := tasks[rnd.IntN(len(tasks))]
			s.now += rnd.Uint64N(5)
			switch rnd.IntN(9) {
			case 0:
				child := [2]uint32{next, next}
				if rnd.IntN(2) == 0 {
					child[0] = task[0] // a thread
				}
				if rnd.IntN(4) > 0 {
					s.fork(task[0], task[1], child[0], child[1])
				}
				tasks = append(tasks, child)
				next++
			case 1, 2:
				s.start(task[0], task[1], string(rune('a'+rnd.IntN(4))))
			case 3:
				s.stop(task[0], task[1], string(rune('a'+rnd.IntN(4))))
			case 4:
				s.lost(rnd.Uint64N(9), "")
			case 5:
				if rnd.IntN(3) == 0 {
					s.event(task[0], task[1], event.ProcExit, "exit_code", 1)
				}
			case 6:
				s.event(task[0], task[1], event.ProcExec, "path", "/bin/x", "hidden", true)
			default:
				s.open(task[0], task[1], fmt.Sprint("/", next))
			}
			if rnd.IntN(8) == 0 {
				next++
			}
		}
		raw := s.end().bytes()
		checkEvents(t, raw)
		whole := withSpans(t, raw)
		checkEvents(t, whole)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		// As a foreign program might write it: records are missing.
		var thin bytes.Buffer
		w := stream.NewWriter(&thin)
		r := stream.NewReader(bytes.NewReader(whole))
		for {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if rec.Type == stream.TypeSpanOpen || rec.Type == stream.TypeSpan || rec.Type == stream.TypeEvent {
				if rnd.IntN(4) == 0 {
					continue
				}
			}
			w.Raw(rec.Raw)
		}
		w.Flush()
		checkEvents(t, thin.Bytes())
		if t.Failed() {
			t.Fatalf("seed %d, thinned", seed)
		}
	}
}

// FuzzDraw draws records that no program of ours would write in that order,
// eight bytes of the input making one of them.
func FuzzDraw(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x01\x02\x03\x04\x05\x03\x01\x01\x01\x02\x03\x04\x05\x05\x01\x01\x01\x02\x03\x04\x05"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var buf bytes.Buffer
		w := stream.NewWriter(&buf)
		w.Session(&stream.Session{Version: stream.Version, StartKtimeNS: start, Targets: []uint32{1}})
		for ; len(b) >= 8; b = b[8:] {
			id, parent, now := uint64(b[1]%8), uint64(b[2]%8), uint64(start+1000*int(b[3]))
			pid, tid := uint32(b[4]%4), uint32(b[5]%6)
			s := stream.Span{
				SpanID: id, ParentSpanID: parent, Name: string(b[6:7]), PID: pid, TID: tid, StartKtimeNS: now, EndKtimeNS: now + uint64(b[6]),
				Kind: []stream.SpanKind{stream.SpanSession, stream.SpanThread, stream.SpanMethod, stream.SpanMethod}[b[7]%4],
			}
			switch b[0] % 8 {
			case 0, 1:
				w.SpanOpen(&s)
			case 2:
				w.Span(&s)
			case 3:
				w.Lost(&stream.Lost{KtimeNS: now, Count: uint64(b[6])})
			case 4:
				if b[6] == 0 {
					w.End(&stream.End{StopKtimeNS: now})
					w.Session(&stream.Session{Version: stream.Version, Targets: []uint32{pid}})
				}
			default:
				k := &event.Kinds[event.ID(b[6])%event.NumKinds]
				ev := event.Event{Kind: k, Name: []byte(k.Name), PID: pid, TID: tid, KtimeNS: now, SpanID: id, ThreadSpanID: parent, Hidden: b[7]&1 > 0}
				if k == &event.Kinds[event.ProcFork] {
					ev.Fields[0] = event.Value{Type: event.Uint, Num: uint64(b[7] % 4)}
					ev.Fields[1] = event.Value{Type: event.Uint, Num: uint64(b[7] % 6)}
					ev.Fields[2] = event.Value{Type: event.Uint, Num: parent}
				}
				w.Event(&ev)
			}
		}
		w.Flush()
		checkEvents(t, buf.Bytes())
	})
}

func BenchmarkDraw(b *testing.B) {
	s := newScript(1)
	const events = 100_000
	for i := range uint32(events / 5) {
		s.start(1, 1, "a").open(1, 1, "/usr/lib/x86_64-linux-gnu/libcrypto.so.3").stop(1, 1, "a").fork(1, 1, i+10, i+10).open(i+10, i+10, "/etc/passwd")
	}
	data := withSpans(b, s.end().bytes())
	for name, draw := range map[string]func(io.Writer, *stream.Reader) (Result, error){
		"tree": func(w io.Writer, r *stream.Reader) (Result, error) { return Draw(w, r, false) }, "json": DrawJSON, "flat": Flat,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				draw(io.Discard, stream.NewReader(bytes.NewReader(data)))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}
