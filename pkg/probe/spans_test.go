package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"

	"github.com/google/go-cmp/cmp"
)

func TestParseSpans(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"none", "{Markers:false Ruby:false RubyC:false Observe:false Allow:[] usdt:[] funcs:[]}"},
		{"markers", "{Markers:true Ruby:false RubyC:false Observe:false Allow:[] usdt:[] funcs:[]}"},
		{"ruby", "{Markers:true Ruby:true RubyC:false Observe:false Allow:[] usdt:[] funcs:[]}"},
		{"usdt:a:in:out", "{Markers:false Ruby:false RubyC:false Observe:false Allow:[] usdt:[{name:a inMethod:false probes:map[in:{kind:24 args:[1 0 0 0 0 0]} out:{kind:25 args:[1 0 0 0 0 0]}]}] funcs:[]}"},
		{"usdt:a:in:out:err@2/3#4/5@6@7", "{Markers:false Ruby:false RubyC:false Observe:false Allow:[] usdt:[{name:a inMethod:false probes:map[err:{kind:26 args:[2 3 4 5 6 7]} in:{kind:24 args:[2 3 4 5 6 7]} out:{kind:25 args:[2 3 4 5 6 7]}]}] funcs:[]}"},
		{"func:/a:b:c", "{Markers:false Ruby:false RubyC:false Observe:false Allow:[] usdt:[] funcs:[{binary:/a:b symbol:c}]}"},
		{"", `unknown provider ""`},
		{"marker", `unknown provider "marker"`},
		{"markers2", `unknown provider "markers2"`},
		{"none,markers", "none excludes all others"},
		{"usdt:a:in", "usdt:a:in: has 2 names; it is usdt:PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]"},
		{"usdt:a:in:out:err:x", "usdt:a:in:out:err:x: has 5 names; it is usdt:PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]"},
		{"usdt:a::out", "usdt:a::out: has 3 names; it is usdt:PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]"},
		{"usdt:a:in:out@0", `usdt:a:in:out@0: argument "0" is none of 1 to 12; it is usdt:PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]`},
		{"usdt:a:in:out@1/x", `usdt:a:in:out@1/x: argument "x" is none of 1 to 12; it is usdt:PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]`},
		{"usdt:a:in:out@1@2@3@4", "usdt:a:in:out@1@2@3@4: too many @; it is usdt:PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]"},
		{"func:/a", "func:/a: has no symbol; it is func:BINARY:SYMBOL"},
	} {
		s, err := ParseSpans(strings.Split(tt.in, ","))
		got := fmt.Sprintf("%+v", s)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.in, got, tt.want)
		}
	}
	auto, err := ParseSpans([]string{"auto"})
	if err != nil || !auto.Markers || auto.Ruby || !auto.RubyC || len(auto.usdt) != 2 || auto.usdt[0].name != "vivarium_usdt" || auto.usdt[1].name != "ruby" {
		t.Errorf("auto: %+v, %v", auto, err)
	}
	both, err := ParseSpans([]string{"auto", "ruby"}) // which mark the same methods
	if err != nil || !both.Ruby || both.RubyC || len(both.usdt) != 1 || both.usdt[0].name != "vivarium_usdt" {
		t.Errorf("auto,ruby: %+v, %v", both, err)
	}
}

func TestReadSpanAllow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte("# mine\nA#b\n\n  C#*  \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSpanAllow([]string{"X#y", "@" + file})
	if diff := cmp.Diff([]string{"X#y", "A#b", "C#*"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := ReadSpanAllow([]string{"@" + file + "2"}); err == nil {
		t.Error("a file that does not exist is no error")
	}
}

func TestGlobMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "java/lang/String#a", true}, {"a", "a", true}, {"a", "ab", false},
		{"a*c", "abbc", true}, {"a*c", "abcb", false}, {"*#<init>", "X#<init>", true}, {"A#b?", "A#b?", true}, {"A#b?", "A#bc", false},
		{"a*b*c", "aXbYbZc", true}, {"a**", "a", true}, {"*a", "b", false}, {strings.Repeat("*a", 20), strings.Repeat("a", 19), false},
	} {
		if got := globMatch(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q, %q: %v", tt.pattern, tt.name, got)
		}
	}
}

func TestMethodList(t *testing.T) {
	l := newMethodList([]string{"A#b", "C#*"}, false)
	if len(l.globs) != 0 || l.classes["C"] != bpf.VivVerdictVERDICT_YES || l.methods[[2]string{"A", "b"}] != bpf.VivVerdictVERDICT_YES {
		t.Errorf("%+v", l)
	}
	l = newMethodList([]string{"A#b", "*#c", "Long" + strings.Repeat("x", 64) + "#d"}, false)
	for name, want := range map[string]bool{"A#b": true, "Z#c": true, "A#d": false, "Long" + strings.Repeat("x", 64) + "#d": true} {
		if got := l.decide(name, nil); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for p, whole := range map[string]bool{"A#b": false, "C#*": true, strings.Repeat("A", 40) + "#" + strings.Repeat("b", 40): true} {
		if l := newMethodList([]string{p}, true); (len(l.globs) > 0) != whole {
			t.Errorf("%s, of probes that say it in one text: %+v", p, l)
		}
	}
	if l := newMethodList(defaultMethods, false); len(l.globs) != 0 {
		t.Errorf("the default list has globs: %q", l.globs)
	}
}

// TestSpanAllow: what is not on the list is not recorded, whether the list is of
// names or of globs.
func TestSpanAllow(t *testing.T) {
	path := program(t, "usdt")
	for name, allow := range map[string][]string{
		"names": {"Class#method", "Thread#*"},
		"globs": {"C*s#m*thod", "T*#run"},
	} {
		t.Run(name, func(t *testing.T) {
			sp := spans(t, ownProvider)
			sp.Allow = allow
			s := recordAny(t, Options{Spans: sp, Events: events(spanEvents...)}, path, tempDir(t))
			compare(t, startsAndStops(s), []string{
				"span_start name=Class#method source=usdt", "span_stop name=Class#method source=usdt",
				"span_start name=Thread#run source=usdt", "span_stop name=Thread#run source=usdt",
			})
		})
	}
}

// TestSpanAllowWhole: the same of probes that say class and method in one text.
func TestSpanAllowWhole(t *testing.T) {
	path := program(t, "usdt")
	for name, allow := range map[string][]string{
		"names": {"Greeter#hello"}, "class": {"Greeter#*"}, "globs": {"G*"},
	} {
		t.Run(name, func(t *testing.T) {
			sp := spans(t, "vivarium_usdt")
			sp.Allow = allow
			s := recordAny(t, Options{Spans: sp, Events: events(spanEvents...)}, path, tempDir(t))
			compare(t, spanThreads(t, s)["0"], []string{wantVivarium[0], wantVivarium[2], wantVivarium[4]})
		})
	}
}

// startsAndStops are the spans' events, whoever's they are, in their order.
func startsAndStops(s *seen) []string {
	var got []string
	for _, ev := range s.events {
		if ev.Kind == &event.Kinds[event.SpanStart] || ev.Kind == &event.Kinds[event.SpanStop] {
			got = append(got, eventtest.Show(ev))
		}
	}
	return got
}

// TestFunction: calls of a function that begins with an endbr64, where the
// compiler makes one, nested.
func TestFunction(t *testing.T) {
	path := compiled(t, "usdt", "cc", "-pthread", "-fcf-protection=full")
	s := recordAny(t, Options{Spans: spans(t, "func:"+path+":worked"), Events: events(spanEvents...)}, path, tempDir(t))
	compare(t, startsAndStops(s), []string{
		"span_start name=worked source=uprobe", "span_start name=worked source=uprobe",
		"span_stop name=worked source=uprobe", "span_stop name=worked source=uprobe",
	})
}

// TestFunctionRefused: the reason is said.
func TestFunctionRefused(t *testing.T) {
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for fn, want := range map[string]string{
		self + ":main.main":             "a Go program moves its stacks",
		program(t, "usdt") + ":nowhere": "nowhere",
		"/no/such/file:main":            "no such file",
	} {
		p, err := New(Options{Command: []string{"/bin/true"}, CommandStdout: os.Stderr, Spans: spans(t, "func:"+fn), Events: events(event.PathOpen), BufferSize: 1 << 16})
		if err == nil {
			p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fn, err)
		}
	}
}

// TestJava: strings with a length, of a runtime that has many more methods than
// the list.
func TestJava(t *testing.T) {
	java, javac := tool(t, "java"), tool(t, "javac")
	d := tempDir(t)
	source := `public class J {
		static void read(String f) throws Exception { new java.io.FileInputStream(f).close(); }
		public static void main(String[] a) throws Exception { read(a[0]); read(a[1]); }
	}`
	for _, f := range []struct{ name, text string }{{"J.java", source}, {"one", ""}, {"two", ""}} {
		if err := os.WriteFile(filepath.Join(d, f.name), []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	record(t, Options{Events: events(event.ProcExit)}, javac, "-d", d, d+"/J.java")
	sp := spans(t, "usdt:hotspot:method__entry:method__return@2/3#4/5")
	sp.Allow = []string{"J#*"}
	s := record(t, Options{Spans: sp, Events: marked.Events}, java, "-XX:+ExtendedDTraceProbes", "-cp", d, "J", d+"/one", d+"/two")
	var got []string
	for _, ev := range s.events {
		if ev.Kind == &event.Kinds[event.SpanStart] || ev.Kind == &event.Kinds[event.SpanStop] ||
			ev.Kind == &event.Kinds[event.PathOpen] && strings.HasPrefix(string(ev.Get("path").Text), d) && !strings.HasSuffix(string(ev.Get("path").Text), ".class") {
			got = append(got, strings.TrimSuffix(strings.ReplaceAll(eventtest.Show(ev), d, "DIR"), " source=usdt"))
		}
	}
	compare(t, got, []string{
		"span_start name=J#main",
		"span_start name=J#read", "path_open path=DIR/one flags=0", "span_stop name=J#read",
		"span_start name=J#read", "path_open path=DIR/two flags=0", "span_stop name=J#read",
		"span_stop name=J#main",
	})
}
