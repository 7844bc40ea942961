package probe

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/tree"
)

// onlyMarkers is --spans markers.
var onlyMarkers = func() Spans {
	s, err := ParseSpans([]string{"markers"})
	if err != nil {
		panic(err)
	}
	return s
}()

var marked = Options{Spans: onlyMarkers, Events: events(event.PathOpen, event.SpanStart, event.SpanStop, event.SpanRaise)}

// TestMarkers: every call that can carry a marker, the grammar, and its bounds.
func TestMarkers(t *testing.T) {
	s := record(t, marked, program(t, "markers"), tempDir(t))
	var calls []string
	for i := range 7 {
		calls = append(calls, fmt.Sprintf("span_start name=%d source=marker", i), fmt.Sprintf("span_stop name=%d source=marker", i))
	}
	compareRows(t, s.only(spanEvents...), []row{
		{"calls", calls},
		{"grammar", []string{
			`span_start name=Net::HTTP#get/?a&b file=/srv/app.rb line=12 source=marker`,
			`span_raise error=IOError message="gone away" file=a&b.rb line=3 source=marker`,
			`span_start name="50% of it" source=marker`,
			`span_stop source=marker`,
			`span_stop source=marker`,
		}},
		{"bounds", []string{
			`span_stop source=marker`,
			`span_start name=` + strings.Repeat("x", 4095-12) + ` source=marker`,
			`span_start name=` + strings.Repeat("x", 4095-6) + ` source=marker truncated`,
		}},
	})
	if want := uint64(7 + 4 + 1); s.result.BadMarkers != want {
		t.Errorf("%d paths that were no markers, not %d", s.result.BadMarkers, want)
	}
}

// TestMarkersOff: without the provider a marker is the failed call that it is.
func TestMarkersOff(t *testing.T) {
	s := record(t, Options{}, program(t, "markers"), tempDir(t))
	for _, ev := range s.events {
		for _, id := range spanEvents {
			if ev.Kind == &event.Kinds[id] {
				t.Errorf("%s", eventtest.Show(ev))
			}
		}
	}
}

// TestMarkerScripts draws the trees of scripts that mark their spans.
func TestMarkerScripts(t *testing.T) {
	want := `
[PROC pid=N comm=NAME]
└─ [SPAN tid=N deploy at=run.x:7 dur=N (marker) (raise)]
   ├─ LSM path_open → "DIR/one" flags=O_RDONLY @N
   ├─ [SPAN tid=N copy the files dur=N (marker)]
   │ └─ LSM path_open → "DIR/two" flags=O_RDONLY @N
   └─ EXCP span_raise → error=Oops message="a & b" source=marker @N
`
	for name, script := range map[string]string{
		"sh": `
			test -e "viv://start/deploy?file=/srv/run.x&line=7"
			read x <one
			[ -e "viv://start/copy the files" ]
			read x <two
			[ -e "viv://stop/copy the files" ]
			test -e 'viv://raise/Oops?message=a%20%26%20b'
			test -e viv://stop/deploy || true`,
		"bash": `
			[[ -e "viv://start/deploy?file=/srv/run.x&line=7" ]]
			read x <one
			[[ -f "viv://start/copy the files" ]]
			read x <two
			[[ -r "viv://stop/copy the files" ]]
			[[ -e 'viv://raise/Oops?message=a%20%26%20b' ]]
			[[ -x viv://stop/deploy ]] || true`,
		"python3": `
import os
def mark(path): os.path.exists("viv://" + path)
mark("start/deploy?file=/srv/run.x&line=7")
open("one").close()
mark("start/copy the files")
open("two").close()
mark("stop/copy the files")
mark("raise/Oops?message=a%20%26%20b")
mark("stop/deploy")`,
		"perl": `
			-e "viv://start/deploy?file=/srv/run.x&line=7";
			open(F, "one"); close F;
			-e "viv://start/copy the files";
			open(F, "two"); close F;
			-e "viv://stop/copy the files";
			-e "viv://raise/Oops?message=a%20%26%20b";
			-e "viv://stop/deploy"`,
		"node": `
			const fs = require("fs"), mark = path => fs.existsSync("viv://" + path);
			mark("start/deploy?file=/srv/run.x&line=7");
			fs.closeSync(fs.openSync("one"));
			mark("start/copy the files");
			fs.closeSync(fs.openSync("two"));
			mark("stop/copy the files");
			mark("raise/Oops?message=a%20%26%20b");
			mark("stop/deploy");`,
	} {
		t.Run(name, func(t *testing.T) {
			path := tool(t, name)
			if name == "python3" { // not a version manager's script
				path = "/usr/bin/python3"
			}
			d := tempDir(t)
			for _, file := range []string{"one", "two"} {
				if err := os.WriteFile(filepath.Join(d, file), []byte("x\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			flag := "-c"
			if name == "perl" || name == "node" {
				flag = "-e"
			}
			t.Chdir(d)
			s := record(t, marked, path, flag, script)
			compareTree(t, s, d, want)
		})
	}
}

// compareTree draws the opens in d and the spans around them, with the numbers
// as N and single spaces.
func compareTree(t *testing.T, s *seen, d, want string) {
	t.Helper()
	var spans, drawn bytes.Buffer
	w := stream.NewWriter(&spans)
	in := stream.NewReader(bytes.NewReader(s.raw))
	var kept bytes.Buffer
	k := stream.NewWriter(&kept)
	left := uint64(0) // events that are not kept
	for {
		rec, err := in.Next()
		if err != nil {
			break
		}
		if rec.Type == stream.TypeEvent {
			ev, err := rec.Event()
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == &event.Kinds[event.PathOpen] && !bytes.HasPrefix(ev.Get("path").Text, []byte(d)) {
				left++
				continue
			}
		}
		if rec.Type == stream.TypeEnd {
			end := s.end
			end.Events -= left
			if err := k.End(&end); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := k.Raw(rec.Raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	b := span.New(w, false)
	_ = b.Run(stream.NewReader(&kept))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Draw(&drawn, stream.NewReader(&spans), false); err != io.EOF {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(drawn.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.ReplaceAll(line, d, "DIR")
		for _, r := range []struct{ re, to string }{
			{`(pid|tid|parent)=\d+`, "$1=N"}, {`dur=\S+ *`, "dur=N "}, {`dur=(\S+?)\]`, "dur=N]"}, {`@\+?\S+`, "@N"},
			{`comm=[^\]]*\]`, "comm=NAME]"}, {`flags=O_RDONLY\|O_CLOEXEC`, "flags=O_RDONLY"}, {`127\.0\.0\.1:\d+`, "127.0.0.1:N"}, {`[  ]+`, " "}, {` +\]`, "]"}, {`\s+$`, ""},
		} {
			line = regexp.MustCompile(r.re).ReplaceAllString(line, r.to)
		}
		got = append(got, line)
	}
	var wanted []string
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		wanted = append(wanted, regexp.MustCompile(`[  ]+`).ReplaceAllString(line, " "))
	}
	compare(t, got, wanted)
}
