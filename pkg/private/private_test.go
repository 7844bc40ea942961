package private

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that owns nothing else.
const nobody = 65534

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files to another user")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a file with that content.
func write(t *testing.T, name string, mode os.FileMode) string {
	t.Helper()
	must(t, os.WriteFile(name, []byte("old"), 0o600))
	must(t, os.Chmod(name, mode))
	return name
}

// created writes "new" by Create and returns what the file then holds.
func created(t *testing.T, name string) string {
	t.Helper()
	f, err := Create(name)
	must(t, err)
	_, err = f.WriteString("new")
	must(t, err)
	must(t, f.Close())
	b, err := os.ReadFile(name)
	must(t, err)
	return string(b)
}

func TestCreate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	for _, name := range []string{dir + "/missing", write(t, dir+"/private", 0o600), write(t, dir+"/readable", 0o644), write(t, dir+"/program", 0o700)} {
		if got := created(t, name); got != "new" {
			t.Errorf("%s holds %q", name, got)
		}
		if st, _ := os.Stat(name); st.Mode() != 0o600 {
			t.Errorf("%s has mode %v", name, st.Mode())
		}
	}
	t.Chdir(dir)
	if got := created(t, "relative"); got != "new" {
		t.Errorf("a relative name: %q", got)
	}
}

// Who has opened a file while others could read it does not read what is
// written by Create.
func TestCreateOpened(t *testing.T) {
	name := write(t, t.TempDir()+"/f", 0o644)
	reader, err := os.Open(name)
	must(t, err)
	defer reader.Close()
	created(t, name)
	if b, err := io.ReadAll(reader); err != nil || string(b) != "old" {
		t.Errorf("it reads %q, %v", b, err)
	}
}

// Nothing of what is refused is changed.
func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/linked", 0o600)
	must(t, os.Link(dir+"/linked", dir+"/second"))
	must(t, os.Symlink(write(t, dir+"/target", 0o600), dir+"/symlink"))
	must(t, os.Symlink(dir+"/nothing", dir+"/dangling"))
	must(t, os.Mkdir(dir+"/dir", 0o700))
	must(t, syscall.Mkfifo(dir+"/unread", 0o600))
	for name, want := range map[string]string{
		"/linked":    "it has a second hard link",
		"/symlink":   "it is a symbolic link",
		"/dangling":  "it is a symbolic link",
		"/dir":       "is a directory",
		"/new/":      "is a directory",
		"/none/file": "no such file or directory",
		"/unread":    "no such device or address", // a FIFO that nobody reads
	} {
		if f, err := Create(dir + name); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "create "+dir) {
			t.Errorf("%s: %v %v, want %s", name, f, err, want)
		}
	}
	for _, name := range []string{"/linked", "/target"} {
		if b, _ := os.ReadFile(dir + name); string(b) != "old" {
			t.Errorf("%s holds %q", name, b)
		}
	}
	if _, err := os.Lstat(dir + "/nothing"); !os.IsNotExist(err) {
		t.Errorf("what the symbolic link names was made: %v", err)
	}
}

func TestCreateRefusesOthers(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o1777)) // fs.protected_regular and _fifos concern these
	for name, mode := range map[string]os.FileMode{"readable": 0o666, "unreadable": 0o600} {
		must(t, os.Chown(write(t, dir+"/"+name, mode), nobody, nobody))
	}
	must(t, syscall.Mkfifo(dir+"/fifo", 0o666))
	must(t, os.Chown(dir+"/fifo", nobody, nobody))
	reader, err := os.OpenFile(dir+"/fifo", os.O_RDWR, 0)
	must(t, err)
	defer reader.Close()
	for _, name := range []string{"readable", "unreadable", "fifo"} {
		if f, err := Create(dir + "/" + name); err == nil || !strings.Contains(err.Error(), "it belongs to another user (uid 65534)") {
			t.Errorf("%s: %v %v", name, f, err)
		}
	}
	if b, _ := os.ReadFile(dir + "/readable"); string(b) != "old" {
		t.Errorf("it holds %q", b)
	}
	block := dir + "/block"
	if err := syscall.Mknod(block, syscall.S_IFBLK|0o600, 7<<8|250); err == nil {
		if f, err := Create(block); err == nil {
			t.Errorf("a block device is taken: %v", f.Name())
		}
	}
}

func TestCreateSpecial(t *testing.T) {
	f, err := Create("/dev/null")
	must(t, err)
	_, err = f.WriteString("x")
	must(t, err)
	must(t, f.Close())

	fifo := t.TempDir() + "/fifo"
	must(t, syscall.Mkfifo(fifo, 0o600))
	reader, err := os.OpenFile(fifo, os.O_RDWR, 0)
	must(t, err)
	defer reader.Close()
	f, err = Create(fifo)
	must(t, err)
	_, err = f.WriteString("through")
	must(t, err)
	b := make([]byte, 7)
	_, err = io.ReadFull(reader, b)
	must(t, err)
	if string(b) != "through" {
		t.Errorf("the FIFO gives %q", b)
	}
	must(t, f.Close())

	for _, name := range []string{"/dev/fd/999", "/proc/self/fd/999"} {
		if f, err := Create(name); err == nil || !strings.Contains(err.Error(), "bad file descriptor") {
			t.Errorf("%s: %v %v", name, f, err)
		}
	}
}

// TestCreateStdout runs itself with a pipe as stdout.
func TestCreateStdout(t *testing.T) {
	if name := os.Getenv("VIV_TEST_CREATE"); name != "" {
		f, err := Create(name)
		must(t, err)
		f.WriteString("written")
		os.Exit(0)
	}
	for _, name := range []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"} {
		cmd := exec.Command(os.Args[0], "-test.run=TestCreateStdout")
		cmd.Env = append(os.Environ(), "VIV_TEST_CREATE="+name)
		if out, err := cmd.Output(); err != nil || string(out) != "written" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/there", 0o700))
	for _, name := range []string{"/new", "/there", "/there/", "/slash/"} {
		d, err := Dir(dir + name)
		must(t, err)
		must(t, d.WriteFile("f", nil, 0o600))
		d.Close()
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}

func TestDirRefuses(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink(dir, dir+"/link"))
	write(t, dir+"/file", 0o600)
	cases := map[string]string{
		"/link":    "/link is not a directory",
		"/link/":   "/link is not a directory",
		"/file":    "/file is not a directory",
		"/none/of": "no such file or directory",
	}
	for name, mode := range map[string]os.FileMode{"/group": 0o750, "/listed": 0o704, "/sticky": 0o777 | os.ModeSticky, "/written": 0o722} {
		must(t, os.Mkdir(dir+name, 0o700))
		must(t, os.Chmod(dir+name, mode))
		cases[name] = name + " is accessible to other users; change its mode to 0700"
	}
	if os.Geteuid() == 0 {
		must(t, os.Mkdir(dir+"/other", 0o700))
		must(t, os.Chown(dir+"/other", nobody, nobody))
		cases["/other"] = "/other belongs to another user (uid 65534)"
	}
	for name, want := range cases {
		if d, err := Dir(dir + name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v, want %s", name, d, err, want)
		}
	}
}
