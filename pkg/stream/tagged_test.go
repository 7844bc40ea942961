package stream

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
)

// A value of another type leaves its field zero, and no other; one that does
// not fit is no other number.
func TestOddTaggedValues(t *testing.T) {
	key := func(name string, value string) string { return string(appendText(nil, name)) + value }
	record := func(typ string, pairs ...string) *Record {
		b := append([]byte{0x80 | byte(len(pairs)+1)}, key("type", string(appendText(nil, typ)))...)
		for _, p := range pairs {
			b = append(b, p...)
		}
		return parsed(t, b)
	}
	viv := key("format", "\xa3viv")
	array := func(n uint32, fill string) string {
		b := binary.BigEndian.AppendUint32([]byte{0xdd}, n)
		return string(append(b, bytes.Repeat([]byte(fill), int(n))...))
	}
	for name, test := range map[string]struct {
		pairs []string
		want  Session
	}{
		"negative":      {[]string{key("version", "\xff"), key("main_tid", "\xd0\x80"), key("start_unix_ns", "\xff")}, Session{StartUnixNS: -1}},
		"too large":     {[]string{key("main_tid", "\xcf\x00\x00\x00\x01\x00\x00\x00\x00"), key("start_unix_ns", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff")}, Session{}},
		"float":         {[]string{key("version", "\xca\x3f\x80\x00\x00")}, Session{}},
		"nil":           {[]string{key("version", "\xc0"), key("host", "\xc0"), key("command", "\xc0"), key("hooks", "\xc0")}, Session{}},
		"short id":      {[]string{key("trace_id", "\xc4\x01\x01")}, Session{}},
		"long id":       {[]string{key("trace_id", "\xc4\x11"+string(make([]byte, 17)))}, Session{}},
		"text":          {[]string{key("probe_version", "\x07"), key("masked", "\x01"), key("observer_pid", "\xa11")}, Session{}},
		"as bin":        {[]string{key("probe_version", "\xc4\x01v")}, Session{ProbeVersion: "v"}},
		"list":          {[]string{key("command", "\xa1x"), key("targets", "\x80"), key("processes", "\x07")}, Session{}},
		"odd element":   {[]string{key("command", "\x92\xa1x\x07")}, Session{}},
		"odd host":      {[]string{key("host", "\x81\xa4name\x07"), key("missing", "\x81\x07\xa1x")}, Session{}},
		"unknown key":   {[]string{key("host", "\x82\xa3new\x07\xa4name\xa1h"), key("new", "\x81\x01\x02")}, Session{Host: Host{Name: "h"}}},
		"twice":         {[]string{key("version", "\x01"), key("version", "\x02")}, Session{Version: 2}},
		"twice, odd":    {[]string{key("version", "\x01"), key("version", "\xa1x")}, Session{}},
		"many elements": {[]string{key("processes", array(1<<20, "\xc0"))}, Session{}},
	} {
		got, err := record("session", append([]string{viv}, test.pairs...)...).Session()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	for name, test := range map[string]struct {
		pairs []string
		want  End
	}{
		"exit code":      {[]string{key("exit_code", "\x00")}, End{HasExit: true}},
		"no exit code":   {[]string{key("exit_code", "\xa11")}, End{}},
		"large exit":     {[]string{key("exit_code", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff")}, End{}},
		"exit, and odd":  {[]string{key("exit_code", "\x05"), key("exit_code", "\xc0")}, End{}},
		"tail is a text": {[]string{key("tail", "\xa1x"), key("cut", "\xc3")}, End{Cut: true, Origin: []byte("x")}},
	} {
		got, err := record("end", test.pairs...).End()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// taggedEvent is a path_open as the library would take it.
type taggedEvent struct {
	Type         string `msgpack:"type"`
	Event        string `msgpack:"event"`
	KtimeNS      uint64 `msgpack:"ktime_ns"`
	PID          uint32 `msgpack:"pid"`
	TID          uint32 `msgpack:"tid"`
	UID          uint32 `msgpack:"uid"`
	GID          uint32 `msgpack:"gid"`
	Comm         string `msgpack:"comm"`
	TraceID      []byte `msgpack:"trace_id"`
	SpanID       uint64 `msgpack:"span_id"`
	ParentSpanID uint64 `msgpack:"parent_span_id"`
	Path         string `msgpack:"path,omitempty"`
	Flags        uint64 `msgpack:"flags,omitempty"`
	Error        string `msgpack:"error,omitempty"`
	Truncated    bool   `msgpack:"truncated,omitempty"`
}

// taggedSpan is the same for a span.
type taggedSpan struct {
	Type         string `msgpack:"type"`
	SpanID       uint64 `msgpack:"span_id"`
	ParentSpanID uint64 `msgpack:"parent_span_id"`
	TraceID      []byte `msgpack:"trace_id"`
	Kind         string `msgpack:"kind"`
	Source       string `msgpack:"source,omitempty"`
	Name         string `msgpack:"name"`
	PID          uint32 `msgpack:"pid"`
	TID          uint32 `msgpack:"tid"`
	StartKtimeNS uint64 `msgpack:"start_ktime_ns"`
	File         string `msgpack:"file,omitempty"`
	Line         int64  `msgpack:"line,omitempty"`
	EndKtimeNS   uint64 `msgpack:"end_ktime_ns"`
	Dangling     bool   `msgpack:"dangling,omitempty"`
}

// BenchmarkTags: events and spans by hand, and as the library would do them
// after struct tags.
func BenchmarkTags(b *testing.B) {
	ev := sampleEvent()
	path, flags := ev.Get("path"), ev.Get("flags")
	tagEvent := taggedEvent{Type: "event", Event: ev.Kind.Name, KtimeNS: ev.KtimeNS, PID: ev.PID, TID: ev.TID, UID: ev.UID, GID: ev.GID,
		Comm: string(ev.Comm), TraceID: ev.TraceID[:], SpanID: ev.SpanID, ParentSpanID: ev.ParentSpanID, Path: string(path.Text), Flags: flags.Num}
	span := Span{SpanID: 1, ParentSpanID: 2, TraceID: [16]byte{3}, Kind: SpanMethod, Source: "usdt", Name: "Net::HTTP#request", PID: 4, TID: 5,
		StartKtimeNS: 6, File: "/usr/lib/ruby/net/http.rb", Line: 7, EndKtimeNS: 8}
	tagSpan := taggedSpan{Type: "span", SpanID: 1, ParentSpanID: 2, TraceID: span.TraceID[:], Kind: "method", Source: "usdt", Name: span.Name, PID: 4, TID: 5,
		StartKtimeNS: 6, File: span.File, Line: 7, EndKtimeNS: 8}
	write := func(b *testing.B, do func(w *Writer)) {
		var w Writer
		b.ReportAllocs()
		for b.Loop() {
			w.Reset()
			do(&w)
		}
	}
	encode := func(b *testing.B, v any) {
		var buf bytes.Buffer
		enc := msgpack.NewEncoder(&buf)
		b.ReportAllocs()
		for b.Loop() {
			buf.Reset()
			if err := enc.Encode(v); err != nil {
				b.Fatal(err)
			}
		}
	}
	read := func(b *testing.B, data []byte, do func(rec *Record)) {
		var rec Record
		b.ReportAllocs()
		for b.Loop() {
			if err := rec.parse(data); err != nil {
				b.Fatal(err)
			}
			do(&rec)
		}
	}
	decode := func(b *testing.B, data []byte, v any) {
		r := bytes.NewReader(data)
		dec := msgpack.NewDecoder(r)
		b.ReportAllocs()
		for b.Loop() {
			r.Reset(data)
			dec.Reset(r)
			if err := dec.Decode(v); err != nil {
				b.Fatal(err)
			}
		}
	}
	eventBytes, spanBytes := build(b, func(w *Writer) { w.Event(ev) }), build(b, func(w *Writer) { w.Span(&span) })
	b.Run("event/encode/hand", func(b *testing.B) { write(b, func(w *Writer) { w.Event(ev) }) })
	b.Run("event/encode/tags", func(b *testing.B) { encode(b, &tagEvent) })
	b.Run("event/decode/hand", func(b *testing.B) { read(b, eventBytes, func(rec *Record) { rec.Event() }) })
	b.Run("event/decode/tags", func(b *testing.B) { decode(b, eventBytes, new(taggedEvent)) })
	b.Run("span/encode/hand", func(b *testing.B) { write(b, func(w *Writer) { w.Span(&span) }) })
	b.Run("span/encode/tags", func(b *testing.B) { encode(b, &tagSpan) })
	b.Run("span/decode/hand", func(b *testing.B) { read(b, spanBytes, func(rec *Record) { rec.Span() }) })
	b.Run("span/decode/tags", func(b *testing.B) { decode(b, spanBytes, new(taggedSpan)) })
}
