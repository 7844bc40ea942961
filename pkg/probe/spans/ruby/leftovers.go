package ruby

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// prefix is what the names of our directories begin with.
const prefix = "viv-ruby-"

// The bounds of what is looked at in a directory where everybody makes files, and
// of the time in which it is found out whether a process still needs ours: its
// memory may be such that a read of it waits.
const (
	maxNames     = 65536
	maxLeftovers = 256
	maxLook      = time.Second
	maxEnviron   = 8 << 20 // bytes; a process can make its own as large as it likes
)

// lock marks a directory as one whose viv-probe lives: the lock goes with it,
// however it ends.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// removeLeftovers removes what viv-probes that were killed left in tmp, unless a
// process may still start a Ruby with it. What cannot be removed stays: it is
// nothing that this viv-probe needs.
func removeLeftovers(tmp string) {
	d, err := os.Open(tmp)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxNames) // what could be read
	left := map[string]*os.File{}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) && len(left) < maxLeftovers {
			if f := leftover(d, name); f != nil {
				defer f.Close()
				left[name] = f
			}
		}
	}
	if len(left) == 0 {
		return
	}
	needed := make(chan map[string]bool, 1)
	go func() { needed <- inEnvironments(left) }()
	select {
	case keep := <-needed:
		for name, f := range left {
			if !keep[name] {
				removeLeftover(d, name, f)
			}
		}
	case <-time.After(maxLook):
	}
}

// leftover opens a directory whose viv-probe does not live any more; nil: it is
// another thing. No name is followed, so that nobody can have us open, lock or
// remove what he likes.
func leftover(tmp *os.File, name string) *os.File {
	fd, err := unix.Openat(int(tmp.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	// Until it has this mode, it is made.
	if unix.Fstat(fd, &st) != nil || st.Uid != uint32(os.Geteuid()) || st.Mode&0o7777 != dirMode || unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		f.Close()
		return nil
	}
	return f
}

// removeLeftover removes our files in a directory, and the directory if it has
// no others.
func removeLeftover(tmp *os.File, name string, dir *os.File) {
	for _, file := range []string{codeFile, startFile} {
		if err := unix.Unlinkat(int(dir.Fd()), file, 0); err != nil && err != unix.ENOENT {
			return
		}
	}
	// An error says that it is not ours alone.
	_ = unix.Unlinkat(int(tmp.Fd()), name, unix.AT_REMOVEDIR)
}

// inEnvironments says which names are in the environments of processes.
func inEnvironments(names map[string]*os.File) map[string]bool {
	found := map[string]bool{}
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is right
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil { // it has ended
			continue
		}
		env, _ := io.ReadAll(io.LimitReader(f, maxEnviron)) // what could be read
		f.Close()
		for name := range names {
			if bytes.Contains(env, []byte(name+"/"+startFile)) {
				found[name] = true
			}
		}
	}
	return found
}
