package otlp

import (
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// Lengths around the places where their encoding grows.
func TestWire(t *testing.T) {
	for _, n := range []int{0, 1, 100, 110, 120, 126, 127, 128, 129, 16382, 16383, 16384, 2097152} {
		v := strings.Repeat("x", n)
		b, body := begin(nil, 1)
		b, res := begin(b, 1)
		b = attrText(b, 1, "k", v)
		b = attrInt(b, 1, "i", -int64(n))
		b = attrBool(b, 1, "b", n > 0)
		b = attrList(b, 1, "l", slices.Values([]string{v, "", "y"}))
		b = end(end(b, res), body)
		r := ptraceotlp.NewExportRequest()
		if err := r.UnmarshalProto(b); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		got := r.Traces().ResourceSpans().At(0).Resource().Attributes().AsRaw()
		same(t, "attributes", map[string]any{"k": v, "i": -int64(n), "b": n > 0, "l": []any{v, "", "y"}}, got)
	}
}
