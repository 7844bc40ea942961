package attach

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileID is a file, whatever its name.
type fileID struct{ dev, ino uint64 }

// identity is a file as it is at a time.
type identity struct {
	fileID
	mtime unix.StatxTimestamp
	size  uint64
	mode  uint16
	mount uint64 // the id of the mount that it was found in
}

func (i identity) regular() bool { return i.mode&unix.S_IFMT == unix.S_IFREG }

var (
	errNoFile = errors.New("not a regular file")
	errOther  = errors.New("another file has its name now")
	errFUSE   = errors.New("it is in a FUSE file system, whose server need not answer")
)

// identify does not ask the server of a file system in the network, or of FUSE.
func identify(dir int, name string) (identity, error) {
	var st unix.Statx_t
	flags := unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	const want = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_MTIME | unix.STATX_SIZE | unix.STATX_MNT_ID
	if err := unix.Statx(dir, name, flags, want, &st); err != nil {
		return identity{}, fmt.Errorf("stat: %w", err)
	}
	return identity{
		fileID: fileID{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino},
		mtime:  st.Mtime, size: st.Size, mode: st.Mode, mount: st.Mnt_id,
	}, nil
}

// place is where a file of a process is.
type place struct {
	pid    int    // by which /proc shows the process
	mapped string // its name in map_files; "": it is only known by path
	path   string // in the process's root
	id     fileID // of the mapped file, as /proc/PID/maps has it
}

// find returns a descriptor of the file that does not open it (O_PATH). It is the
// process's own, whatever its name leads to elsewhere.
func (p place) find() (fd int, id identity, err error) {
	if p.mapped != "" {
		name := fmt.Sprintf("/proc/%d/map_files/%s", p.pid, p.mapped)
		if fd, err = unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			return described(fd)
		}
		err = &os.PathError{Op: "open", Path: name, Err: err}
		if !errors.Is(err, os.ErrPermission) {
			return -1, id, err
		}
	}
	fd, byName := openBelow(p.pid, p.path, unix.O_PATH)
	if byName != nil {
		if err == nil {
			err = byName
		}
		return -1, id, err
	}
	if fd, id, byName = described(fd); byName != nil || p.mapped == "" {
		return fd, id, byName
	}
	// Some file systems have one device here and another one in /proc/PID/maps.
	anonymous := unix.Major(id.dev) == 0 && unix.Major(p.id.dev) == 0
	if id.ino != p.id.ino || id.dev != p.id.dev && !anonymous {
		unix.Close(fd)
		return -1, id, fmt.Errorf("%w (%w)", err, errOther)
	}
	return fd, id, nil
}

// described is a descriptor with what it is of.
func described(fd int) (int, identity, error) {
	id, err := identify(fd, "")
	if err != nil {
		unix.Close(fd)
		return -1, id, err
	}
	return fd, id, nil
}

// openBelow opens a path in the root of a process. Links in it are of that root,
// and none leads out of it; those of /proc are not followed.
func openBelow(pid int, path string, flags int) (int, error) {
	name := fmt.Sprintf("/proc/%d/root", pid)
	root, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 8 { // EAGAIN: something was renamed meanwhile
		var fd int
		if fd, err = unix.Openat2(root, path, &how); !errors.Is(err, unix.EAGAIN) {
			if err != nil {
				return -1, &os.PathError{Op: "open", Path: path, Err: err}
			}
			return fd, nil
		}
	}
	return -1, &os.PathError{Op: "open", Path: path, Err: err}
}

// open opens a file to read, if it is a regular one that answers.
func (p place) open() (*os.File, identity, error) {
	fd, id, err := p.find()
	if err != nil {
		return nil, id, err
	}
	defer unix.Close(fd)
	if !id.regular() {
		return nil, id, errNoFile
	}
	if inFUSE(p.pid, fd, id.mount) {
		return nil, id, errFUSE
	}
	return reopen(fd, id, p.path)
}

// reopen opens what a descriptor of find is of.
func reopen(fd int, id identity, path string) (*os.File, identity, error) {
	r, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, id, fmt.Errorf("open: a program has a lease on it: %w", err)
	}
	if err != nil {
		return nil, id, fmt.Errorf("open: %w", err)
	}
	return os.NewFile(uintptr(r), path), id, nil
}

// openOwn opens a regular file as we see it.
func openOwn(path string) (*os.File, identity, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, identity{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	id, err := identify(fd, "")
	if err != nil {
		return nil, id, fmt.Errorf("%s: %w", path, err)
	}
	if !id.regular() {
		return nil, id, fmt.Errorf("%s: %w", path, errNoFile)
	}
	return reopen(fd, id, path)
}

// inFUSE reports whether a file is in a FUSE file system. Who has asked its server
// to open or to read cannot be ended, not even by SIGKILL, before the server
// answers (fs/fuse/dev.c, request_wait_answer).
func inFUSE(pid, fd int, mount uint64) bool {
	for _, name := range []string{fmt.Sprintf("/proc/%d/mountinfo", pid), "/proc/self/mountinfo"} {
		if typ := mountType(name, mount); typ != "" {
			return isFUSE(typ)
		}
	}
	// Nobody has it mounted any more. A statfs of FUSE asks the server, too, but
	// there is nothing else that tells.
	const superMagic = 0x65735546 // FUSE_SUPER_MAGIC
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == superMagic
}

func isFUSE(typ string) bool {
	return typ == "fuse" || typ == "fuseblk" || strings.HasPrefix(typ, "fuse.")
}

// mountType is the type of the file system of a mount that is in that mountinfo;
// "": it is not.
func mountType(name string, mount uint64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	prefix := append(strconv.AppendUint(nil, mount, 10), ' ')
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 8192), 1<<20)
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), prefix) {
			continue
		}
		// 36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw
		_, rest, _ := bytes.Cut(lines.Bytes(), []byte(" - "))
		typ, _, _ := bytes.Cut(rest, []byte{' '})
		return string(typ)
	}
	return ""
}
