package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"

	"github.com/google/go-cmp/cmp"
)

func TestParseSpans(t *testing.T) {
	const usdtForm = "usdt:PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]"
	for _, tt := range []struct{ in, want string }{
		{"none", ""},
		{"markers", "markers"},
		{"markers,markers", "markers"},
		{"ruby", "markers ruby"},
		{"observe", "markers observe"},
		{"ruby-c", "ruby-c"},
		{"auto", "markers vivarium_usdt ruby-c"},
		{"auto,ruby", "markers vivarium_usdt ruby"}, // which mark the same methods
		{"ruby,auto", "markers vivarium_usdt ruby"},
		{"usdt:a:in:out,auto", "markers vivarium_usdt ruby-c usdt:a:in:out"},
		{"usdt:a:in:out:err@2/3#4/5@6@7", "usdt:a:in:out:err@2/3#4/5@6@7"},
		{"func:/a:b:c", "func:/a:b:c"},
		{"", `unknown provider ""`},
		{"marker", `unknown provider "marker"`},
		{"markers2", `unknown provider "markers2"`},
		{"none,markers", "none excludes all others"},
		{"usdt:a:in", "usdt:a:in: has 2 names; it is " + usdtForm},
		{"usdt:a:in:out:err:x", "usdt:a:in:out:err:x: has 5 names; it is " + usdtForm},
		{"usdt:a::out", "usdt:a::out: has 3 names; it is " + usdtForm},
		{"usdt:a:in:out@0", `usdt:a:in:out@0: argument "0" is none of 1 to 12; it is ` + usdtForm},
		{"usdt:a:in:out@1/x", `usdt:a:in:out@1/x: argument "x" is none of 1 to 12; it is ` + usdtForm},
		{"usdt:a:in:out@1@2@3@4", "usdt:a:in:out@1@2@3@4: too many @; it is " + usdtForm},
		{"func:/a", "func:/a: has no symbol; it is func:BINARY:SYMBOL"},
	} {
		s, err := ParseSpans(strings.Split(tt.in, ","))
		var names []string
		for _, p := range s.Providers {
			names = append(names, p.Name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.in, got, tt.want)
		}
	}
}

// TestProviders: what the chosen providers are is what the session says of them.
func TestProviders(t *testing.T) {
	s := spansFrom(t, "auto", "func:/a:b:c", "usdt:x:in:out:err")
	from := map[event.ID][]string{}
	for _, p := range s.Providers {
		for id, at := range p.From {
			from[id] = append(from[id], at...)
		}
	}
	want := map[event.ID][]string{
		event.SpanStart: {"markers", "usdt:vivarium_usdt:start_probe", "ruby-c", "usdt:x:in", "func:/a:b:c"},
		event.SpanStop:  {"markers", "usdt:vivarium_usdt:stop_probe", "ruby-c", "usdt:x:out", "func:/a:b:c"},
		event.SpanRaise: {"markers", "usdt:vivarium_usdt:raise_probe", "usdt:ruby:raise", "usdt:x:err"},
	}
	if diff := cmp.Diff(want, from); diff != "" {
		t.Error(diff)
	}
	if !s.inFiles() || onlyMarkers.inFiles() {
		t.Error("which providers look into files is not known")
	}
	observe := spansFrom(t, "observe")
	if observe.within() != "Vivarium.observe" || s.within() != "" {
		t.Errorf("within %q and %q", observe.within(), s.within())
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
			sp := spansFrom(t, ownProvider)
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
			sp := spansFrom(t, "vivarium_usdt")
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
	s := recordAny(t, Options{Spans: spansFrom(t, "func:"+path+":worked"), Events: events(spanEvents...)}, path, tempDir(t))
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
		p, err := New(Options{Command: []string{"/bin/true"}, CommandStdout: os.Stderr, Spans: spansFrom(t, "func:"+fn), Events: events(event.PathOpen), BufferSize: 1 << 16})
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
	sp := spansFrom(t, "usdt:hotspot:method__entry:method__return@2/3#4/5")
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
