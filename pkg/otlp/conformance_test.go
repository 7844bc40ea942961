package otlp

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

const captures = "../../conformance"

// TestEveryCapture exports all captures, also those that vivarium crashes on: what
// comes out is always valid OTLP and its spans form one tree. The conformance
// tests compare it with what vivarium exported.
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
	export(t, spans.Bytes(), Options{Version: "test"}, func(b Batch) error { return WriteJSON(&out, b) })
	return out.Bytes()
}

type jsonSpan struct {
	TraceID      string `json:"traceId"`
	SpanID       string `json:"spanId"`
	ParentSpanID string `json:"parentSpanId"`
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
