package stream_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"vivarium/pkg/cli"
	"vivarium/pkg/event"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

//go:generate go test -run ^TestDocument$ -count=1 . -update

const document = "../../docs/stream.md"

// row is a key with its type, and whether every such record has it.
type row struct {
	key, typ string
	always   bool
}

// written decodes a record, or a map in one, as another program would: its keys
// in order with the types that their values show. maps are the values that are
// maps, by key.
func written(t *testing.T, b []byte) (rows []row, maps map[string][]byte) {
	t.Helper()
	d := msgpack.NewDecoder(bytes.NewReader(b))
	n, err := d.DecodeMapLen()
	if err != nil {
		t.Fatal(err)
	}
	maps = map[string][]byte{}
	for range n {
		key, err := d.DecodeString()
		if err != nil {
			t.Fatal(err)
		}
		v, err := d.DecodeRaw()
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row{key, typeName(t, v), false})
		maps[key] = v
	}
	return rows, maps
}

// typeName is the document's word for the type of a value.
func typeName(t *testing.T, v []byte) string {
	t.Helper()
	switch c := v[0]; {
	case msgpcode.IsString(c):
		return "text"
	case c == msgpcode.Bin8 && v[1] == 16:
		return "trace id"
	case msgpcode.IsBin(c):
		return "bytes"
	case c == msgpcode.True || c == msgpcode.False:
		return "bool"
	case c == msgpcode.Uint64:
		return "span id"
	case c <= msgpcode.PosFixedNumHigh || c >= msgpcode.Uint8 && c <= msgpcode.Uint32:
		return "uint"
	case c >= msgpcode.NegFixedNumLow || c >= msgpcode.Int8 && c <= msgpcode.Int64:
		return "int"
	case msgpcode.IsFixedArray(c):
		switch e := typeName(t, v[1:]); e {
		case "map", "map of text":
			return "list of maps"
		default:
			return "list of " + e
		}
	case msgpcode.IsFixedMap(c):
		if rows, _ := written(t, v); rows[0].key == "path_open" {
			return "map of text"
		}
		return "map"
	}
	t.Fatalf("%x has no type", v)
	return ""
}

func encoded(t *testing.T, write func(w *stream.Writer) error) []byte {
	t.Helper()
	var w stream.Writer
	if err := write(&w); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(w.Bytes())
}

// tables are the tables of the document that list keys, by the heading above
// them; a table of the keys of something else has the name of that.
func tables(doc string) map[string][]row {
	list := map[string][]row{}
	heading, name := "", ""
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "### "); ok {
			heading = h
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			name = ""
		case cells[0] == "key":
			name = heading
		case strings.HasPrefix(cells[0], "key of "):
			name = strings.TrimPrefix(cells[0], "key of ")
		case name != "" && strings.HasPrefix(cells[0], "`"):
			list[name] = append(list[name], row{strings.Trim(cells[0], "`"), cells[1], cells[2] == "always"})
		}
	}
	return list
}

// An event with everything that an event can have, and no own field.
func fullEvent() *event.Event {
	return &event.Event{Name: []byte("new"), KtimeNS: 1 << 40, PID: 1 << 16, TID: 1 << 16, UID: 1 << 16, GID: 1 << 16, Comm: []byte("c"), Error: []byte("E"),
		Truncated: true, Deleted: true, Root: []byte("/r"), OutcomeUnknown: true, Hidden: true, ThreadSpanID: 1, Origin: []byte("p")}
}

// TestDocument holds docs/stream.md against the code: the records have the keys
// and types that it lists, and no others.
func TestDocument(t *testing.T) {
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	if f := flag.Lookup("update"); f.Value.String() == "true" {
		doc = withKinds(t, doc)
		if err := os.WriteFile(document, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(withKinds(t, doc), doc); d != "" {
		t.Errorf("the kinds of events are not those of the catalogue: run make generate\n%s", d)
	}

	session := &stream.Session{Version: stream.Version, StartUnixNS: -1, StartKtimeNS: 1, TraceID: [16]byte{1}, ParentSpanID: 1, Targets: []uint32{1},
		MainTID: 1, ObserverPID: 1, Command: []string{"a"}, Processes: []stream.Process{{Argv: []string{"a"}}}, Host: stream.Host{Name: "h"},
		Hooks: map[string]string{"path_open": "x"}, Missing: map[string]string{"path_open": "x"}, ProbeVersion: "1", Origin: []byte("{")}
	span := &stream.Span{Source: "usdt", File: "f", Line: -1, LinkSpanID: 1, Dangling: true, Raised: true, Lossy: true}
	end := &stream.End{StopUnixNS: -1, HasExit: true, ExitCode: -1, Alive: 1, Cut: true, Origin: []byte{1}}
	got := map[string][]row{}
	// full has all keys, bare those that are always there.
	add := func(name string, full, bare []byte) map[string][]byte {
		rows, maps := written(t, full)
		always := map[string]bool{}
		least, _ := written(t, bare)
		for _, r := range least {
			always[r.key] = true
		}
		for i := range rows {
			rows[i].always = always[rows[i].key]
			// A time of 64 bits looks like an id, which it is only by its name.
			if strings.HasSuffix(rows[i].key, "ktime_ns") && rows[i].typ == "span id" {
				rows[i].typ = "uint"
			}
		}
		got[name] = rows
		return maps
	}
	maps := add("session", encoded(t, func(w *stream.Writer) error { return w.Session(session) }),
		encoded(t, func(w *stream.Writer) error { return w.Session(&stream.Session{}) }))
	add("a process", maps["processes"][1:], maps["processes"][1:])
	add("the host", maps["host"], maps["host"])
	add("event", encoded(t, func(w *stream.Writer) error { return w.Event(fullEvent()) }),
		encoded(t, func(w *stream.Writer) error { return w.Event(&event.Event{}) }))
	add("lost", encoded(t, func(w *stream.Writer) error { return w.Lost(&stream.Lost{}) }),
		encoded(t, func(w *stream.Writer) error { return w.Lost(&stream.Lost{}) }))
	add("clock", encoded(t, func(w *stream.Writer) error { return w.Clock(&stream.Clock{UnixNS: -1}) }),
		encoded(t, func(w *stream.Writer) error { return w.Clock(&stream.Clock{}) }))
	add("span_open", encoded(t, func(w *stream.Writer) error { return w.SpanOpen(span) }),
		encoded(t, func(w *stream.Writer) error { return w.SpanOpen(&stream.Span{}) }))
	add("span", encoded(t, func(w *stream.Writer) error { return w.Span(span) }),
		encoded(t, func(w *stream.Writer) error { return w.Span(&stream.Span{}) }))
	got["span"] = got["span"][len(got["span_open"]):] // the document has the rest there
	add("end", encoded(t, func(w *stream.Writer) error { return w.End(end) }),
		encoded(t, func(w *stream.Writer) error { return w.End(&stream.End{}) }))
	got["a captured event"] = captured(t)
	if d := cmp.Diff(tables(doc), got, cmp.AllowUnexported(row{})); d != "" {
		t.Errorf("%s (-) and the code (+) differ:\n%s", document, d)
	}

	for _, r := range got["session"][:2] {
		if r.key != "type" && r.key != "format" {
			t.Errorf("a session begins with %s", r.key)
		}
	}
	for what, n := range map[string]int{
		"bytes of a record": stream.MaxRecord, "keys of a record": stream.MaxKeys,
		"containers in containers, the record itself included":                                                          stream.MaxDepth,
		"elements of a list that is a field of an event; what follows is cut off, and the event is read as `truncated`": stream.MaxList,
	} {
		if line := fmt.Sprintf("| %s | %d |\n", what, n); !strings.Contains(doc, line) {
			t.Errorf("the document does not have the line %s", line)
		}
	}
	if line := fmt.Sprintf("`version` in the session record is %d.", stream.Version); !strings.Contains(doc, line) {
		t.Errorf("the document does not say: %s", line)
	}
	for what, status := range map[string]int{"Done. ": cli.OK, "Failed: ": cli.Failed, "Wrong usage": cli.Usage, "Done, but incomplete": cli.Incomplete} {
		if !strings.Contains(doc, fmt.Sprintf("| %d | %s", status, what)) {
			t.Errorf("the document does not say that status %d is %q", status, what)
		}
	}
}

// captured are the keys that only events of a capture have, beside payload.
func captured(t *testing.T) []row {
	t.Helper()
	record := func(ktime byte, name string) []byte {
		b := make([]byte, 352)
		b[0] = ktime
		copy(b[72:], name)
		return b
	}
	capture := []byte(`{"format":"vivarium-raw","version":2,"event_struct_size":352,"event_count":2}` + "\n")
	capture = append(append(capture, record(2, "a\x00b")...), record(1, "b")...)
	r := stream.NewReader(bytes.NewReader(capture), vivraw.Format)
	events := 0
	var rows []row
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		if rec.Type != stream.TypeEvent {
			continue
		}
		if events++; events < 2 {
			continue
		}
		all, _ := written(t, rec.Raw)
		for i, r := range all {
			if r.key == "payload" {
				rows = all[i+1:]
			}
		}
	}
	return rows
}

// withKinds is the document with the kinds of the catalogue.
func withKinds(t *testing.T, doc string) string {
	t.Helper()
	const begin, end = "from the catalogue -->\n", "<!-- end of kinds -->"
	head, rest, ok := strings.Cut(doc, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the document has no place for the kinds")
	}
	types := map[event.Type]string{event.Uint: "uint", event.Int: "int", event.Bool: "bool", event.Text: "text", event.List: "list of text"}
	b := []byte("\n| kind | fields |\n|---|---|\n")
	for id := range event.Kinds {
		k := &event.Kinds[id]
		b = fmt.Appendf(b, "| [`%s`](events.md#%s) |", k.Name, k.Name)
		for i, f := range k.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, " `%s` %s", f.Name, types[f.Type])
		}
		b = append(b, " |\n"...)
	}
	return head + begin + string(b) + "\n" + end + tail
}

// TestKindsAsDocumented: a value of each own field has the documented type.
func TestKindsAsDocumented(t *testing.T) {
	for id := range event.Kinds {
		k := &event.Kinds[id]
		ev := &event.Event{Kind: k, Name: []byte(k.Name)}
		want := map[string]string{}
		for i, f := range k.Fields {
			ev.Fields[i] = event.Value{Type: f.Type, Num: 1, Text: []byte("t"), List: [][]byte{[]byte("t")}}
			want[f.Name] = map[event.Type]string{event.Uint: "uint", event.Int: "uint", event.Bool: "bool", event.Text: "text", event.List: "list of text"}[f.Type]
			if f.Type == event.Int {
				ev.Fields[i].Num = ^uint64(0) // -1
				want[f.Name] = "int"
			}
		}
		got := map[string]string{}
		rows, _ := written(t, encoded(t, func(w *stream.Writer) error { return w.Event(ev) }))
		for _, r := range rows[11:] {
			got[r.key] = r.typ
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", k.Name, d)
		}
	}
}
