// Package private creates files and directories that only their owner can read,
// even in a directory where other users can create the same name first (/tmp).
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

// Create opens a file for writing. A new file has mode 0600. An existing regular
// file is emptied and gets that mode; if others could read it, it is replaced,
// because they may have it open.
//
// An existing file must belong to the effective user and be a regular file
// without a second hard link, or a FIFO. A character device (/dev/null, a
// terminal) may belong to anybody. A symbolic link is refused, but /dev/stdout,
// /dev/stderr and /dev/fd/N stand for their descriptors. A file that is refused
// is not changed. Every error begins with "create NAME: ".
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
	// Everything below happens in this one directory, even if somebody renames it
	// in the meantime.
	dir, err := unix.Open(filepath.Dir(name), dirAccess|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
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
	return nil, errors.New("other processes create and remove the file at the same time; choose another name")
}

// openExisting opens an existing file and empties it. Its error is ENOENT if
// there is none, or none any more.
func openExisting(dir int, base, name string) (*os.File, error) {
	f, err := openAt(dir, base, name, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) { // EMLINK on FreeBSD
		return nil, errors.New("it is a symbolic link; give the name of the file that it points to")
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
			// A process of another user may have it open and would read what
			// is written.
			f.Close()
			if err := unix.Unlinkat(dir, base, 0); err != nil {
				return nil, fmt.Errorf("other users can read it, and it cannot be replaced: %w; choose another name", err)
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

// openAt opens a file without changing it and without waiting.
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

// check returns why nothing should be written into a file.
func check(st fs.FileInfo) error {
	switch st.Mode().Type() {
	case fs.ModeDevice | fs.ModeCharDevice: // only root makes devices
		return nil
	case 0, fs.ModeNamedPipe:
	default:
		return errors.New("it is not a regular file, FIFO or character device; choose another name")
	}
	sys := st.Sys().(*syscall.Stat_t)
	if sys.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("it belongs to another user (uid %d); remove the file first, or choose another name", sys.Uid)
	}
	if st.Mode().IsRegular() && sys.Nlink > 1 {
		return errors.New("it has a second hard link; remove the file first, or choose another name")
	}
	return nil
}

// descriptor returns the descriptor that a name under /dev stands for.
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
		return nil, fmt.Errorf("duplicate descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(dup), name), nil
}

// Dir opens a directory and creates it (mode 0700) if it does not exist. An
// existing one must belong to the effective user, be accessible to nobody else,
// and not be a symbolic link. Every error names the directory.
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
		return nil, fmt.Errorf("%s is not a directory (a symbolic link to a directory is refused too)", name)
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

// checkDir returns why an opened directory is not private, or is not the one
// that the name meant before.
func checkDir(dir *os.Root, named fs.FileInfo) error {
	st, err := dir.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(st, named) {
		return errors.New("was replaced while it was opened; try again")
	}
	if uid := st.Sys().(*syscall.Stat_t).Uid; uid != uint32(os.Geteuid()) {
		return fmt.Errorf("belongs to another user (uid %d); choose another name", uid)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return errors.New("is accessible to other users; change its mode to 0700, or choose another name")
	}
	return nil
}
