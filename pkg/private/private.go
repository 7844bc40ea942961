// Package private creates files and directories that nobody but their owner
// can read, also where others may have put something under the same name
// before, as in /tmp.
package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Create opens a file to write: a new one, of mode 0600, or one that is there
// and that nobody else can read, name or have open, which is emptied.
//
// What is there must be the user's: a regular file that has no second name, or
// a FIFO. A character device such as /dev/null or a terminal will do as well.
// A symbolic link is refused, but /dev/stdout, /dev/stderr and /dev/fd/N are
// the descriptors that they stand for. Nothing that is refused is changed.
func Create(name string) (*os.File, error) {
	f, err := create(name)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return f, nil
}

func create(name string) (*os.File, error) {
	if fd, ok := descriptor(name); ok {
		return duplicate(fd, name)
	}
	if strings.HasSuffix(name, "/") {
		return nil, unix.EISDIR
	}
	// All that is done below is done in one directory, whatever its name is
	// made to mean in the meantime.
	dir, err := unix.Open(filepath.Dir(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	base := filepath.Base(name)
	for range 10 { // others may create and remove the file at the same time
		f, err := openExisting(dir, base, name)
		if err == nil || !errors.Is(err, unix.ENOENT) {
			return f, err
		}
		if f, err = openAt(dir, base, name, unix.O_CREAT|unix.O_EXCL); err == nil || !errors.Is(err, unix.EEXIST) {
			return f, err
		}
	}
	return nil, errors.New("others create and remove it again and again")
}

// openExisting opens what is there, empty. Its error is ENOENT when there is
// nothing, or nothing more.
func openExisting(dir int, base, name string) (*os.File, error) {
	f, err := openAt(dir, base, name, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, errors.New("it is a symbolic link; name the file itself")
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil {
		err = check(st)
	}
	if err == nil && st.Mode().IsRegular() {
		if st.Mode()&0o077 != 0 {
			// Somebody may have it open, and would read what comes.
			f.Close()
			if err := unix.Unlinkat(dir, base, 0); err != nil {
				return nil, fmt.Errorf("others can read it, and it cannot be replaced: %w", err)
			}
			return nil, unix.ENOENT
		}
		if err = f.Chmod(0o600); err == nil {
			err = f.Truncate(0)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openAt opens a file without any effect on what is there, and without waiting.
func openAt(dir int, base, name string, flags int) (*os.File, error) {
	flags |= unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	for {
		fd, err := unix.Openat(dir, base, flags, 0o600)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

// check says why nothing should be written into a file.
func check(st fs.FileInfo) error {
	switch st.Mode().Type() {
	case fs.ModeDevice | fs.ModeCharDevice: // only root makes devices
		return nil
	case 0, fs.ModeNamedPipe:
	default:
		return errors.New("it is neither a regular file nor a FIFO nor a character device")
	}
	sys := st.Sys().(*syscall.Stat_t)
	if sys.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("it belongs to another user (uid %d); remove it first, or choose another name", sys.Uid)
	}
	if st.Mode().IsRegular() && sys.Nlink > 1 {
		return errors.New("it has another name too (a hard link); remove it first, or choose another name")
	}
	return nil
}

// descriptor is the one that a name under /dev stands for.
func descriptor(name string) (fd int, ok bool) {
	switch name {
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if n, err := strconv.ParseUint(strings.TrimPrefix(name, dir), 10, 31); err == nil && strings.HasPrefix(name, dir) {
			return int(n), true
		}
	}
	return 0, false
}

func duplicate(fd int, name string) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(dup), name), nil
}

// Dir opens a directory, and makes it (mode 0700) when it is not there. It must
// be the user's, not a symbolic link, and closed to everybody else.
func Dir(name string) (*os.Root, error) {
	for len(name) > 1 && strings.HasSuffix(name, "/") { // Lstat would follow a link
		name = name[:len(name)-1]
	}
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	named, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !named.IsDir() {
		return nil, fmt.Errorf("%s is no directory (a symbolic link to one will not do)", name)
	}
	dir, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if err := checkDir(dir, named); err != nil {
		dir.Close()
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return dir, nil
}

// checkDir says why a directory that was opened is not private, or another one
// than was named.
func checkDir(dir *os.Root, named fs.FileInfo) error {
	st, err := dir.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(st, named) {
		return errors.New("was exchanged while it was opened")
	}
	if uid := st.Sys().(*syscall.Stat_t).Uid; uid != uint32(os.Geteuid()) {
		return fmt.Errorf("belongs to another user (uid %d); choose another name", uid)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return errors.New("must be a directory that only its owner can read (mode 0700)")
	}
	return nil
}
