package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vivarium/pkg/event"

	"github.com/google/go-cmp/cmp"
)

// An exported span, as OTLP/JSON has it.
type exportedSpan struct {
	TraceID, SpanID, ParentSpanID string
	Name                          string
	Kind                          int
	StartTimeUnixNano             string
	EndTimeUnixNano               string
	Attributes                    attributes
	Events                        []*exportedEvent
	Status                        struct{ Code int }
	DroppedEventsCount            int
	Links                         []any
}

type exportedEvent struct {
	TimeUnixNano string
	Name         string
	Attributes   attributes

	span *exportedSpan
}

type attributes []attribute

type attribute struct {
	Key   string
	Value any
}

// get returns an attribute's text, or its number's digits.
func (list attributes) get(key string) string {
	for _, a := range list {
		if value, ok := a.Value.(map[string]any); ok && a.Key == key {
			for _, v := range value {
				return fmt.Sprint(v)
			}
		}
	}
	return ""
}

func (list attributes) keys() (keys []string) {
	for _, a := range list {
		keys = append(keys, a.Key)
	}
	return keys
}

// added are the attributes that viv's spans and events have beside vivarium's: by
// what has them, the OpenTelemetry name of what vivarium names otherwise, or what
// only its tree shows. Each is checked by what else is known of the same thing.
var added = map[string]func(x thing) bool{
	"method code.function.name": func(x thing) bool { return x.value == x.name },
	"method code.file.path":     func(x thing) bool { return x.value == x.get("code.filepath") },
	"method code.line.number":   func(x thing) bool { return x.value == x.get("code.lineno") },
	"method viv.source":         func(x thing) bool { return x.value == "usdt" },
	"method viv.dangling":       func(x thing) bool { return x.value == "true" && x.flagged("open") },
	"method viv.raised":         func(x thing) bool { return x.value == "true" && x.flagged("raise") },
	"method viv.lossy":          func(x thing) bool { return x.value == "true" },
	"thread viv.dangling":       func(x thing) bool { return x.value == "true" && !x.exited[x.get("thread.id")] },
	"thread viv.lossy":          func(x thing) bool { return x.value == "true" },
	"session viv.lossy":         func(x thing) bool { return x.value == "true" },
	"session viv.dangling":      func(x thing) bool { return x.value == "true" && strings.HasPrefix(x.capture, "24_truncated") },
	"session viv.end_reason":    func(x thing) bool { return x.value == "capture" },
	"session viv.lost_events":   func(x thing) bool { return x.value == strconv.FormatUint(x.lost, 10) },
	"session viv.late_events":   func(x thing) bool { return x.value == strconv.Itoa(x.late) },

	"sock_connect network.peer.address": func(x thing) bool {
		a, err := netip.ParseAddr(x.value)
		if err != nil {
			return false
		}
		if a.Is4() {
			return strings.HasPrefix(x.get("target"), x.value+":")
		}
		var groups []string
		for b := a.As16(); len(groups) < 8; {
			n := 2 * len(groups)
			groups = append(groups, fmt.Sprintf("%x", int(b[n])<<8|int(b[n+1])))
		}
		return strings.HasPrefix(x.get("target"), "["+strings.Join(groups, ":")+"]:")
	},
	"sock_connect network.peer.port":    func(x thing) bool { return strings.Contains(x.get("target"), ":"+x.value+" (AF_INET") },
	"proc_exec process.executable.path": func(x thing) bool { return strings.HasPrefix(x.get("target"), "filename="+quote(x.value)+" argv=") },
	"proc_exec process.command_args": func(x thing) bool {
		return strings.HasSuffix(x.get("target"), " argv=["+x.value+"]") || x.value == "" && strings.HasPrefix(x.get("target"), `"\x00`)
	},
	"ssl_write viv.summary":       func(x thing) bool { return x.node != nil && *x.node.Text == x.value },
	"exception exception.type":    func(x thing) bool { return strings.HasPrefix(x.get("target"), "error="+x.value) },
	"exception exception.message": func(x thing) bool { return strings.Contains(x.get("target"), " message="+quote(x.value)) },
	"exception code.file.path": func(x thing) bool {
		return strings.Contains(x.get("target"), " at="+path.Base(evaluated.ReplaceAllString(x.value, "$1")))
	},
	"exception code.line.number": func(x thing) bool { return x.node != nil && strconv.Itoa(x.node.Line) == x.value },
}

// evaluated is the file of evaluated code, however deep (Q50).
var evaluated = regexp.MustCompile(`^(?:\(eval at )*([^)]*?)(?::\d+\).*)?$`)

// quote quotes a text as the tree of a capture does. A byte that is not UTF-8 is
// \xHH in an export already.
func quote(s string) string {
	return strings.ReplaceAll(string(event.AppendQuote(nil, []byte(s))), `\\x`, `\x`)
}

// A thing is an attribute that only viv has, and what is known of it.
type thing struct {
	*facts
	attributes
	name, value string
	span        *exportedSpan
	node        *node // an event's, in the tree
}

// facts are what the tree of a capture and its records say.
type facts struct {
	capture string
	flags   map[string]map[string]bool // by start of a method and its thread
	nodes   map[string]*node           // of events, by time, thread and name
	exited  map[string]bool            // by thread
	lost    uint64
	late    int
}

func (x thing) flagged(flag string) bool {
	return x.flags[x.span.StartTimeUnixNano+" "+x.get("thread.id")][flag]
}

// learn draws a capture and notes what its export can be checked by.
func learn(t *testing.T, name string, raw []byte) *facts {
	t.Helper()
	spans, _ := pipe(t, raw, []string{"viv-spans"})
	tree, _ := pipe(t, spans, []string{"viv-tree"})
	doc, _ := pipe(t, spans, []string{"viv-tree", "--format", "json"})
	lines := parse(tree)
	if _, _, err := attach(lines, doc); err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	f := &facts{capture: name, flags: map[string]map[string]bool{}, nodes: map[string]*node{}, exited: map[string]bool{}}
	at := func(ktime uint64) string {
		return strconv.FormatInt(d.Session.Unix+int64(ktime-d.Session.Start), 10)
	}
	for _, l := range lines {
		n := l.node
		switch l.kind {
		case "span":
			flags := map[string]bool{}
			for _, w := range regexp.MustCompile(`\w+`).FindAllString(l.fields["flags"], -1) {
				flags[w] = true
			}
			if n.Raised {
				flags["raise"] = true // a line has one flag: open
			}
			f.flags[fmt.Sprint(at(n.Start), " ", n.TID)] = flags
		case "event":
			f.nodes[fmt.Sprint(at(n.Ktime), " ", n.TID, " ", n.Event)] = n
		}
	}
	for _, r := range records(t, raw) {
		f.exited[fmt.Sprint(r.tid)] = f.exited[fmt.Sprint(r.tid)] || r.name == "proc_exit"
	}
	for _, b := range slices.Collect(slices.Chunk(raw[bytes.IndexByte(raw, '\n')+1:], 352)) {
		if len(b) == 352 {
			f.lost += binary.LittleEndian.Uint64(b[344:])
		}
	}
	return f
}

// TestExports exports each capture and compares with what vivarium 0.6.0 exported:
// spans with their ids, times, names and attributes, and their events.
func TestExports(t *testing.T) {
	d := deviations(t)
	var mu sync.Mutex
	explained, unused := map[string]string{}, map[string]bool{}
	for key := range added {
		unused["attribute "+key] = true
	}
	for _, r := range d.rules {
		if strings.HasPrefix(r.kind, "otlp.") {
			unused["rule "+r.line] = true
		}
	}
	left := maps.Clone(d.found)
	t.Run("cases", func(t *testing.T) {
		for _, file := range glob(t, "*.stream.otlp.json") {
			base := strings.TrimSuffix(file, ".stream.otlp.json")
			name := base + ".otlp"
			delete(left, name)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				quirks, raw := d.cases[name], read(t, base+".vivraw")
				got, codes := pipe(t, raw, []string{"viv-spans"}, []string{"viv-otlp", "-o", "-"})
				if !good(codes) {
					t.Fatalf("exit %v", codes)
				}
				got = version.ReplaceAll(got, []byte(`$1"test"`))
				var want []*exportedSpan
				if err := json.Unmarshal(read(t, file), &want); err != nil {
					t.Fatal(err)
				}
				diffs, used := compareExports(want, exported(t, got), learn(t, base, raw))
				mu.Lock()
				words, rest := d.explain(quirks, diffs, func(r rule) { unused["rule "+r.line] = false })
				explained[name] = words
				for _, key := range used {
					unused["attribute "+key] = false
				}
				mu.Unlock()
				report(t, d, name, words, rest)
				if quirks == nil {
					return
				}
				own := base + ".viv.otlp.json"
				if *update {
					write(t, own, got)
				}
				if d := cmp.Diff(strings.Split(string(read(t, own)), "\n"), strings.Split(string(got), "\n")); d != "" {
					t.Errorf("differs from %s (-update writes it):\n%s", own, d)
				}
			})
		}
	})
	for name := range left {
		if strings.HasSuffix(name, ".otlp") {
			t.Errorf("deviations.txt: there is no %s", name)
		}
	}
	for key, yes := range unused {
		if yes {
			t.Errorf("no export needs the %s", key)
		}
	}
	if *update {
		if err := d.write(explained); err != nil {
			t.Fatal(err)
		}
	}
}

var version = regexp.MustCompile(`("scope":\{"name":"vivarium","version":)"[^"]*"`)

// exported reads lines of OTLP/JSON.
func exported(t *testing.T, doc []byte) []*exportedSpan {
	t.Helper()
	var spans []*exportedSpan
	for line := range bytes.Lines(doc) {
		var request struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []*exportedSpan }
			}
		}
		if err := json.Unmarshal(line, &request); err != nil {
			t.Fatal(err)
		}
		for _, r := range request.ResourceSpans {
			for _, s := range r.ScopeSpans {
				spans = append(spans, s.Spans...)
			}
		}
	}
	return spans
}

// compareExports compares spans by their ids, and events by their time, thread
// and name. It returns also which entries of added were needed.
func compareExports(theirs, ours []*exportedSpan, f *facts) (diffs []difference, used []string) {
	add := func(kind, from, to string) { diffs = append(diffs, difference{"otlp." + kind, from + " => " + to}) }
	compareAttributes := func(kind, what string, s *exportedSpan, w, g attributes, x thing) {
		x.facts, x.attributes, x.span = f, g, s
		for i, a := range w {
			if i >= len(g) || g[i].Key != a.Key {
				add("-attribute", what, a.Key)
			} else if !cmp.Equal(g[i].Value, a.Value) {
				add(kind+"."+a.Key, what+": "+w.get(a.Key), g.get(a.Key))
			}
		}
		for _, a := range g[min(len(w), len(g)):] {
			key := what + " " + a.Key
			if kind == "event" && added[key] == nil {
				add("+attribute", what, a.Key)
				continue
			}
			x.value = g.get(a.Key)
			if list, ok := a.Value.(map[string]any)["arrayValue"]; ok {
				x.value = quoted(list)
			}
			used = append(used, key)
			if check := added[key]; check == nil || !check(x) {
				add("+attribute", what, a.Key+" "+x.value)
			}
		}
	}
	spans := map[string]*exportedSpan{}
	events := map[string][]*exportedEvent{}
	key := func(e *exportedEvent) string {
		name := e.Name
		if name == "span_raise" {
			name = "exception"
		}
		return fmt.Sprint(e.TimeUnixNano, " ", e.Attributes.get("thread.id"), " ", name)
	}
	for _, g := range ours {
		if spans[g.SpanID] != nil {
			add("+span", "", g.Name+" is there twice")
		}
		spans[g.SpanID] = g
		for _, e := range g.Events {
			e.span = g
			events[key(e)] = append(events[key(e)], e)
		}
		if g.Name == "vivarium session" {
			f.late = 0
			for _, e := range g.Events {
				if e.Name != "dropped_events" {
					f.late++
				}
			}
		}
	}
	for _, w := range theirs {
		g := spans[w.SpanID]
		if g == nil {
			add("-span", w.Name, w.SpanID)
			continue
		}
		delete(spans, w.SpanID)
		kind := "thread"
		if w.ParentSpanID == "" {
			kind = "session"
		} else if slices.Contains(g.Attributes.keys(), "code.function.name") {
			kind = "method"
		}
		for _, c := range []struct{ kind, from, to string }{
			{"span.trace", w.TraceID, g.TraceID},
			{"span.name", w.Name, g.Name},
			{"span.kind", strconv.Itoa(w.Kind), strconv.Itoa(g.Kind)},
			{"span.start", w.StartTimeUnixNano, g.StartTimeUnixNano},
			{"span.end", w.EndTimeUnixNano, g.EndTimeUnixNano},
			{"span.links", strconv.Itoa(len(w.Links)), strconv.Itoa(len(g.Links))},
			{"span.dropped", "0", strconv.Itoa(g.DroppedEventsCount)},
			{"span.status", map[bool]string{true: "2"}[g.Attributes.get("viv.raised") != ""], map[bool]string{true: strconv.Itoa(g.Status.Code)}[g.Status.Code != 0]},
		} {
			if c.from != c.to {
				add(c.kind, c.from, c.to)
			}
		}
		if w.ParentSpanID != g.ParentSpanID {
			add("span.parent", kind, parent(g, w.ParentSpanID, ours))
		}
		compareAttributes("span", kind, g, w.Attributes, g.Attributes, thing{name: g.Name})
		last := -1
		for _, e := range w.Events {
			list := events[key(e)]
			if len(list) == 0 {
				add("-event", e.Name, w.Name)
				continue
			}
			same := list[0]
			events[key(e)] = list[1:]
			if same.span != g {
				add("event.place", w.Name, same.span.Name)
			} else if at := slices.Index(g.Events, same); at < last {
				add("order", "", same.Name)
			} else {
				last = at
			}
			if e.Name != same.Name {
				add("event.name", e.Name, same.Name)
			}
			id := fmt.Sprint(e.TimeUnixNano, " ", e.Attributes.get("thread.id"), " ", e.Name)
			compareAttributes("event", same.Name, g, e.Attributes, same.Attributes, thing{node: f.nodes[id]})
		}
	}
	for _, g := range spans {
		add("+span", "", g.Name)
	}
	for _, list := range events {
		for _, e := range list {
			add("+event", "", e.Name+" in "+e.span.Name)
		}
	}
	return diffs, used
}

// quoted prints a list of texts as the tree has it.
func quoted(list any) string {
	var words []string
	values, _ := list.(map[string]any)["values"].([]any)
	for _, v := range values {
		words = append(words, quote(fmt.Sprint(v.(map[string]any)["stringValue"])))
	}
	return strings.Join(words, ", ")
}

// parent says what is between a span and the parent that vivarium names.
func parent(s *exportedSpan, id string, spans []*exportedSpan) string {
	var between []string
	for range 64 {
		if s.ParentSpanID == id {
			return strings.Join(between, ", ")
		}
		i := slices.IndexFunc(spans, func(p *exportedSpan) bool { return p.SpanID == s.ParentSpanID })
		if i < 0 {
			break
		}
		s = spans[i]
		kind := "a thread"
		if slices.Contains(s.Attributes.keys(), "code.function.name") {
			kind = "a method"
		}
		between = append(between, kind)
	}
	return "not below it"
}
