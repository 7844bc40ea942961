package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
)

// tape writes a stream by hand.
type tape struct {
	bytes.Buffer
	w     *stream.Writer
	ktime uint64
}

func newTape() *tape {
	p := &tape{ktime: 1000}
	p.w = stream.NewWriter(&p.Buffer)
	return p
}

func (p *tape) now() uint64 { p.ktime += 10; return p.ktime }

func (p *tape) session() {
	must(p.w.Session(&stream.Session{Version: stream.Version, StartUnixNS: 1e18, StartKtimeNS: p.now(),
		TraceID: [16]byte{1}, Targets: []uint32{100}, MainTID: 100, ObserverPID: 100}))
}

func (p *tape) end() {
	must(p.w.End(&stream.End{StopUnixNS: 1e18 + 1, StopKtimeNS: p.now(), Reason: "exited"}))
	must(p.w.Flush())
}

func (p *tape) open(id, parent uint64, kind stream.SpanKind, name string, pid, tid uint32) {
	must(p.w.SpanOpen(&stream.Span{SpanID: id, ParentSpanID: parent, TraceID: [16]byte{1}, Kind: kind, Name: name, PID: pid, TID: tid, StartKtimeNS: p.now()}))
}

func (p *tape) close(id, parent uint64, kind stream.SpanKind, name string, pid, tid uint32) {
	must(p.w.Span(&stream.Span{SpanID: id, ParentSpanID: parent, TraceID: [16]byte{1}, Kind: kind, Name: name, PID: pid, TID: tid, StartKtimeNS: 1, EndKtimeNS: p.now()}))
}

// event writes one; text and numbers go to the kind's fields of these types in order.
func (p *tape) event(id event.ID, tid uint32, spanID uint64, values ...any) {
	ev := event.Event{Kind: &event.Kinds[id], KtimeNS: p.now(), PID: tid, TID: tid, Comm: []byte("prog"),
		TraceID: [16]byte{1}, SpanID: spanID, ParentSpanID: 1}
	if spanID >= 10 { // a method's or another effective span
		ev.ThreadSpanID = 9
	}
	i := 0
	for _, v := range values {
		switch v := v.(type) {
		case string:
			for ev.Kind.Fields[i].Type != event.Text {
				i++
			}
			ev.Fields[i] = event.Value{Type: event.Text, Text: []byte(v)}
		case int:
			for t := ev.Kind.Fields[i].Type; t != event.Uint && t != event.Int; t = ev.Kind.Fields[i].Type {
				i++
			}
			ev.Fields[i] = event.Value{Type: ev.Kind.Fields[i].Type, Num: uint64(v)}
		}
		i++
	}
	must(p.w.Event(&ev))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func selection(t testing.TB, o Options) Selection {
	t.Helper()
	sel, _, err := o.Selection()
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

// run filters a stream and returns it and the records as JSON objects.
func run(t testing.TB, in []byte, sel Selection) ([]byte, []map[string]any, *Filter) {
	t.Helper()
	var out bytes.Buffer
	f := New(sel)
	if err := Run(stream.NewReader(bytes.NewReader(in)), f, Msgpack(&out)); err != io.EOF {
		t.Fatal(err)
	}
	return out.Bytes(), records(t, out.Bytes()), f
}

func records(t testing.TB, in []byte) []map[string]any {
	t.Helper()
	var list []map[string]any
	r := stream.NewReader(bytes.NewReader(in))
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(stream.AppendJSON(nil, rec), &m); err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
}

// brief shows records as short lines.
func brief(list []map[string]any) []string {
	var out []string
	id := func(v any) string { return strings.TrimLeft(fmt.Sprint(v), "0") }
	for _, m := range list {
		switch m["type"] {
		case "event":
			s := fmt.Sprint(m["event"], " in ", id(m["span_id"]))
			if m["path"] != nil {
				s = fmt.Sprint(m["path"], " in ", id(m["span_id"]))
			}
			if m["hidden"] == true {
				s += " hidden"
			}
			out = append(out, s)
		case "span_open", "span":
			out = append(out, fmt.Sprint(m["type"], " ", id(m["span_id"]), " ", m["name"], " in ", id(m["parent_span_id"])))
		default:
			out = append(out, fmt.Sprint(m["type"]))
		}
	}
	return out
}
