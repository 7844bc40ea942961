package probe

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vivarium/pkg/event"

	"github.com/google/go-cmp/cmp"
)

// TestRubyMethods compares the methods that a Ruby program marks, call by call,
// with what a TracePoint of its own sees in the same run.
func TestRubyMethods(t *testing.T) {
	ruby := tool(t, "ruby")
	d := tempDir(t)
	log := filepath.Join(t.TempDir(), "log")
	tmp := t.TempDir()
	if err := os.Chmod(filepath.Dir(tmp), 0o711); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() { // when the probe is closed
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	s := record(t, Options{Spans: spansFrom(t, "ruby"), Events: events(spanEvents...), BufferSize: 1 << 24}, ruby, "testdata/calls.rb", d, log, "240")
	compareCalls(t, s, log, 20_000, func(name string) string { return name })
	for _, ev := range s.events {
		if file := filepath.Base(string(ev.Get("file").Text)); ev.Kind == &event.Kinds[event.SpanStart] && strings.HasPrefix(file, "spans.rb") {
			t.Fatalf("%s is called from %s", ev.Fields[0].Text, file)
		}
	}
}

// TestRubyUnchanged does the same with the methods written in C of a Ruby that
// is left as it is, with its compiler and without.
func TestRubyUnchanged(t *testing.T) {
	ruby := tool(t, "ruby")
	for _, c := range []struct{ name, flag string }{{"interpreter", "-W1"}, {"yjit", "--yjit"}} {
		t.Run(c.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			opt := Options{Spans: spansFrom(t, "auto"), Events: events(spanEvents...), BufferSize: 1 << 24}
			s := record(t, opt, ruby, c.flag, "testdata/calls.rb", tempDir(t), log, "720")
			compareCalls(t, s, log, 20_000, func(name string) string {
				switch name {
				case "File#open", "File#write", // are IO's
					"Dir#glob",             // is written in Ruby
					"Kernel#require",       // is so too, and the one that it calls has another name
					"Object#instance_exec": // is over where its block begins
					return ""
				case "File#delete": // has the same function
					return "File#unlink"
				}
				if strings.HasPrefix(name, "Net::HTTP#") { // is written in Ruby
					return ""
				}
				return name
			})
		})
	}
}

// compareCalls compares what a recording of testdata/calls.rb has of methods
// with its log, of at least so many starts and stops. as says what a method is
// called in the recording; "": it is not there.
func compareCalls(t *testing.T, s *seen, log string, atLeast int, as func(name string) string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	listed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		what, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name = as(name); name != "" {
			listed[name] = true
			want = append(want, what+" "+name)
		}
	}
	if len(want) < atLeast {
		t.Fatalf("the TracePoint saw only %d starts and stops", len(want))
	}
	var got []string
	on := false
	for _, ev := range s.events {
		name := string(ev.Fields[0].Text)
		switch {
		case name == "test":
			on = ev.Kind == &event.Kinds[event.SpanStart]
		case !on || ev.TID != s.session.MainTID || !listed[name]:
		case ev.Kind == &event.Kinds[event.SpanStart]:
			got = append(got, "start "+name)
		case ev.Kind == &event.Kinds[event.SpanStop]:
			got = append(got, "stop "+name)
		}
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("start or stop %d is %q, the TracePoint says %q; before them %q", i, got[i], want[i], want[max(0, i-5):i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d starts and stops, the TracePoint saw %d", len(got), len(want))
	}
}

// TestRubyTree: what a Ruby program does stands under the method that did it,
// also in another thread and in a forked child.
func TestRubyTree(t *testing.T) {
	ruby := tool(t, "ruby")
	d := tempDir(t)
	script := `
		File.write("one", "x")
		Thread.new { File.open("two", "w") { } }.join
		Process.wait(fork { File.open("three", "w") { raise IOError, "no more" } rescue 0 })
		def keep(x = ENV["HOME"]) = x
		keep`
	t.Chdir(d)
	s := record(t, Options{Spans: spansFrom(t, "ruby"), Events: marked.Events}, ruby, "--disable-gems", "-e", script)
	compareTree(t, s, d, `
[PROC pid=N comm=NAME]
├─ [SPAN tid=N File#write at=-e:2 dur=N (marker)]
│ └─ LSM path_open → "DIR/one" flags=O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC @N
├─ [SPAN tid=N File#open at=-e:3 dur=N (marker)]
│ └─ LSM path_open → "DIR/two" flags=O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC @N
├─ [SPAN tid=N Process#_fork at=-e:4 dur=N (marker)]
│ └─ [PROC pid=N comm=NAME]
│ └─ [SPAN tid=N File#open at=-e:4 dur=N (marker) (raise)]
│ ├─ LSM path_open → "DIR/three" flags=O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC @N
│ └─ EXCP span_raise → error=IOError message="no more" at=-e:4 source=marker @N
├─ [SPAN tid=N Process#wait at=-e:4 dur=N (marker)]
└─ [SPAN tid=N ENV#[] at=-e:5 dur=N (marker)]
`)
}

// TestRubyDefined: the spans of a program that defines its methods itself, in
// several ways, and what it says of those that it never had.
func TestRubyDefined(t *testing.T) {
	ruby := tool(t, "ruby")
	t.Chdir(tempDir(t))
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("loaded.rb", "class Ledger; def loaded = File.write('loaded', ''); end")
	write("app.rb", `require "set"
class Ledger
  def post = File.write("posted", "")
  define_method(:block) { raise IOError, "no" }
end
load "./loaded.rb"
eval "class Ledger; def eval_ed = 1; end"
Book = Struct.new(:pages) { def read = pages }
l = Ledger.new
l.post
l.block rescue 1
l.loaded
l.eval_ed
Book.new(1).read
Process.wait(fork { l.post })
class Other; def post = 1; end
Other.new.post
`)
	sp := spansFrom(t, "ruby")
	sp.Allow = []string{"Ledger#*", "Book#read", "Ledger#never", "Nobody#*"}
	s := record(t, Options{Spans: sp, Events: events(append(spanEvents, event.PathOpen)...)}, ruby, "--disable-gems", "app.rb")
	got := map[bool][]string{}
	for _, ev := range s.events {
		text := string(ev.Fields[0].Text)
		switch ev.Kind {
		case &event.Kinds[event.SpanStart]:
			text = fmt.Sprintf("+%s:%d", text, ev.Get("line").Num)
		case &event.Kinds[event.SpanStop]:
			text = "-" + text
		case &event.Kinds[event.PathOpen]:
			if text = filepath.Base(text); text != "posted" && text != "loaded" {
				continue
			}
		default:
			if ev.Hidden {
				continue
			}
		}
		main := ev.TID == s.session.MainTID
		got[main] = append(got[main], text)
	}
	compare(t, got[true], []string{
		"+Ledger#post:10", "posted", "-Ledger#post", "+Ledger#block:11", "IOError", "-Ledger#block",
		"+Ledger#loaded:12", "loaded", "-Ledger#loaded", "+Ledger#eval_ed:13", "-Ledger#eval_ed", "+Book#read:14", "-Book#read",
	})
	compare(t, got[false], []string{"+Ledger#post:15", "posted", "-Ledger#post"})
	want := `2 of 4 names of --span-allow were never defined in a Ruby that ran: "Ledger#never", "Nobody#*"`
	if got := fmt.Sprint(s.result.Unfound); got != want || s.result.BadMarkers != 0 {
		t.Errorf("%s\nwant %s; %d bad markers", got, want, s.result.BadMarkers)
	}
}

// TestRubyUnfound: what is said when no Ruby ran, whatever other programs make up,
// and of methods of an unchanged Ruby.
func TestRubyUnfound(t *testing.T) {
	sh, ruby := tool(t, "sh"), tool(t, "ruby")
	none := "no Ruby ran that --spans ruby could mark the methods of"
	for _, c := range []struct {
		name, spans string
		allow, argv []string
		want        string
		bad         uint64
	}{
		{"no Ruby", "ruby", nil, []string{sh, "-c", ":"}, none, 0},
		{"no Ruby, a list", "ruby", []string{"A#b"}, []string{sh, "-c", ":"}, none, 0},
		{"own list", "ruby", nil, []string{ruby, "--disable-gems", "-e", "1"}, "<nil>", 0},
		{"all", "ruby", []string{"Object#a"}, []string{ruby, "--disable-gems", "-e", "def a = 1"}, "<nil>", 0},
		{"forged", "ruby", []string{"A#b", "C#*"}, []string{sh, "-c", "test -e viv://found/2; test -e viv://found/3; test -e viv://found/-1; :"},
			`1 of 2 names of --span-allow were never defined in a Ruby that ran: "A#b"`, 2},
		{"nobody asked", "markers", nil, []string{sh, "-c", "test -e viv://found; test -e viv://found/1; :"}, "<nil>", 2},
		{"unchanged", "auto", []string{"Dir#mkdir", "Dir#nothing", "A#*"}, []string{ruby, "--disable-gems", "-e", "1"},
			`2 of 3 names of --span-allow are no method that was found: "Dir#nothing", "A#*"; methods written in Ruby need --spans ruby`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			sp := spansFrom(t, c.spans)
			sp.Allow = c.allow
			s := record(t, Options{Spans: sp, Events: events(spanEvents...)}, c.argv...)
			if got := fmt.Sprint(s.result.Unfound); got != c.want || s.result.BadMarkers != c.bad {
				t.Errorf("%s\nwant %s; %d bad markers, want %d", got, c.want, s.result.BadMarkers, c.bad)
			}
		})
	}
}

// TestRubyUser: another user's Ruby finds the files, wherever our own are.
func TestRubyUser(t *testing.T) {
	ruby := tool(t, "ruby")
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", private)
	s := record(t, Options{Spans: spansFrom(t, "ruby"), Events: events(spanEvents...), User: "nobody"}, ruby, "--disable-gems", "-e", "ENV['HOME']")
	compare(t, texts(s.only(spanEvents...)), []string{
		`span_start name="ENV#[]" file=-e line=1 source=marker`, `span_stop name="ENV#[]" source=marker`,
	})
}

// TestRubyBeside: two threads and a forked worker, all at once, have each what
// they did themselves in their own methods, and nothing else.
func TestRubyBeside(t *testing.T) {
	ruby := tool(t, "ruby")
	d := tempDir(t)
	const turns = 200
	script := `
		work = ->(who) { ` + fmt.Sprint(turns) + `.times { |i| File.write("#{ARGV[0]}/#{who}", i.to_s); File.rename("#{ARGV[0]}/#{who}", "#{ARGV[0]}/#{who}2") } }
		child = fork { work.("child") }
		threads = %w[one two].map { |who| Thread.new { work.(who) } }
		threads.each(&:join)
		Process.wait(child)`
	s := record(t, Options{Spans: spansFrom(t, "ruby"), Events: events(append(spanEvents, event.PathOpen, event.FileRename)...)}, ruby, "--disable-gems", "-e", script, d)
	got := map[uint32][]string{}
	for _, ev := range s.events {
		text := string(ev.Fields[0].Text)
		switch ev.Kind {
		case &event.Kinds[event.SpanStart], &event.Kinds[event.SpanStop]:
			if strings.HasPrefix(text, "File#") {
				got[ev.TID] = append(got[ev.TID], ev.Kind.Name+" "+text)
			}
		case &event.Kinds[event.PathOpen], &event.Kinds[event.FileRename]:
			if strings.HasPrefix(text, d) {
				got[ev.TID] = append(got[ev.TID], ev.Kind.Name+" "+filepath.Base(text))
			}
		}
	}
	want := map[string][]string{}
	for _, who := range []string{"child", "one", "two"} {
		for range turns {
			want[who] = append(want[who], "span_start File#write", "path_open "+who, "span_stop File#write",
				"span_start File#rename", "file_rename "+who, "span_stop File#rename")
		}
	}
	for tid, list := range got {
		who := ""
		if len(list) > 1 {
			_, who, _ = strings.Cut(list[1], " ")
		}
		compare(t, list, want[who])
		delete(want, who)
		if t.Failed() {
			t.Fatalf("thread %d", tid)
		}
	}
	if len(want) > 0 {
		t.Errorf("nothing is there of %d of them", len(want))
	}
}

// TestRubyRactor: a program's Ractors do what they did, and are seen.
func TestRubyRactor(t *testing.T) {
	ruby := tool(t, "ruby")
	script := `
		ractor = Ractor.new do
			File.write("a", "x")
			require "abbrev"
			begin
				Dir.rmdir("none")
			rescue SystemCallError
				ENV["HOME"]
			end
		end
		exit ractor.take == ENV["HOME"]`
	t.Chdir(tempDir(t))
	s := record(t, Options{Spans: spansFrom(t, "ruby"), Events: events(spanEvents...)}, ruby, "-W0", "--disable-gems", "-e", script)
	var got []string
	for _, ev := range s.events {
		if ev.Kind == &event.Kinds[event.SpanStart] && ev.TID != s.session.MainTID && bytes.Equal(ev.Get("file").Text, []byte("-e")) {
			got = append(got, string(ev.Fields[0].Text))
		}
	}
	compare(t, got, []string{"File#write", "Kernel#require", "Dir#rmdir", "ENV#[]"})
}

// TestRubyFibers: a fiber's methods are spans only while it runs, so that one
// that is never continued does not swallow what follows.
func TestRubyFibers(t *testing.T) {
	ruby := tool(t, "ruby")
	script := `
		File.write("a", "x")
		fiber = Fiber.new { File.open("a") { Fiber.yield; ENV["HOME"]; Fiber.yield; raise "left" } }
		fiber.resume
		Dir.mkdir("one")
		File.open("a") { fiber.resume }
		names = Enumerator.new { |y| Dir.glob("*") { |n| y << n } }
		names.next
		Dir.mkdir("two")
		begin
			fiber.resume
		rescue RuntimeError
			Dir.mkdir("three")
		end
		Thread.new { Fiber.new { File.open("a") { Fiber.yield } }.resume; Dir.mkdir("four") }.join`
	t.Chdir(tempDir(t))
	s := record(t, Options{Spans: spansFrom(t, "ruby"), Events: events(spanEvents...)}, ruby, "--disable-gems", "-e", script)
	var got []string
	for _, ev := range s.events {
		if ev.Kind != &event.Kinds[event.ProcFork] && !ev.Hidden {
			got = append(got, fmt.Sprintf("%s %s:%d", ev.Kind.Name, ev.Fields[0].Text, ev.Get("line").Num))
		}
	}
	compare(t, got, []string{
		"span_start File#write:2", "span_stop File#write:0",
		"span_start File#open:3", "span_stop File#open:0",
		"span_start Dir#mkdir:5", "span_stop Dir#mkdir:0",
		"span_start File#open:6",
		"span_stop File#open:0", "span_start File#open:3", "span_start ENV#[]:3", "span_stop ENV#[]:0", "span_stop File#open:0",
		"span_start File#open:6", "span_stop File#open:0",
		"span_start Dir#glob:7", "span_stop Dir#glob:0",
		"span_start Dir#mkdir:9", "span_stop Dir#mkdir:0",
		"span_start File#open:3", "span_raise RuntimeError:3", "span_stop File#open:0", "span_raise RuntimeError:11",
		"span_start Dir#mkdir:13", "span_stop Dir#mkdir:0",
		"span_start File#open:15", "span_stop File#open:0",
		"span_start Dir#mkdir:15", "span_stop Dir#mkdir:0",
	})
}

// TestObserve: a program written for vivarium, of which only what it observes is
// recorded.
func TestObserve(t *testing.T) {
	ruby := tool(t, "ruby")
	lib, err := filepath.Abs("../../ruby")
	if err != nil {
		t.Fatal(err)
	}
	d := tempDir(t)
	script := `
		require "vivarium"
		def touch(name) = IO.write(name, "x")
		touch("before")
		touch(Vivarium.observe(dest: "x") { touch("inside"); system("cat child 2>/dev/null"); "returned" })
		session = Vivarium.observe
		touch("session")
		session.stop
		session.stop
		touch("between")
		begin
			Vivarium.observe { raise "left" }
		rescue
			touch("rescued")
		end
		Vivarium.top_observe
		touch("top")`
	t.Chdir(d)
	if err := os.WriteFile("child", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := record(t, Options{Spans: spansFrom(t, "observe"), Events: marked.Events}, ruby, "-W0", "--disable-gems", "-I", lib, "-e", script)
	var got []string
	for _, ev := range s.events {
		switch {
		case ev.Hidden:
		case ev.Kind == &event.Kinds[event.PathOpen]:
			if path := string(ev.Get("path").Text); strings.HasPrefix(path, d) {
				got = append(got, filepath.Base(path))
			}
		default:
			got = append(got, ev.Kind.Name)
		}
	}
	compare(t, got, []string{
		"span_start", "inside", "child", "span_stop", "span_start", "session", "span_stop", "span_start", "span_stop", "span_start", "top",
	})
}

// TestObserveArguments: what vivarium's arguments said is accepted, with what
// says it in the pipeline, and an argument that it never had is none here.
func TestObserveArguments(t *testing.T) {
	script := `
Vivarium.observe(dest: $stderr, filter: {event: "path_open"}, save_raw: "x") { 1 }
Vivarium.top_observe(otel_out: "x", otel_endpoint: "x", socket_path: "x").stop
p Vivarium.observe { |s| s.stop; :returned }`
	cmd := exec.Command(tool(t, "ruby"), "--disable-gems", "-I", "../../ruby", "-r", "vivarium", "-e", script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := `-e:2: warning: vivarium: dest: is ignored: choose where with the last program: viv-tree, or viv-otlp URL
-e:2: warning: vivarium: filter: is ignored: put viv-filter in front of viv-tree
-e:2: warning: vivarium: save_raw: is ignored: viv-probe -o FILE
-e:3: warning: vivarium: otel_out: is ignored: viv-otlp -o FILE
-e:3: warning: vivarium: otel_endpoint: is ignored: viv-otlp URL
-e:3: warning: vivarium: socket_path: is ignored: there is no daemon
:returned
`
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Error(diff)
	}
}

// TestRubyRunning: methods written in C of a Ruby that runs already, in its
// threads and in a child that it makes.
func TestRubyRunning(t *testing.T) {
	ruby := tool(t, "ruby")
	d := tempDir(t)
	script := `
		d = ARGV[0]
		puts "ready"
		$stdout.flush
		$stdin.read
		Dir.mkdir(d + "/a")
		Thread.new { Dir.mkdir(d + "/b") }.join
		child = fork { Dir.mkdir(d + "/c") }
		Process.wait(child)
		system("exit 0")`
	sp := spansFrom(t, "auto")
	sp.Allow = []string{"Dir#mkdir", "Kernel#system"}
	r := start(t, ruby, "--disable-gems", "-e", script, d)
	s := recordRunning(t, Options{Spans: sp, Events: events(event.SpanStart, event.SpanStop)}, r, 0)
	got := spanThreads(t, s)
	pair := func(name string) []string {
		return []string{"span_start name=" + name + " source=uprobe", "span_stop name=" + name + " source=uprobe"}
	}
	var all []string
	for _, list := range got {
		all = append(all, list...)
	}
	if len(got) != 3 || len(all) != 8 {
		t.Errorf("%d threads with %d starts and stops: %q", len(got), len(all), got)
	}
	compare(t, got["0"], append(pair("Dir#mkdir"), pair("Kernel#system")...))
}

// TestRubyExtension: an extension's methods are seen from its first moment.
func TestRubyExtension(t *testing.T) {
	ruby := tool(t, "ruby")
	script := `
		require "socket"
		server = TCPServer.new("127.0.0.1", 0)
		TCPSocket.new("127.0.0.1", server.addr[1])`
	sp := spansFrom(t, "auto")
	sp.Allow = []string{"TCPSocket#*", "IPSocket#*", "BasicSocket#*"}
	s := record(t, Options{Spans: sp, Events: events(append(spanEvents, event.SockConnect)...)}, ruby, "--disable-gems", "-e", script)
	var got []string
	for _, ev := range s.events {
		if !ev.Hidden {
			got = append(got, strings.TrimSpace(ev.Kind.Name+" "+string(ev.Get("name").Text)))
		}
	}
	compare(t, got, []string{
		"span_start IPSocket#addr", "span_stop IPSocket#addr",
		"span_start TCPSocket#initialize", "sock_connect", "span_stop TCPSocket#initialize",
	})
}

// TestRubyRunningTree: of a Ruby that runs already, unchanged: a child and a
// connection under the method that made them, also one that an exception
// leaves, and what no method did in the thread's own span.
func TestRubyRunningTree(t *testing.T) {
	ruby := tool(t, "ruby")
	d := tempDir(t)
	for _, name := range []string{"child", "outside", "rescued", "caught", "opened"} {
		if err := os.WriteFile(filepath.Join(d, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `
		require "socket"
		server = TCPServer.new("127.0.0.1", 0)
		port = server.addr[1]
		nobody = TCPServer.open("127.0.0.1", 0) { |s| s.addr[1] }
		puts "ready"
		$stdout.flush
		$stdin.read
		system("exec < #{ARGV[0]}/child")
		IO.read(ARGV[0] + "/outside")
		begin
			TCPSocket.new("127.0.0.1", nobody)
		rescue SystemCallError
			IO.read(ARGV[0] + "/rescued")
		end
		catch(:here) { Dir.chdir(ARGV[0]) { Dir.glob("opened") { |f| IO.read(f); throw :here } } }
		IO.read(ARGV[0] + "/caught")
		Thread.new { TCPSocket.new("127.0.0.1", port) }.join`
	sp := spansFrom(t, "auto")
	opt := Options{Spans: sp, Events: events(append(spanEvents, event.PathOpen, event.SockConnect)...)}
	s := recordRunning(t, opt, start(t, ruby, "--disable-gems", "-e", script, d), 0)
	compareTree(t, s, d, `
[PROC pid=N comm=NAME]
├─ [SPAN tid=N Kernel#system dur=N
│ └─ [PROC pid=N comm=NAME]
│ └─ LSM path_open → "DIR/child" flags=O_RDONLY @N
├─ [SPAN tid=N <no-span> dur=N
│ └─ LSM path_open → "DIR/outside" flags=O_RDONLY @N
├─ [SPAN tid=N TCPSocket#initialize dur=N (raise)]
│ ├─ LSM sock_connect → 127.0.0.1:N (AF_INET) proto=tcp pending=true @N
│ └─ EXCP span_raise → error=Errno::ECONNREFUSED at=-e:12 source=usdt @N
├─ [SPAN tid=N <no-span> dur=N
│ └─ LSM path_open → "DIR/rescued" flags=O_RDONLY @N
├─ [SPAN tid=N Dir#chdir dur=N
│ └─ LSM path_open → "DIR/opened" flags=O_RDONLY @N
├─ [SPAN tid=N <no-span> dur=N
│ └─ LSM path_open → "DIR/caught" flags=O_RDONLY @N
└─ [SPAN tid=N TCPSocket#initialize dur=N
   └─ LSM sock_connect → 127.0.0.1:N (AF_INET) proto=tcp pending=true @N
`)
}

// TestRubyRunningFibers: a fiber's methods, of those written in C, are spans only
// while it runs, and the program runs as ever.
func TestRubyRunningFibers(t *testing.T) {
	ruby := tool(t, "ruby")
	script := `
		require "fiber"
		puts "ready"
		$stdout.flush
		$stdin.read
		fibers = 3.times.map { |i| Fiber.new { Dir.chdir(".") { Fiber.yield; Dir.mkdir("f#{i}"); Fiber.yield; raise "left" if i == 1 } } }
		fibers.each(&:resume)
		Dir.mkdir("one")
		Dir.chdir(".") { fibers.each(&:resume) }
		names = Enumerator.new { |y| Dir.chdir(".") { y << 1; Dir.mkdir("never") } }
		names.next
		Dir.mkdir("two")
		fibers.each { |f| f.resume rescue Dir.mkdir("three") }
		Thread.new { Fiber.new { Object.new.instance_exec { Fiber.yield } }.resume; Dir.mkdir("four") }.join
		exit true`
	t.Chdir(tempDir(t))
	sp := spansFrom(t, "auto")
	sp.Allow = []string{"Dir#*", "BasicObject#instance_exec"}
	s := recordRunning(t, Options{Spans: sp, Events: events(spanEvents...)}, start(t, ruby, "--disable-gems", "-e", script), 0)
	var got []string
	for _, ev := range s.events {
		if ev.Kind != &event.Kinds[event.ProcFork] && !ev.Hidden {
			got = append(got, fmt.Sprintf("%s %s", ev.Kind.Name, ev.Fields[0].Text))
		}
	}
	var want []string
	for line := range strings.Lines(`
		fibers.each(&:resume): +chdir -chdir +chdir -chdir +chdir -chdir
		in none of them: +mkdir -mkdir
		in another chdir, which is not seen to go on between them: +chdir -chdir
		+chdir +mkdir -mkdir -chdir
		+chdir +mkdir -mkdir -chdir
		+chdir +mkdir -mkdir -chdir
		and at its end: +chdir -chdir
		names.next: +chdir -chdir
		+mkdir -mkdir
		the first ends, the second fails, and the third ends: +chdir -chdir
		+chdir RuntimeError -chdir
		+mkdir -mkdir
		+chdir -chdir
		in the thread: +instance_exec -instance_exec
		+mkdir -mkdir
`) {
		for word := range strings.FieldsSeq(line[strings.LastIndex(line, ":")+1:]) {
			switch word[0] {
			case '+':
				want = append(want, "span_start "+word[1:])
			case '-':
				want = append(want, "span_stop "+word[1:])
			default:
				want = append(want, "span_raise "+word)
			}
		}
	}
	for i := range got {
		got[i] = strings.NewReplacer("Dir#", "", "BasicObject#", "").Replace(got[i])
	}
	compare(t, got, want)
}

// TestRubyRunningKept: what Ruby's own probes of C methods would crash runs as
// ever: it names a hidden object after each collection of garbage.
func TestRubyRunningKept(t *testing.T) {
	ruby := tool(t, "ruby")
	script := `
		puts "ready"
		$stdout.flush
		$stdin.read
		kept = []
		200.times do |i|
			kept << -> { i }
			GC.start
			eval("class Object; alias name#{i} to_s; end")
			kept << { **{ i => i } }
			begin
				Process.kill(0, 0)
				Dir.rmdir("none")
			rescue SystemCallError
				kept << "x" * 1000
			end
		end
		exit kept.size == 600`
	s := recordRunning(t, Options{Spans: spansFrom(t, "auto"), Events: events(spanEvents...)}, start(t, ruby, "--disable-gems", "-e", script), 0)
	n := map[string]int{}
	for _, ev := range s.events {
		n[ev.Kind.Name+" "+string(ev.Fields[0].Text)]++
	}
	for _, name := range []string{"span_start Process#kill", "span_stop Process#kill", "span_start Dir#rmdir", "span_stop Dir#rmdir", "span_raise Errno::ENOENT"} {
		if n[name] != 200 {
			t.Errorf("%s: %d times, want 200; all: %v", name, n[name], n)
		}
	}
}
