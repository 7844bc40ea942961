package probe

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The Ruby file that marks listed methods.
//
//go:embed ruby/spans.rb
var rubySpans []byte

// rubyFiles is what is put in front of the Ruby programs of a command: a
// directory of ours with the file above and one that tells it the list.
type rubyFiles struct{ dir string }

// rubyList is the list of methods as the file takes it: it has to know the
// class by its name.
func (s *Spans) rubyList() ([]string, error) {
	if s.Allow == nil {
		return defaultMethods, nil
	}
	for _, p := range s.Allow {
		class, method, ok := strings.Cut(p, "#")
		if !ok || class == "" || method == "" || strings.Contains(class, "*") || method != "*" && strings.Contains(method, "*") {
			return nil, fmt.Errorf("%q: with the ruby provider it must be CLASS#METHOD or CLASS#*", p)
		}
	}
	return s.Allow, nil
}

// newRubyFiles writes them to where every user can read them and only we can
// write.
func newRubyFiles(list []string) (r *rubyFiles, err error) {
	tmp := os.TempDir()
	if strings.ContainsAny(tmp, " \t") || !reachable(tmp) { // RUBYOPT is split at blanks
		tmp = "/tmp"
	}
	dir, err := os.MkdirTemp(tmp, "viv-ruby-")
	if err != nil {
		return nil, fmt.Errorf("make the files for Ruby: %w", err)
	}
	r = &rubyFiles{dir}
	var b strings.Builder
	// A Ruby that cannot do it runs as it would have.
	b.WriteString("begin\n  require_relative \"spans\"\n  VivSpans.install([\n")
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, m := range list {
		fmt.Fprintf(&b, "    '%s',\n", quote.Replace(m))
	}
	b.WriteString("  ])\nrescue StandardError, ScriptError => e\n  warn \"viv-probe: methods of this Ruby are not marked: #{e.message}\"\nend\n")
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "spans.rb"), rubySpans, 0o644),
		os.WriteFile(r.start(), []byte(b.String()), 0o644),
		os.Chmod(filepath.Join(dir, "spans.rb"), 0o644), // whatever the umask
		os.Chmod(r.start(), 0o644),
		os.Chmod(dir, 0o711),
	)
	if err != nil {
		return nil, fmt.Errorf("make the files for Ruby: %w", errors.Join(err, r.remove()))
	}
	return r, nil
}

// reachable says whether every user can reach what is in a directory: a Ruby
// that does not find the file does not start.
func reachable(dir string) bool {
	for filepath.IsAbs(dir) {
		st, err := os.Stat(dir)
		if err != nil || st.Mode()&1 == 0 {
			return false
		}
		if dir == "/" {
			return true
		}
		dir = filepath.Dir(dir)
	}
	return false
}

func (r *rubyFiles) start() string { return filepath.Join(r.dir, "start.rb") }

// environ is the environment with the files in it.
func (r *rubyFiles) environ(env []string) []string {
	opt := "RUBYOPT=-r" + r.start()
	var out []string
	for _, e := range env {
		if old, ok := strings.CutPrefix(e, "RUBYOPT="); ok {
			opt += " " + old
			continue
		}
		out = append(out, e)
	}
	return append(out, opt)
}

func (r *rubyFiles) remove() error { return os.RemoveAll(r.dir) }
