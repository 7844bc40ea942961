package otlp

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what viv exports where it deviates from vivarium")

const captures = "../../conformance"

// deviations are the captures whose spans viv exports otherwise than vivarium
// does, and the quirks of vivarium that are the reason.
func deviations(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(captures + "/deviations.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, quirks, _ := strings.Cut(line, " "); strings.HasSuffix(name, ".otlp") {
			known[strings.TrimSuffix(name, ".otlp")] = strings.TrimSpace(quirks)
		}
	}
	return known
}

// TestConformance exports each capture and compares with what vivarium 0.6.0
// exported: spans, their ids, times, names, attributes and events. Where
// vivarium says nothing viv may say more; a parent may be a method span below
// the one that vivarium names (Q57), and an exception's text is not compared (Q8).
func TestConformance(t *testing.T) {
	files, _ := filepath.Glob(captures + "/*.stream.otlp.json*")
	if len(files) == 0 {
		t.Fatal("no captures")
	}
	known := deviations(t)
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		quirks := known[name]
		delete(known, name)
		t.Run(name, func(t *testing.T) {
			ours := exportCapture(t, name)
			want := vivariumSpans(t, maybeGzip(t, captures+"/"+name+".stream.otlp.json"))
			diff := compareSpans(want, spansOf(t, ours))
			if quirks == "" {
				if diff != "" {
					t.Error(diff)
				}
				return
			}
			if diff == "" {
				t.Errorf("listed as a deviation (%s), but the same as vivarium's", quirks)
			}
			own := captures + "/" + name + ".viv.otlp.json"
			if *update {
				write(t, own, ours)
			}
			if d := cmp.Diff(lines(maybeGzip(t, own)), lines(ours)); d != "" {
				t.Errorf("differs from %s (-update writes it):\n%s", own, d)
			}
		})
	}
	for name := range known {
		t.Errorf("deviations.txt: there is no %s.otlp", name)
	}
}

// TestEveryCapture exports the captures that vivarium crashes on, too: what
// comes out is always valid OTLP and its spans form one tree.
func TestEveryCapture(t *testing.T) {
	files, _ := filepath.Glob(captures + "/*.vivraw*")
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		t.Run(name, func(t *testing.T) {
			out := exportCapture(t, name)
			if !utf8.Valid(out) {
				t.Error("not UTF-8")
			}
			spans := spansOf(t, out)
			roots := 0
			for id, s := range spans {
				if strings.Trim(id, "0") == "" || strings.Trim(s.TraceID, "0") == "" || len(id) != 16 || len(s.TraceID) != 32 {
					t.Errorf("ids %q %q", s.TraceID, id)
				}
				if s.ParentSpanID == "" {
					roots++
				} else if _, ok := spans[s.ParentSpanID]; !ok {
					t.Errorf("span %s has an unknown parent %s", id, s.ParentSpanID)
				}
			}
			if roots != 1 {
				t.Errorf("%d roots", roots)
			}
		})
	}
}

// exportCapture takes a capture through viv-spans and viv-otlp.
func exportCapture(t *testing.T, name string) []byte {
	t.Helper()
	var spans, out bytes.Buffer
	b := span.New(stream.NewWriter(&spans), false)
	if err := b.Run(stream.NewReader(bytes.NewReader(maybeGzip(t, captures+"/"+name+".vivraw")), vivraw.Format)); err != io.EOF && !isIncomplete(err) {
		t.Fatal(err)
	}
	convertAll(t, spans.Bytes(), Options{Version: "test"}, func(b Batch) error { return WriteJSON(&out, b) })
	return out.Bytes()
}

type jsonSpan struct {
	TraceID           string          `json:"traceId"`
	SpanID            string          `json:"spanId"`
	ParentSpanID      string          `json:"parentSpanId"`
	Name              string          `json:"name"`
	StartTimeUnixNano string          `json:"startTimeUnixNano"`
	EndTimeUnixNano   string          `json:"endTimeUnixNano"`
	Attributes        []jsonAttribute `json:"attributes"`
	Events            []jsonEvent     `json:"events"`
}

type jsonEvent struct {
	TimeUnixNano string          `json:"timeUnixNano"`
	Name         string          `json:"name"`
	Attributes   []jsonAttribute `json:"attributes"`
}

type jsonAttribute struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

func (a jsonAttribute) String() string { return a.Key + "=" + string(a.Value) }

func vivariumSpans(t *testing.T, doc []byte) (spans []jsonSpan) {
	t.Helper()
	if err := json.Unmarshal(doc, &spans); err != nil {
		t.Fatal(err)
	}
	return spans
}

// spansOf reads lines of OTLP/JSON.
func spansOf(t *testing.T, out []byte) map[string]jsonSpan {
	t.Helper()
	spans := map[string]jsonSpan{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var doc struct {
			ResourceSpans []struct {
				ScopeSpans []struct {
					Spans []jsonSpan `json:"spans"`
				} `json:"scopeSpans"`
			} `json:"resourceSpans"`
		}
		if err := d.Decode(&doc); err == io.EOF {
			return spans
		} else if err != nil {
			t.Fatal(err)
		}
		for _, r := range doc.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, span := range s.Spans {
					if _, twice := spans[span.SpanID]; twice {
						t.Errorf("span %s is there twice", span.SpanID)
					}
					spans[span.SpanID] = span
				}
			}
		}
	}
}

func compareSpans(want []jsonSpan, got map[string]jsonSpan) string {
	var diff strings.Builder
	for _, w := range want {
		g, ok := got[w.SpanID]
		if !ok {
			fmt.Fprintf(&diff, "no span %s %q\n", w.SpanID, w.Name)
			continue
		}
		report := func(what string, w2, g2 any) {
			fmt.Fprintf(&diff, "span %s %q: %s\n  vivarium %v\n  viv      %v\n", w.SpanID, w.Name, what, w2, g2)
		}
		if !under(got, g, w.ParentSpanID) {
			report("parent", w.ParentSpanID, g.ParentSpanID)
		}
		if !begins(g.Attributes, w.Attributes) {
			report("attributes", w.Attributes, g.Attributes)
		}
		if len(w.Events) != len(g.Events) {
			report("events", len(w.Events), len(g.Events))
		}
		for i := range min(len(w.Events), len(g.Events)) {
			we, ge := w.Events[i], g.Events[i]
			if we.Name == "span_raise" && ge.Name == "exception" {
				we.Name, we.Attributes = ge.Name, we.Attributes[:len(we.Attributes)-1]
			}
			if we.TimeUnixNano != ge.TimeUnixNano || we.Name != ge.Name || !begins(ge.Attributes, we.Attributes) {
				report(fmt.Sprintf("event %d", i), we, ge)
			}
		}
		g.ParentSpanID, g.Attributes, g.Events = "", nil, nil
		w.ParentSpanID, w.Attributes, w.Events = "", nil, nil
		if d := cmp.Diff(w, g); d != "" {
			diff.WriteString(d)
		}
	}
	return diff.String()
}

// under says whether parent is above s, however far.
func under(spans map[string]jsonSpan, s jsonSpan, parent string) bool {
	for range 64 {
		if s.ParentSpanID == parent {
			return true
		}
		var ok bool
		if s, ok = spans[s.ParentSpanID]; !ok {
			return false
		}
	}
	return false
}

// begins says whether list begins with the attributes of head.
func begins(list, head []jsonAttribute) bool {
	if len(list) < len(head) {
		return false
	}
	for i, a := range head {
		if list[i].Key != a.Key || !sameJSON(list[i].Value, a.Value) {
			return false
		}
	}
	return true
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && cmp.Equal(x, y)
}

func lines(b []byte) []string { return strings.SplitAfter(string(b), "\n") }

// maybeGzip reads a file, or what NAME.gz holds.
func maybeGzip(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		return b
	}
	f, err := os.Open(name + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	return b
}

// write writes a file, or NAME.gz when it is big.
func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if len(b) > 96<<10 {
		name += ".gz"
		var z bytes.Buffer
		w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
		w.Write(b)
		w.Close()
		b = z.Bytes()
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
