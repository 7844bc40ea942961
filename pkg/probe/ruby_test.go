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
	s := record(t, Options{Spans: spans(t, "ruby"), Events: events(spanEvents...), BufferSize: 1 << 24}, ruby, "testdata/calls.rb", d, log, "240")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(string(text), "\n")
	if len(want) < 20_000 {
		t.Fatalf("the TracePoint saw only %d starts and stops", len(want))
	}
	listed := map[string]bool{}
	for _, w := range want {
		_, name, _ := strings.Cut(w, " ")
		listed[name] = true
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
			if file := filepath.Base(string(ev.Fields[1].Text)); strings.HasPrefix(file, "spans.rb") {
				t.Fatalf("%s is called from %s", name, file)
			}
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
	s := record(t, Options{Spans: spans(t, "ruby"), Events: marked.Events}, ruby, "--disable-gems", "-e", script)
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

// TestRubyUser: another user's Ruby finds the files, wherever our own are.
func TestRubyUser(t *testing.T) {
	ruby := tool(t, "ruby")
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	if reachable(private) || !reachable("/") || reachable("tmp") {
		t.Error("a private directory can be reached by everybody, or / cannot")
	}
	t.Setenv("TMPDIR", private)
	s := record(t, Options{Spans: spans(t, "ruby"), Events: events(spanEvents...), User: "nobody"}, ruby, "--disable-gems", "-e", "ENV['HOME']")
	compare(t, texts(s.only(spanEvents...)), []string{
		`span_start name="ENV#[]" file=-e line=1 source=marker`, `span_stop name="ENV#[]" source=marker`,
	})
}

// TestRubyCannot: a Ruby in which methods cannot be marked says so and runs.
func TestRubyCannot(t *testing.T) {
	ruby := tool(t, "ruby")
	r, err := newRubyFiles([]string{"File#open", "Odd'name#x\\"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.remove(); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command(ruby, "-e", `puts "runs"`)
	cmd.Env = r.environ(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "runs\n" {
		t.Errorf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "spans.rb"), []byte("module VivSpans; def self.install(_) = raise(ArgumentError, 'unknown event'); end"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(ruby, "-e", `puts "runs"`)
	cmd.Env = r.environ(os.Environ())
	want := "viv-probe: methods of this Ruby are not marked: unknown event\nruns\n"
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
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
	s := record(t, Options{Spans: spans(t, "ruby"), Events: events(append(spanEvents, event.PathOpen, event.FileRename)...)}, ruby, "--disable-gems", "-e", script, d)
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
	s := record(t, Options{Spans: spans(t, "ruby"), Events: events(spanEvents...)}, ruby, "-W0", "--disable-gems", "-e", script)
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
	s := record(t, Options{Spans: spans(t, "ruby"), Events: events(spanEvents...)}, ruby, "--disable-gems", "-e", script)
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
	s := record(t, Options{Spans: spans(t, "observe"), Events: marked.Events}, ruby, "-W0", "--disable-gems", "-I", lib, "-e", script)
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
	sp := spans(t, "ruby-c")
	sp.Allow = []string{"Dir#mkdir", "Kernel#system"}
	r := start(t, ruby, "--disable-gems", "-e", script, d)
	s := recordRunning(t, Options{Spans: sp, Events: events(event.SpanStart, event.SpanStop)}, r, 0)
	got := spanThreads(t, s)
	pair := func(name, line string) []string {
		return []string{"span_start name=" + name + " file=-e line=" + line + " source=usdt", "span_stop name=" + name + " file=-e line=" + line + " source=usdt"}
	}
	var all []string
	for _, list := range got {
		all = append(all, list...)
	}
	if len(got) != 3 || len(all) != 8 {
		t.Errorf("%d threads with %d starts and stops: %q", len(got), len(all), got)
	}
	compare(t, got["0"], append(pair("Dir#mkdir", "6"), pair("Kernel#system", "10")...))
}

// TestRubyRunningTree: of a Ruby that runs already, unchanged: a child and a
// connection under the method that made them, and what no method did in the
// thread's own span.
func TestRubyRunningTree(t *testing.T) {
	ruby := tool(t, "ruby")
	d := tempDir(t)
	for _, name := range []string{"child", "outside"} {
		if err := os.WriteFile(filepath.Join(d, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `
		require "socket"
		server = TCPServer.new("127.0.0.1", 0)
		port = server.addr[1]
		puts "ready"
		$stdout.flush
		$stdin.read
		system("exec < #{ARGV[0]}/child")
		IO.read(ARGV[0] + "/outside")
		Thread.new { TCPSocket.new("127.0.0.1", port) }.join`
	sp := spans(t, "ruby-c")
	opt := Options{Spans: sp, Events: events(append(spanEvents, event.PathOpen, event.SockConnect)...)}
	s := recordRunning(t, opt, start(t, ruby, "--disable-gems", "-e", script, d), 0)
	compareTree(t, s, d, `
[PROC pid=N comm=NAME]
├─ [SPAN tid=N Kernel#system at=-e:8 dur=N
│ └─ [PROC pid=N comm=NAME]
│ └─ LSM path_open → "DIR/child" flags=O_RDONLY @N
├─ [SPAN tid=N <no-span> dur=N
│ └─ LSM path_open → "DIR/outside" flags=O_RDONLY @N
└─ [SPAN tid=N TCPSocket#initialize at=-e:10 dur=N
   └─ LSM sock_connect → 127.0.0.1:N (AF_INET) error=EINPROGRESS @N
`)
}
