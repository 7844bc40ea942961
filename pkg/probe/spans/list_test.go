package spans

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vivarium/bpf"

	"github.com/google/go-cmp/cmp"
)

func TestReadAllow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte("# mine\nA#b\n\n  C#*  \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadAllow([]string{"X#y", "@" + file})
	if diff := cmp.Diff([]string{"X#y", "A#b", "C#*"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := ReadAllow([]string{"@" + file + "2"}); err == nil {
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
	l := NewList([]string{"A#b", "C#*"}, false)
	if len(l.globs) != 0 || l.classes["C"] != bpf.VivVerdictVERDICT_YES || l.methods[[2]string{"A", "b"}] != bpf.VivVerdictVERDICT_YES {
		t.Errorf("%+v", l)
	}
	l = NewList([]string{"A#b", "*#c", "Long" + strings.Repeat("x", 64) + "#d"}, false)
	for name, want := range map[string]bool{"A#b": true, "Z#c": true, "A#d": false, "Long" + strings.Repeat("x", 64) + "#d": true} {
		if got := l.Decide(name, nil); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for p, whole := range map[string]bool{"A#b": false, "C#*": true, strings.Repeat("A", 40) + "#" + strings.Repeat("b", 40): true} {
		if l := NewList([]string{p}, true); (len(l.globs) > 0) != whole {
			t.Errorf("%s, of probes that say it in one text: %+v", p, l)
		}
	}
}
