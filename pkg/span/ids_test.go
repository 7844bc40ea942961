package span

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"
)

// The vectors are vivarium's own.
func TestIDs(t *testing.T) {
	data, err := os.ReadFile("testdata/ids.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Fn        string
		Args, Out []string
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, c := range cases {
		var a [4]uint64
		for i, s := range c.Args {
			if a[i], err = strconv.ParseUint(s, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		var got []uint64
		switch c.Fn {
		case "mix64":
			got = []uint64{Mix64(a[0])}
		case "synth_span_id":
			got = []uint64{ID(a[0], a[1], a[2], a[3])}
		case "synth_trace_id":
			hi, lo := halves(TraceID(a[0], a[1], a[2], a[3]))
			got = []uint64{hi, lo}
		default:
			t.Fatalf("unknown function %q", c.Fn)
		}
		seen[c.Fn]++
		var want []uint64
		for _, s := range c.Out {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, n)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s(%v) = %d, want %d", c.Fn, c.Args, got, want)
		}
	}
	for _, fn := range []string{"mix64", "synth_span_id", "synth_trace_id"} {
		if seen[fn] == 0 {
			t.Errorf("no vector for %s", fn)
		}
	}
}
