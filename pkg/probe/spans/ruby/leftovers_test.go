package ruby

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLeftovers: of what others left, only our own directories without a viv-probe
// are removed, and nothing in any other thing of such a name.
func TestLeftovers(t *testing.T) {
	tmp := t.TempDir()
	kept := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	made := func(name string, mode os.FileMode, files ...string) {
		dir := filepath.Join(tmp, prefix+name)
		must(os.Mkdir(dir, 0o700))
		for _, f := range files {
			must(os.WriteFile(filepath.Join(dir, f), nil, 0o644))
		}
		must(os.Chmod(dir, mode))
	}
	made("gone", dirMode, codeFile, startFile)
	made("empty", dirMode)
	made("being-made", 0o700, codeFile)
	made("writable", 0o777, codeFile, startFile)
	made("sticky", 0o711|os.ModeSetgid, codeFile)
	made("more", dirMode, codeFile, startFile, "precious")
	must(os.Mkdir(filepath.Join(tmp, prefix+"below"), 0o700))
	must(os.Mkdir(filepath.Join(tmp, prefix+"below", codeFile), 0o700))
	must(os.Chmod(filepath.Join(tmp, prefix+"below"), dirMode))
	made("alive", dirMode, codeFile, startFile)
	alive, err := lock(filepath.Join(tmp, prefix+"alive"))
	must(err)
	defer alive.Close()
	if os.Geteuid() == 0 {
		made("another's", dirMode, codeFile, startFile)
		must(os.Chown(filepath.Join(tmp, prefix+"another's"), 65534, 65534))
	}
	must(os.WriteFile(filepath.Join(kept, codeFile), nil, 0o644))
	must(os.Chmod(kept, dirMode))
	must(os.Symlink(kept, filepath.Join(tmp, prefix+"link")))
	must(os.Mkdir(filepath.Join(tmp, "other"), dirMode))
	must(os.WriteFile(filepath.Join(tmp, prefix+"file"), nil, 0o644))
	must(unix.Mkfifo(filepath.Join(tmp, prefix+"fifo"), 0o644))
	made("needed", dirMode, codeFile, startFile)
	needs := exec.Command("sleep", "60")
	needs.Env = (&files{dir: filepath.Join(tmp, prefix+"needed")}).environ(nil)
	must(needs.Start())

	left := func() map[string]bool {
		entries, err := os.ReadDir(tmp)
		must(err)
		names := map[string]bool{}
		for _, e := range entries {
			names[e.Name()] = true
		}
		return names
	}
	before := left()
	removeLeftovers(tmp)
	after := left()
	for name := range before {
		if gone := name == prefix+"gone" || name == prefix+"empty"; gone == after[name] {
			t.Errorf("%s: there is %t", name, after[name])
		}
	}
	for _, file := range []string{filepath.Join(kept, codeFile), filepath.Join(tmp, prefix+"more", "precious"), filepath.Join(tmp, prefix+"alive", startFile), filepath.Join(tmp, prefix+"needed", startFile)} {
		if _, err := os.Lstat(file); err != nil {
			t.Error(err)
		}
	}
	needs.Process.Kill()
	needs.Wait()
	alive.Close()
	removeLeftovers(tmp)
	after = left()
	for _, name := range []string{"needed", "alive"} {
		if after[prefix+name] {
			t.Errorf("%s is still there, though nobody needs it", name)
		}
	}
}

// TestManyLeftovers: a directory in which others made very many things costs
// little time, and there is an end to what is removed at once.
func TestManyLeftovers(t *testing.T) {
	tmp := t.TempDir()
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(tmp, fmt.Sprint(prefix, "x", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxLeftovers + 10 {
		dir := filepath.Join(tmp, fmt.Sprint(prefix, i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, dirMode); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	removeLeftovers(tmp)
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3010 {
		t.Errorf("%d are left", len(entries))
	}
}
