package cmethod

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func all(string, string) bool { return true }

// tool is the path of a program that the tests need.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("VIV_TEST_PROGRAMS") != "" {
		t.Skipf("%s is not installed", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(tool(t, name), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, stderr.Bytes())
	}
	return string(out)
}

// open opens a file; nil: it has no methods.
func open(t testing.TB, path string) *File {
	t.Helper()
	e, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	f, err := Open(e)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f
}

// rubyFiles are the file that Ruby itself is in, and the extensions it has loaded.
func rubyFiles(t testing.TB) []string {
	t.Helper()
	out := output(t, "ruby", "-rsocket", "-e", `
		maps = File.read("/proc/self/maps").scan(%r{ (/.*)$}).flatten.uniq
		puts maps.grep(/libruby[^\/]*$/).first || File.readlink("/proc/self/exe")
		puts $LOADED_FEATURES.grep(%r{^/.*\.so$})`)
	files := strings.Fields(out)
	if len(files) < 2 || !strings.Contains(strings.Join(files, " "), "socket.so") {
		t.Fatalf("ruby's files: %q", files)
	}
	return files
}

// compared are the classes of which Ruby's own word is taken.
const compared = "Socket BasicSocket IPSocket TCPSocket UDPSocket UNIXSocket Signal Process Process::UID Process::GID File Dir Kernel Object BasicObject IO Module"

// TestRuby compares with what Ruby says itself: which methods have no place in
// a file of Ruby code.
func TestRuby(t *testing.T) {
	out := output(t, "ruby", append([]string{"-rsocket", "-e", truth}, strings.Fields(compared)...)...)
	want := map[string]bool{}
	for line := range strings.Lines(out) {
		want[strings.TrimSpace(line)] = true
	}
	got := map[string]bool{}
	for _, path := range rubyFiles(t) {
		f := open(t, path)
		if f == nil {
			continue
		}
		methods, err := f.Methods(func(class, _ string) bool {
			return class == "ENV" || slices.Contains(strings.Fields(compared), class)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range methods {
			got[m.Class+"#"+m.Name] = true
		}
	}
	for m, why := range map[string]string{
		"BasicObject#__send__":        "no function, but a kind of method of its own",
		"Kernel#send":                 "the same",
		"Kernel#gem_original_require": "an alias that RubyGems makes",
	} {
		if got[m] {
			t.Errorf("found %s, which has %s", m, why)
		}
		delete(want, m)
	}
	for m, why := range map[string]string{
		"Kernel#callcc": "with -rcontinuation",
		"Kernel#chomp":  "with -n or -p",
		"Kernel#chop":   "with -n or -p",
		"Kernel#gsub":   "with -n or -p",
		"Kernel#sub":    "with -n or -p",
	} {
		if want[m] {
			t.Errorf("Ruby has %s, which is only there %s", m, why)
		}
		delete(got, m)
	}
	if diff := gocmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Error(diff)
	}
}

const truth = `
	ARGV.map { |name| Object.const_get(name) }.each do |c|
		[c, c.singleton_class].each do |owner|
			(owner.instance_methods(false) + owner.private_instance_methods(false)).each do |name|
				m = owner.instance_method(name)
				puts "#{c}##{name}" if m.owner == owner && !m.source_location
			end
		end
	end
	ENV.singleton_methods(false).each { |name| puts "ENV##{name}" }`

// TestFunctions: methods whose functions Ruby has for others, too.
func TestFunctions(t *testing.T) {
	f := open(t, rubyFiles(t)[0])
	for method, symbol := range map[string]string{
		"File#directory?":     "rb_file_directory_p",
		"FileTest#directory?": "rb_file_directory_p",
		"Kernel#require":      "rb_f_require",
		"Array#push":          "rb_ary_push_m",
		"Array#clear":         "rb_ary_clear",
		"String#succ":         "rb_str_succ",
		"Hash#clear":          "rb_hash_clear",
	} {
		want, ok := f.Symbol(symbol)
		if !ok {
			continue // of this version of Ruby it is not for others
		}
		methods, err := f.Methods(func(class, name string) bool { return class+"#"+name == method })
		if err != nil || !slices.ContainsFunc(methods, func(m Method) bool { return m.Func == want }) {
			t.Errorf("%s: %+v, %v; want %#x", method, methods, err, want)
		}
	}
}

// listing is what objdump says of a file: where each function begins, and the
// ret instructions and the jumps that depend on nothing that stand in it.
func listing(t *testing.T, path string) (addr map[string]uint64, rets, jumps map[string][]uint64) {
	addr, rets, jumps = map[string]uint64{}, map[string][]uint64{}, map[string][]uint64{}
	head := regexp.MustCompile(`^([0-9a-f]+) <([^>]*)>:$`)
	ret := regexp.MustCompile(`^ *([0-9a-f]+):\s+(?:repz |bnd )*(ret|jmp)\b`)
	name := ""
	for line := range strings.Lines(output(t, "objdump", "-d", "--no-show-raw-insn", path)) {
		line = strings.TrimSpace(line)
		if m := head.FindStringSubmatch(line); m != nil {
			name = m[2]
			addr[name], _ = strconv.ParseUint(m[1], 16, 64)
		} else if m := ret.FindStringSubmatch(line); m != nil {
			at, _ := strconv.ParseUint(m[1], 16, 64)
			if m[2] == "ret" {
				rets[name] = append(rets[name], at)
			} else {
				jumps[name] = append(jumps[name], at)
			}
		}
	}
	return addr, rets, jumps
}

func TestExtension(t *testing.T) {
	for _, tt := range []struct {
		flags  string
		tails  bool
		isRuby bool // a program with Ruby in it
	}{
		{"-O0", false, false},
		{"-O2", true, false},
		{"-O2 -fno-plt", true, false},
		{"-O2 -fcf-protection=full -Wl,-z,now", true, false},
		{"-O2 -fno-plt -fcf-protection=none -fstack-protector-all", true, false},
		{"-O3", true, false},
		{"-Os", true, false},
		{"-O0 -pie -fPIE -rdynamic", false, true},
		{"-O2 -pie -fPIE -rdynamic", true, true},
		{"-O2 -no-pie -fno-pie -rdynamic", true, true},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "extension.so")
			args := append([]string{"-w", "-std=gnu17", "-o", path, "testdata/extension.c"}, strings.Fields(tt.flags)...)
			if tt.isRuby {
				args = append(args, "testdata/ruby.c")
			} else {
				args = append(args, "-shared", "-fPIC")
			}
			output(t, "gcc", args...)
			addr, rets, jumps := listing(t, path)
			f := open(t, path)
			methods, err := f.Methods(all)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]uint64{}
			for _, m := range methods {
				got[m.Class+"#"+m.Name] = m.Func
			}
			want := map[string]uint64{}
			for method, function := range map[string]string{
				"Outer#plain": "plain", "Outer#same": "plain", "Outer#cold": "cold", "Outer::Inner#tail": "tail", "Outer::Inner#foreign": "foreign",
				"Outer::Inner#table": "table", "Outer::Inner#blind": "blind", "Outer::Inner#later": "plain", "IO#told": "plain",
				"Kernel#global": "other", "StandardError#error": "other", "Mod#both": "other", "Mod::ByID#id": "other",
				"A::B#path": "other", "Outer::THING#of object": "other",
			} {
				want[method] = addr[function]
			}
			if tt.isRuby { // the last one's function is in the file
				want["Outer#not told"] = addr["rb_obj_freeze"]
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			back, err := f.Jumps()
			if err != nil || !slices.Equal(back, jumps["back"]) {
				t.Errorf("the stack pointer is set back at %x, %v; want %x", back, err, jumps["back"])
			}
			for function, parts := range map[string][]string{
				"plain": {"plain"}, "tail": {"tail"}, "foreign": {"foreign"}, "cold": {"cold", "cold.cold"}, "table": {"table"}, "blind": {"blind"},
			} {
				if tt.tails && function == "tail" {
					parts = append(parts, "helper")
				}
				if tt.tails && function == "foreign" && tt.isRuby {
					parts = append(parts, "rb_obj_id")
				}
				var want []uint64
				for _, p := range parts {
					want = append(want, rets[p]...)
				}
				if tt.tails && function == "foreign" && !tt.isRuby {
					want = append(want, jumps["foreign"]...)
				}
				slices.Sort(want)
				ends, err := f.Ends(addr[function])
				if tt.tails && function == "blind" {
					if errors.Is(err, ErrBlind) {
						continue
					}
					want = append(want, jumps[function]...) // through memory, which no switch does
				}
				if err != nil {
					t.Errorf("%s: %v", function, err)
				}
				if function == "table" { // which of its calls are in place of a return is the compiler's choice
					ends = slices.DeleteFunc(ends, func(end uint64) bool { return slices.Contains(jumps["table"], end) })
				}
				if diff := gocmp.Diff(fmt.Sprintf("%x", want), fmt.Sprintf("%x", ends)); diff != "" {
					t.Errorf("%s: %s", function, diff)
				}
			}
		})
	}
}

// TestDirectories: Ruby's own directory of extensions is among those that its
// file names; an extension names none.
func TestDirectories(t *testing.T) {
	want := output(t, "ruby", "-e", `print RbConfig::CONFIG["archdir"]`)
	files := rubyFiles(t)
	if got := open(t, files[0]).Directories(); !slices.Contains(got, want) {
		t.Errorf("%q lacks %q", got, want)
	}
	for _, path := range files[1:] {
		if f := open(t, path); f != nil && len(f.Directories()) > 0 {
			t.Errorf("%s names %q", path, f.Directories())
		}
	}
}

// TestOthers: most files have no methods.
func TestOthers(t *testing.T) {
	for _, path := range []string{"/proc/self/exe", tool(t, "objdump")} {
		if f := open(t, path); f != nil {
			t.Errorf("%s has methods", path)
		}
	}
}

// look does all that there is to do with a file.
func look(e *elf.File) error {
	f, err := Open(e)
	if err != nil || f == nil {
		return err
	}
	f.Directories()
	if _, err := f.Jumps(); err != nil {
		return err
	}
	all, err := f.Methods(all)
	if err != nil {
		return err
	}
	for _, m := range all {
		ends, _ := f.Ends(m.Func)
		if !slices.IsSorted(ends) {
			return fmt.Errorf("%s#%s: ends are not sorted", m.Class, m.Name)
		}
	}
	return nil
}

// TestBounds: files made to cost much.
func TestBounds(t *testing.T) {
	for name, code := range map[string]string{
		"calls":                  "call rb_define_method@plt\n.fill 4400000,5,0xffffffffe8",
		"functions of calls":     ".rept 2000\n.cfi_endproc\n.cfi_startproc\n.rept 200\ncall rb_define_method@plt\n.endr\n.endr",
		"places":                 "call rb_define_method@plt\n.rept 100000\njne .+2\n.endr",
		"places and stack":       "call rb_define_method@plt\nxor %eax,%eax\n.rept 100\npush %rax\n.endr\n.rept 8000\njne .+2\n.endr",
		"a loop":                 "call rb_define_method@plt\n1:\n.set n,0\n.rept 4000\nje 1b\npush %rax\njne 2f\nmov $n,%eax\n.set n,n+1\n.endr\n2: jmp 1b",
		"jumps to each other":    ".rept 20000\n.cfi_endproc\n.cfi_startproc\njne .+2\njne .+2\ncall rb_define_method@plt\n.endr",
		"what is not understood": ".rept 100000\ncall rb_define_method@plt\n.byte 0x06\n.endr",
	} {
		dir := t.TempDir()
		source, path := filepath.Join(dir, "big.s"), filepath.Join(dir, "big.so")
		text := ".globl big\nbig:\n.cfi_startproc\n" + code + "\nret\n.cfi_endproc\n.section .note.GNU-stack\n"
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		output(t, "gcc", "-shared", "-nostdlib", "-o", path, source)
		e, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		start := time.Now()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err = look(e)
		runtime.ReadMemStats(&after)
		got := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %v, %d MiB, %v", name, time.Since(start).Round(time.Millisecond), got>>20, err)
		if got > 512<<20 || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %d MiB were allocated, %v", name, got>>20, err)
		}
	}
}

// FuzzOpen changes bytes of an extension that a compiler made: one byte at each
// place that the fuzzer says, so that most of the file stays in order.
func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "extension.so")
	output(f, "gcc", "-O2", "-w", "-std=gnu17", "-shared", "-fPIC", "-s", "-o", path, "testdata/extension.c")
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{0x10, 0x00, 0xff, 0x40, 0x10, 0xe9, 0x00, 0x20, 0x7f})
	f.Fuzz(func(t *testing.T, changes []byte) {
		file := bytes.Clone(good)
		for ; len(changes) >= 3; changes = changes[3:] { // where, and what
			file[(int(changes[0])|int(changes[1])<<8)%len(file)] = changes[2]
		}
		e, err := elf.NewFile(bytes.NewReader(file))
		if err != nil {
			return
		}
		if err := look(e); err != nil && !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	})
}

func BenchmarkMethods(b *testing.B) {
	for _, path := range rubyFiles(b) {
		e, err := elf.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close()
		b.Run(filepath.Base(path), func(b *testing.B) {
			for b.Loop() {
				if f, err := Open(e); err != nil || f == nil {
					b.Skip("no methods")
				} else if _, err := f.Methods(all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOthers is what a file without methods costs.
func BenchmarkOthers(b *testing.B) {
	e, err := elf.Open(tool(b, "objdump"))
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	for b.Loop() {
		if f, err := Open(e); err != nil || f != nil {
			b.Fatal(f, err)
		}
	}
}

// TestEnds compares with what objdump and readelf say of Ruby's own file.
func TestEnds(t *testing.T) {
	path := rubyFiles(t)[0]
	f := open(t, path)
	hex := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	type exit struct {
		at, to uint64
		always bool
	}
	type function struct {
		start, end uint64
		rets       []uint64
		jumps      []exit
		indirect   bool
	}
	var functions []*function
	for _, m := range regexp.MustCompile(`pc=([0-9a-f]+)\.\.([0-9a-f]+)`).FindAllStringSubmatch(output(t, "readelf", "--debug-dump=frames", path), -1) {
		functions = append(functions, &function{start: hex(m[1]), end: hex(m[2])})
	}
	slices.SortFunc(functions, func(a, b *function) int { return cmp.Compare(a.start, b.start) })
	in := func(addr uint64) *function {
		i, ok := slices.BinarySearchFunc(functions, addr, func(f *function, addr uint64) int { return cmp.Compare(f.start, addr) })
		if !ok {
			i--
		}
		if i < 0 || addr >= functions[i].end {
			return nil
		}
		return functions[i]
	}
	lines := map[uint64]string{} // instructions by address
	var called []uint64          // or jumped to
	stubs := map[uint64]string{} // names of other functions, by the address of the stub
	line := regexp.MustCompile(`^ *([0-9a-f]+):\s+(?:(?:bnd|notrack|repz) )*(ret|call|j[a-z]+) *(\*)?(?:([0-9a-f]+) <([^>]*)>)?`)
	for text := range strings.Lines(output(t, "objdump", "-d", "--no-show-raw-insn", path)) {
		if addr, instruction, ok := strings.Cut(strings.TrimSpace(text), ":\t"); ok {
			lines[hex(addr)] = strings.Join(strings.Fields(instruction), " ")
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		at := in(hex(m[1]))
		if m[4] != "" {
			called = append(called, hex(m[4]))
			if name, ok := strings.CutSuffix(m[5], "@plt"); ok {
				stubs[hex(m[4])] = name
			}
		}
		switch {
		case at == nil || m[2] == "call":
		case m[2] == "ret":
			at.rets = append(at.rets, hex(m[1]))
		case m[3] == "*" || m[4] == "":
			at.indirect = true
		default:
			to := hex(m[4])
			if to < at.start || to >= at.end {
				at.jumps = append(at.jumps, exit{hex(m[1]), to, m[2] == "jmp"})
			}
		}
	}
	own := func(addr uint64) (uint64, bool) {
		if name := stubs[addr]; name != "" {
			return f.Symbol(name)
		}
		return addr, true
	}
	uses := map[uint64]int{}
	for _, addr := range called {
		if to, ok := own(addr); ok {
			uses[to]++
		}
	}
	back, err := f.Jumps()
	if err != nil || len(back) == 0 {
		t.Errorf("the stack pointer is set back at %x, %v", back, err)
	}
	methods, err := f.Methods(all)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for _, m := range methods {
		at, depth := f.Entry(m.Func)
		if at == m.Func && depth == 0 {
			continue
		}
		moved++
		// What objdump says stands in front of it.
		room := uint64(0)
		for addr, text := range lines {
			if addr >= m.Func && addr < at {
				if n, ok := strings.CutPrefix(text, "sub "); ok && strings.HasSuffix(n, ",%rsp") {
					room += hex(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(n), "$0x"), ",%rsp"))
				} else if !regexp.MustCompile(`^(mov|lea|xor|test|cmp|movs|movz|endbr64|nop)`).MatchString(text) || strings.HasSuffix(text, ",%rsp") {
					t.Errorf("%s#%s: %q stands in front of its probe", m.Class, m.Name, text)
				}
			}
		}
		if room != depth || !regexp.MustCompile(`^(push|call) `).MatchString(lines[at]) {
			t.Errorf("%s#%s: a probe at %q, %d bytes deep, want %d", m.Class, m.Name, lines[at], depth, room)
		}
	}
	if moved < 100 {
		t.Errorf("only %d probes stand behind the beginning", moved)
	}
	compared, others, early := 0, 0, 0
	for _, m := range methods {
		var want []uint64
		seen := map[*function]bool{}
		told := true
		for todo := []uint64{m.Func}; len(todo) > 0 && told; {
			part := in(todo[0])
			todo = todo[1:]
			told = part != nil && !part.indirect // a switch is for TestExtension
			if !told || seen[part] {
				continue
			}
			seen[part] = true
			want = append(want, part.rets...)
			for _, j := range part.jumps {
				to, ok := own(j.to)
				if uses[to] > shared/2 && uses[to] < 2*shared {
					told = false // uses that are no calls count too
					break
				}
				switch f := in(to); {
				case ok && (!j.always || f == nil || f.start != to || uses[to] <= shared):
					todo = append(todo, to)
				case j.always:
					want = append(want, j.at)
					early++
				default:
					told = false
				}
			}
		}
		if !told {
			continue
		}
		compared++
		if len(seen) > 1 {
			others++
		}
		slices.Sort(want)
		ends, err := f.Ends(m.Func)
		if err != nil || !slices.Equal(ends, want) {
			t.Errorf("%s#%s: %x, %v; want %x", m.Class, m.Name, ends, err, want)
		}
	}
	t.Logf("%d of %d methods compared, %d of which have other parts or jump to other functions; %d jumps are ends", compared, len(methods), others, early)
	if compared < 100 || others < 10 || early < 10 {
		t.Error("that is too few to mean anything")
	}
}
