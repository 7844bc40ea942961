// Package ruby marks listed methods of the Ruby programs of a command: it puts a
// small Ruby file in front of them.
package ruby

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"vivarium/pkg/probe/spans"
)

// Provider is the provider. The methods mark themselves, and those written in C too.
var Provider = spans.Kind{Name: "ruby", New: func(string) (*spans.Provider, error) {
	return &spans.Provider{
		With: []string{"markers"}, Without: []string{"ruby-c"}, Methods: Methods, Reports: true,
		Command: "of a Ruby that runs already, --spans auto shows the methods that are written in C",
		Prepare: prepare,
	}, nil
}}

// Methods is vivarium's list: what matters for a security review.
var Methods = func() []string {
	var list []string
	for class, methods := range map[string]string{
		"Socket": "*", "BasicSocket": "*", "IPSocket": "*", "TCPSocket": "*", "UDPSocket": "*", "UNIXSocket": "*",
		"Signal": "*", "Process": "*", "Process::UID": "*", "Process::GID": "*", "Net::HTTP": "*",
		"File":        "open new write binwrite delete unlink rename truncate chmod lchmod chown lchown symlink link readlink realpath realdirpath mkfifo mknod utime",
		"Dir":         "mkdir rmdir delete unlink chdir chroot glob",
		"Kernel":      "system require require_relative load eval",
		"Object":      "instance_eval instance_exec",
		"BasicObject": "instance_eval instance_exec", // where Ruby has them
		"ENV":         "[] fetch key? []= store delete clear replace",
	} {
		for m := range strings.FieldsSeq(methods) {
			list = append(list, class+"#"+m)
		}
	}
	return list
}()

// prepare puts the file in front of the command's Ruby programs.
func prepare(allow, env []string) (changed []string, remove func() error, err error) {
	list, err := methods(allow)
	if err != nil {
		return nil, nil, err
	}
	f, err := newFiles(list, allow != nil)
	if err != nil {
		return nil, nil, err
	}
	return f.environ(env), f.remove, nil
}

// methods is the list of methods as the file takes it: it has to know the class by
// its name.
func methods(allow []string) ([]string, error) {
	if allow == nil {
		return Methods, nil
	}
	for _, p := range allow {
		class, method, ok := strings.Cut(p, "#")
		if !ok || class == "" || method == "" || strings.Contains(class, "*") || method != "*" && strings.Contains(method, "*") {
			return nil, fmt.Errorf("%q: with the ruby provider it must be CLASS#METHOD or CLASS#*", p)
		}
	}
	return allow, nil
}

// The Ruby file that marks listed methods.
//
//go:embed spans.rb
var code []byte

// files is what is put in front of the Ruby programs of a command: a
// directory of ours with the file above and one that tells it the list.
type files struct {
	dir  string
	lock *os.File // while viv-probe lives
}

// The files in it, and its mode once they are there.
const (
	codeFile  = "spans.rb"
	startFile = "start.rb"
	dirMode   = 0o711
)

// newFiles writes them to where every user can read them and only we can
// write.
func newFiles(list []string, report bool) (r *files, err error) {
	tmp := os.TempDir()
	if strings.ContainsAny(tmp, " \t") || !reachable(tmp) { // RUBYOPT is split at blanks
		tmp = "/tmp"
	}
	removeLeftovers(tmp)
	dir, err := os.MkdirTemp(tmp, prefix)
	if err != nil {
		return nil, fmt.Errorf("make the files for Ruby: %w", err)
	}
	r = &files{dir: dir}
	if r.lock, err = lock(dir); err != nil {
		return nil, fmt.Errorf("make the files for Ruby: %w", errors.Join(err, r.remove()))
	}
	var b strings.Builder
	// A Ruby that cannot do it runs as it would have.
	b.WriteString("begin\n  require_relative \"spans\"\n  VivSpans.install([\n")
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, m := range list {
		fmt.Fprintf(&b, "    '%s',\n", quote.Replace(m))
	}
	fmt.Fprintf(&b, "  ], report: %t)\nrescue StandardError, ScriptError => e\n  warn \"viv-probe: methods of this Ruby are not marked: #{e.message}\"\nend\n", report)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, codeFile), code, 0o644),
		os.WriteFile(r.start(), []byte(b.String()), 0o644),
		os.Chmod(filepath.Join(dir, codeFile), 0o644), // whatever the umask
		os.Chmod(r.start(), 0o644),
		os.Chmod(dir, dirMode),
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

func (r *files) start() string { return filepath.Join(r.dir, startFile) }

// environ is the environment with the files in it.
func (r *files) environ(env []string) []string {
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

// remove removes them.
func (r *files) remove() error {
	err := os.RemoveAll(r.dir)
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
	}
	return err
}
