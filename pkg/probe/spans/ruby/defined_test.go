package ruby

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// marks runs a script with the file in front of it, and without. It returns the
// markers: names with their lines, - for a stop, and what the list's entries are
// that were found. Both runs must print the same.
func marks(t *testing.T, dir string, list []string, script string) (spans, found []string) {
	t.Helper()
	ruby := rubyProgram(t)
	r, err := newFiles(list, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.remove(); err != nil {
			t.Error(err)
		}
	})
	// Markers go to descriptor 3.
	tap := filepath.Join(dir, "tap.rb")
	err = os.WriteFile(tap, []byte(`
		class File
			class << self
				alias there? exist?
				def exist?(path) = path.start_with?("viv://") ? IO.for_fd(3, "w", autoclose: false).syswrite(path + "\n") : there?(path)
			end
		end`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	app := filepath.Join(dir, "app.rb")
	if err := os.WriteFile(app, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(options string, log *os.File) string {
		cmd := exec.Command(ruby, "-W0", "--disable-gems", "app.rb")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "RUBYOPT="+options)
		cmd.ExtraFiles = []*os.File{log}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("RUBYOPT=%s: %v\n%s", options, err, out)
		}
		return string(out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	want := run("", log)
	if d := cmp.Diff(want, run("-r"+tap+" -r"+r.start(), log)); d != "" {
		t.Errorf("the program prints something else: %s", d)
	}
	text, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "viv://start/"); ok {
			name, at, _ := strings.Cut(name, "?")
			spans = append(spans, name+":"+at[strings.LastIndex(at, "=")+1:])
		} else if name, ok := strings.CutPrefix(line, "viv://stop/"); ok {
			spans = append(spans, "-"+name)
		} else if entry, ok := strings.CutPrefix(line, "viv://found/"); ok {
			var n int
			if _, err := fmt.Sscan(entry, &n); err != nil || n < 1 || n > len(list) {
				t.Fatalf("%s: %v", line, err)
			}
			found = append(found, list[n-1])
		} else if line != "viv://found" && !strings.HasPrefix(line, "viv://raise/") {
			t.Errorf("%s", line)
		}
		if strings.Contains(line, "spans.rb") {
			t.Errorf("what is ours is marked: %s", line)
		}
	}
	return spans, found
}

// TestDefined: listed methods are spans whenever and however they are defined, and
// no others.
func TestDefined(t *testing.T) {
	for _, c := range []struct{ name, list, script, want string }{
		{"in the program itself", "Ledger#*", `
			class Ledger
				def post(x) = x
				def self.open = new
				class << self; def shut = 1; end
			end
			class Other; def post(x) = x; end
			Other.new.post(1)
			Ledger.open.post(2)
			Ledger.shut`, "open:9 -open post:9 -post shut:10 -shut"},
		{"one of several", "Ledger#post", `
			class Ledger; def post = keep; def keep = 1; end
			Ledger.new.post`, "post:3 -post"},
		{"before its class's end", "Ledger#*", `
			class Ledger
				def self.set = 1
				set
				def post = 1
				new.post
			end`, "set:4 -set post:6 -post"},
		{"load", "Ledger#*", `
			IO.write("l.rb", "class Ledger; def post = 1; end")
			load "./l.rb"
			Ledger.new.post`, "post:4 -post"},
		{"require", "Ledger#*", `
			IO.write("r.rb", "class Ledger; def post = 1; end\nLedger.new.post")
			require "./r"
			Ledger.new.post`, "post:2 -post post:4 -post"},
		{"autoload", "Ledger#*", `
			IO.write("a.rb", "class Ledger; def post = 1; end")
			autoload :Ledger, "./a.rb"
			Ledger.new.post`, "post:4 -post"},
		{"eval", "Ledger#*", `
			2.times { eval "class Ledger; def post = 1; end" }
			Ledger.new.post
			Ledger.class_eval "def more = 1"
			Ledger.new.more
			Ledger.instance_eval { def self.one = 1 }
			Ledger.one`, "post:3 -post more:5 -more one:7 -one"},
		{"define_method", "Ledger#*", `
			class Ledger
				%i[post keep].each { |n| define_method(n) { |x = 1, y: 2| raise "no" if x == 3; x } }
				define_method(:size, instance_method(:post))
			end
			l = Ledger.new
			l.post; l.keep(2, y: 3)
			begin; l.post(3); rescue RuntimeError; end
			l.size
			Ledger.define_method(:late) { 1 }
			Ledger.define_singleton_method(:one) { 1 }
			l.late; Ledger.one`, "post:7 -post keep:7 -keep post:8 -post size:9 -size late:12 -late one:12 -one"},
		{"reopened after the last require", "Ledger#late Ledger#post", `
			require "set"
			class Ledger; def post = 1; end
			Ledger.new.post
			class Ledger; def late = 1; end
			Ledger.new.late`, "post:4 -post late:6 -late"},
		{"redefined", "Ledger#*", `
			class Ledger; def post = 1; end
			l = Ledger.new
			l.post
			class Ledger; def post = 2; end
			l.post
			class Ledger; remove_method :post; end
			begin; l.post; rescue NoMethodError; puts "gone"; end
			class Ledger; def post = 3; end
			p l.post`, "post:4 -post post:6 -post post:10 -post"},
		{"alias", "Ledger#*", `
			class Ledger; def post = 1; alias put post; alias_method :set, :post; end
			Ledger.new.put; Ledger.new.set; Ledger.new.post`, "put:3 -put set:3 -set post:3 -post"},
		{"an alias that is not listed", "Ledger#post", `
			class Ledger; def post = 1; alias put post; end
			Ledger.new.put; Ledger.new.post`, "post:3 -post"},
		{"include", "Ledger#*", `
			module Audit; def check = 1; def post = 1; end
			class Other; include Audit; end
			class Ledger; include Audit; def post = super; end
			Other.new.check
			Ledger.new.check
			Ledger.new.post
			module Audit; def late = 1; end
			Ledger.new.late`, "check:6 -check post:7 -post late:9 -late"},
		{"prepend", "Ledger#*", `
			class Ledger; def post = 1; end
			Ledger.new.post
			module Audit; def post = super + 1; end
			Ledger.prepend(Audit)
			p Ledger.new.post`, "post:3 -post post:6 -post"},
		{"extend", "Ledger#*", `
			class Ledger; end
			Ledger.extend(Module.new { def one = 1 })
			Ledger.one`, "one:4 -one"},
		{"a module", "Audit#*", `
			module Audit; def check = 1; module_function; def fix = 2; end
			class Other; include Audit; def both = check; end
			Other.new.both
			Audit.fix`, "check:3 -check fix:5 -fix"},
		{"Class.new", "Ledger#* Bank::Book#*", `
			Ledger = Class.new { def self.open = new; def post = 1; attr_reader :x }
			Ledger.open.post
			Ledger.new.x
			module Bank; Book = Class.new(Ledger) { def read = 1 }; end
			Bank::Book.new.read
			Class.new { def post = 1 }.new.post
			Other = Class.new { def post = 1 }
			Other.new.post`, "open:3 -open post:3 -post x:4 -x read:6 -read"},
		{"const_set", "Ledger#*", `
			Object.const_set(:Ledger, Class.new { def self.one = 1 })
			Ledger.one`, "one:3 -one"},
		{"Module.new", "Ledger#one", `
			Ledger = Module.new { extend self; def one = 1 }
			Ledger.one`, "one:3 -one"},
		{"Struct.new", "Ledger#*", `
			Ledger = Struct.new(:a, :b) do
				def sum = a + b
			end
			l = Ledger.new(1, 2)
			l.a
			l.b = 3
			p l.sum, l, l == Ledger.new(1, 3), Ledger.members`, "a:6 -a b=:7 -b= sum:8 a:3 -a b:3 -b -sum"},
		{"Data.define", "Ledger#*", `
			Ledger = Data.define(:a) { def twice = a * 2; def self.one = new(a: 1) }
			p Ledger.one.twice, Ledger.one.with(a: 3) == Ledger.new(a: 3)`, "one:3 -one twice:3 a:2 -a -twice one:3 -one"},
		{"attr", "Ledger#*", `
			class Ledger
				attr_accessor :a
				attr_writer :b
				private attr_reader :c
				def see = c
				private :a=
				alias e a
			end
			class Ledger; private :b=; end
			l = Ledger.new
			l.a; l.e; l.see
			%i[a= b=].each { |n| begin; l.public_send(n, 1); rescue NoMethodError; puts n; end }
			l.send(:b=, 4)
			p l.instance_variables, Ledger.instance_method(:a).owner, Ledger.instance_method(:a).arity, Ledger.instance_method(:a=).arity`,
			"a:12 -a e:12 -e see:12 c:6 -c -see b=:14 -b="},
		{"a class of the program's top level", "Object#work", `
			def work = 1
			work`, "work:3 -work"},
		{"operators and odd names", "Ledger#*", `
			class Ledger; def ==(o) = true; def [](i) = i; define_method("a b") { 1 }; def été? = true; end
			l = Ledger.new
			p l == 1, l[2], l.send("a b"), l.été?`, "==:4 -== []:4 -[] a b:4 -a b été%3F:4 -été%3F"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "Data.define" && exec.Command(rubyProgram(t), "-e", "exit Module.private_method_defined?(:const_added)").Run() != nil {
				t.Skip("this Ruby is older than 3.2")
			}
			list := strings.Fields(c.list)
			got, found := marks(t, t.TempDir(), append(list, "Nobody#has"), c.script)
			for i := range got { // the class is in the list
				minus := ""
				name, ok := strings.CutPrefix(got[i], "-")
				if ok {
					minus = "-"
				}
				_, name, _ = strings.Cut(name, "#")
				got[i] = minus + name
			}
			if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(list, found, cmp.Transformer("set", func(l []string) map[string]bool {
				set := map[string]bool{}
				for _, s := range l {
					set[s] = true
				}
				return set
			})); d != "" {
				t.Errorf("found: %s", d)
			}
		})
	}
}

// TestUnchanged: what a program can see of its classes, its own hooks among them,
// is as without us.
func TestUnchanged(t *testing.T) {
	got, _ := marks(t, t.TempDir(), []string{"Ledger#*", "Sub#*", "Frozen#*"}, `
		class Ledger
			def self.method_added(name) = puts("added #{name}")
			def self.singleton_method_added(name) = puts("singleton #{name}")
			def self.inherited(c) = puts("inherited #{c.name}")
			def post(a, b = 1, *c, d:, e: 2, **f, &g) = [a, b, c, d, e, f, g&.call]
			attr_reader :x
			def self.one = new
			protected def secret = 1
			private def hidden = 2
		end
		class Sub < Ledger
			def post(...) = super
			def other(o) = o.secret
		end
		m = Sub.instance_method(:post)
		p m.owner, m.arity, m.parameters, m.super_method&.owner, Ledger.instance_method(:post).parameters, m.source_location.last
		p Ledger.new.post(1, d: 3) { 4 }, Sub.new.post(1, 2, 3, d: 4, z: 5), Sub.new.other(Ledger.new)
		begin; Ledger.new.hidden; rescue NoMethodError; puts "private"; end
		begin; Ledger.new.secret; rescue NoMethodError; puts "protected"; end
		p Ledger.instance_methods(false).sort, Ledger.ancestors.first, Ledger.singleton_methods.sort, Ledger.instance_method(:x).source_location.last
		class Frozen; def a = 1; attr_reader :b; freeze; end
		p Frozen.new.a, Frozen.frozen?
		p Fiber.new { Ledger.new.post(1, d: 2) }.resume.size, Ractor.new { class R; def r = 1; end; Ledger.one.post(1, d: 2).size + R.new.r }.take
		p caller.size, ObjectSpace.each_object(Class).count { |c| c.name == "Ledger" }`)
	var names []string
	for _, s := range got {
		if !strings.HasPrefix(s, "-") {
			names = append(names, s[:strings.LastIndex(s, ":")])
		}
	}
	// Those of the Ractor are not there: a TracePoint is of the Ractor that made it.
	want := "Ledger#inherited Ledger#post Sub#post Ledger#post Sub#other Ledger#secret Frozen#a Ledger#post"
	if d := cmp.Diff(want, strings.Join(names, " ")); d != "" {
		t.Error(d)
	}
}

// TestCore: a program runs as ever with all methods of Ruby's own classes listed,
// which marking itself needs too.
func TestCore(t *testing.T) {
	script := filepath.Join(t.TempDir(), "app.rb")
	err := os.WriteFile(script, []byte(`
		p "a".upcase, [1, 2].map(&:to_s), { a: 1 }.map { |k, v| v }, Thread.new { 3 }.value, 3.times.to_a, [3, 1].sort, :a.to_s
		p loop { break 4 }, catch(:x) { throw :x, 2 }, lambda { |x| x }.arity, Fiber.new { 5 }.resume
		def a = block_given?
		p a { }, a, __method__.inspect, binding.local_variables, caller.size
		module M; module_function; def z = 1; end
		class C; private; def q = 1; end
		p M.z, (C.new.q rescue 7), Comparable.instance_methods.size`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	want, err := exec.Command(rubyProgram(t), "-W0", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, want)
	}
	for _, class := range []string{"String", "Kernel", "Array", "Hash", "Thread", "Integer", "Symbol", "Module", "Class", "Object", "BasicObject",
		"Enumerable", "Comparable", "Proc", "Method", "UnboundMethod", "TracePoint", "IO", "File", "Fiber", "Exception", "ObjectSpace"} {
		r, err := newFiles([]string{class + "#*"}, true)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(rubyProgram(t), "-W0", script)
		cmd.Env = r.environ(os.Environ())
		got, err := cmd.CombinedOutput()
		if d := cmp.Diff(string(want), string(got)); err != nil || d != "" {
			t.Errorf("%s: %v %s", class, err, d)
		}
		if err := r.remove(); err != nil {
			t.Error(err)
		}
	}
}

// TestUnlisted: methods that are not listed run at their own speed: nothing is
// watched that all calls would have to look at.
func TestUnlisted(t *testing.T) {
	dir := t.TempDir()
	r, err := newFiles([]string{"Ledger#post", "Later#*"}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.remove()
	// A turn with the file may take little longer than one without, of the fastest of many.
	script := filepath.Join(dir, "app.rb")
	err = os.WriteFile(script, []byte(`
		class Ledger; def post = 1; def keep(x) = x; define_method(:block) { 1 }; attr_reader :a; end
		Anonymous = Class.new { def keep(x) = x }
		l, a = Ledger.new, Anonymous.new
		turn = -> { i = 0; while i < 100_000; l.keep(i); l.block; l.a; a.keep(i); [].size; i += 1; end }
		p 15.times.map { t = Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID); turn.call; Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) - t }.min`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	run := func(env []string) (seconds float64) {
		cmd := exec.Command(rubyProgram(t), "-W0", script)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(bytes.TrimSpace(out)), &seconds); err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	bare := min(run(os.Environ()), run(os.Environ()))
	marked := min(run(r.environ(os.Environ())), run(r.environ(os.Environ())))
	t.Logf("500,000 calls: %.1f ms bare, %.1f ms", bare*1e3, marked*1e3)
	if marked > bare*2 { // one that is watched takes ten times as long
		t.Errorf("500,000 calls take %v s, without us %v s", marked, bare)
	}
}
