package span

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/google/go-cmp/cmp"
)

const captures = "../../conformance/"

// deviations are the captures whose spans are others on purpose, by the number
// of the quirk of vivarium that viv does not have.
var deviations = map[string]string{
	"10_stray_stop":    "Q22: a stop closes the span of its own name",
	"31_arrival_order": "Q46: a capture is sorted before its spans are built",
}

// exported is what vivarium's exporter says of a span.
type exported struct {
	TraceID, Name, Start, End string
	Events                    int
	parent                    string
}

// The spans of vivarium's captures are those that its streaming exporter sent.
func TestVivariumsSpans(t *testing.T) {
	files, err := filepath.Glob(captures + "*.stream.otlp.json*")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d reference files in %s (%v)", len(files), captures, err)
	}
	for _, f := range files {
		name, _, _ := strings.Cut(filepath.Base(f), ".")
		t.Run(name, func(t *testing.T) {
			var docs []struct {
				TraceID, SpanID, ParentSpanID, Name string
				StartTimeUnixNano, EndTimeUnixNano  string
				Events                              []struct{}
			}
			if err := json.Unmarshal(load(t, f), &docs); err != nil {
				t.Fatal(err)
			}
			want := map[string]exported{}
			for _, d := range docs {
				want[d.SpanID] = exported{d.TraceID, d.Name, d.StartTimeUnixNano, d.EndTimeUnixNano, len(d.Events), d.ParentSpanID}
			}
			raw, err := filepath.Glob(captures + name + ".vivraw*")
			if err != nil || len(raw) != 1 {
				t.Fatal(raw, err)
			}
			out, _, err := build(load(t, raw[0]), false, bounds{})
			if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
				t.Fatal(err)
			}
			if err := check(out, defaultBounds, true); err != nil {
				t.Error(err)
			}
			all := export(t, out)
			got := map[string]exported{}
			for id := range want {
				if s, ok := all[id]; ok {
					got[id] = s
				}
			}
			// The parent that vivarium names is the thread that forked; ours may
			// be a method of it (Q57).
			for id, w := range want {
				p := id
				for p != "" && all[p].parent != w.parent {
					p = all[p].parent
				}
				if p == "" && w.parent != "" {
					t.Errorf("%q has the parent %s, want %s", w.Name, all[id].parent, w.parent)
				}
			}
			diff := cmp.Diff(want, got, cmp.AllowUnexported(exported{}), cmp.FilterPath(
				func(p cmp.Path) bool { return p.Last().String() == ".parent" }, cmp.Ignore()))
			if why := deviations[name]; why != "" {
				if diff == "" {
					t.Errorf("no difference any more, but there should be one (%s)", why)
				}
			} else if diff != "" {
				t.Errorf("-vivarium +viv\n%s", diff)
			}
		})
	}
}

func load(t *testing.T, file string) []byte {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// export says of the spans in a stream what vivarium's exporter would.
func export(t *testing.T, data []byte) map[string]exported {
	spans := map[string]exported{}
	events := map[string]int{}
	id := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%016x", n)
	}
	var session stream.Session
	time := func(ktime uint64) string {
		return strconv.FormatInt(session.StartUnixNS+int64(ktime-session.StartKtimeNS), 10)
	}
	r := stream.NewReader(bytes.NewReader(data), vivraw.Format)
	for {
		rec, err := r.Next()
		if err != nil {
			return spans
		}
		switch rec.Type {
		case stream.TypeSession:
			session, _ = rec.Session()
		case stream.TypeEvent:
			ev, _ := rec.Event()
			switch string(ev.Name) {
			case "span_start", "span_stop", "proc_exit":
			default:
				events[id(ev.SpanID)]++
			}
		case stream.TypeSpan:
			s, err := rec.Span()
			if err != nil {
				t.Fatal(err)
			}
			spans[id(s.SpanID)] = exported{
				fmt.Sprintf("%x", s.TraceID), s.Name, time(s.StartKtimeNS), time(s.EndKtimeNS),
				events[id(s.SpanID)], id(s.ParentSpanID),
			}
		}
	}
}
