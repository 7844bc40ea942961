package filter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
)

// TestJSONCarries holds that msgpack -> json keeps every key with its value, by
// way of another decoder of either.
func TestJSONCarries(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	p := newTape()
	p.session()
	for range 20 {
		for id := range event.NumKinds {
			ev := live(rng, id)
			ev.Error = []byte("ENOENT")
			ev.Truncated, ev.OutcomeUnknown = rng.IntN(2) == 0, rng.IntN(2) == 0
			must(p.w.Event(ev))
		}
	}
	must(p.w.Lost(&stream.Lost{KtimeNS: p.now(), Count: 7, Cause: "ring"}))
	must(p.w.Clock(&stream.Clock{UnixNS: 1e18, KtimeNS: p.now()}))
	must(p.w.Span(&stream.Span{SpanID: 1<<64 - 1, ParentSpanID: 1, TraceID: [16]byte{15: 1}, Kind: stream.SpanMethod, Name: "A\xff",
		File: "/é", Line: -3, EndKtimeNS: 1<<64 - 1, Raised: true}))
	p.end()
	in := p.Bytes()
	for _, o := range []Options{{Encoding: true}, {Events: []string{"path_open"}}} { // also what is changed on the way
		var thin, out bytes.Buffer
		for _, to := range []Sink{Msgpack(&thin), JSON(&out)} {
			if err := Run(stream.NewReader(bytes.NewReader(in), vivraw.Format), New(selection(t, o)), to); err != io.EOF {
				t.Fatal(err)
			}
		}
		dec := msgpack.NewDecoder(&thin)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		for i, line := range lines {
			want, err := dec.DecodeMap()
			if err != nil {
				t.Fatal(err)
			}
			jd := json.NewDecoder(strings.NewReader(line))
			jd.UseNumber()
			var got map[string]any
			if err := jd.Decode(&got); err != nil {
				t.Fatalf("line %d: %v: %s", i+1, err, line)
			}
			for k, v := range want {
				want[k] = plain(k, v)
			}
			readBack(t, got)
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("line %d: %s", i+1, d)
			}
		}
		if err := dec.Skip(); err != io.EOF {
			t.Errorf("more records than the %d lines: %v", len(lines), err)
		}
	}
}

// readBack puts the bytes of text that is not UTF-8 into its place.
func readBack(t *testing.T, record map[string]any) {
	t.Helper()
	decode := func(v any) any {
		b, err := base64.StdEncoding.DecodeString(v.(string))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for key, v := range record {
		of, ok := strings.CutSuffix(key, "_bytes")
		if !ok {
			continue
		}
		delete(record, key)
		list, isList := v.([]any)
		for i := range list {
			list[i] = decode(list[i])
		}
		if record[of] = v; !isList {
			record[of] = decode(v)
		}
	}
}

// plain is a msgpack value as JSON should have it.
func plain(key string, v any) any {
	switch v := v.(type) {
	case []byte:
		if key == "trace_id" {
			return fmt.Sprintf("%x", v)
		}
		if key != "payload" {
			return string(v)
		}
		return map[string]any{"base64": base64.StdEncoding.EncodeToString(v)}
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, plain("", e))
		}
		return out
	case string, bool, nil:
		return v
	}
	n := fmt.Sprint(v)
	if strings.HasSuffix(key, "span_id") {
		u, err := strconv.ParseUint(n, 10, 64)
		if err != nil {
			panic(err)
		}
		return fmt.Sprintf("%016x", u)
	}
	return json.Number(n)
}
