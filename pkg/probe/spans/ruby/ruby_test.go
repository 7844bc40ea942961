package ruby

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rubyProgram finds Ruby.
func rubyProgram(t *testing.T) string {
	t.Helper()
	ruby, err := exec.LookPath("ruby")
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("VIV_TEST_PROGRAMS") != "" {
		t.Skip("ruby is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	return ruby
}

// TestRubyCannot: a Ruby in which methods cannot be marked says so and runs.
func TestRubyCannot(t *testing.T) {
	ruby := rubyProgram(t)
	r, err := newFiles([]string{"File#open", "Odd'name#x\\"}, true)
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
	if err := os.WriteFile(filepath.Join(r.dir, "spans.rb"), []byte("module VivSpans; def self.install(_, report:) = raise(ArgumentError, 'unknown event'); end"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(ruby, "-e", `puts "runs"`)
	cmd.Env = r.environ(os.Environ())
	want := "viv-probe: methods of this Ruby are not marked: unknown event\nruns\n"
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
}

// TestMethods: the file has to know each class by its name.
func TestMethods(t *testing.T) {
	if got, err := methods(nil); err != nil || len(got) != len(Methods) {
		t.Errorf("without a list: %d methods, %v", len(got), err)
	}
	want := []string{"A::B#c", "D#*"}
	if got, err := methods(want); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%q, %v", got, err)
	}
	for _, p := range []string{"A", "#b", "A#", "A*#b", "A#b*"} {
		if _, err := methods([]string{p}); err == nil || err.Error() != `"`+p+`": with the ruby provider it must be CLASS#METHOD or CLASS#*` {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestReachable(t *testing.T) {
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	if reachable(private) || !reachable("/") || reachable("tmp") {
		t.Error("a private directory can be reached by everybody, or / cannot")
	}
}
