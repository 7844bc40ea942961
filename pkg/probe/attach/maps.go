package attach

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The bounds of what is read of a process.
const (
	maxMapsBytes = 32 << 20 // of /proc/PID/maps
	maxMapped    = 4096     // files that it has mapped executable
)

var errManyMapped = fmt.Errorf("it has more than %d files mapped", maxMapped)

// mapping is a file that a process has mapped executable.
type mapping struct {
	place
	now identity
	err error // it cannot be looked at
}

// readMaps lists the files that a process has mapped executable, each once. What
// is no regular file has no code to attach to.
func readMaps(w *watch, pid int) (list []mapping, err error) {
	at := Shown(pid)
	var f *os.File
	w.do(func() { f, err = os.Open(fmt.Sprintf("/proc/%d/maps", at)) })
	if err != nil {
		return nil, err
	}
	defer f.Close()
	seen := map[fileID]bool{}
	lines := bufio.NewScanner(io.LimitReader(timed{f, w}, maxMapsBytes))
	lines.Buffer(make([]byte, 8192), 1<<16)
	for lines.Scan() {
		p, ok := parseMap(lines.Text())
		if !ok || seen[p.id] {
			continue
		}
		if seen[p.id] = true; len(seen) > maxMapped {
			return list, errManyMapped
		}
		p.pid = at
		m := mapping{place: p}
		w.do(func() { m.now, m.err = p.look() })
		if m.err != nil && errors.Is(m.err, unix.ENOENT) && !stillMapped(at, p.mapped) {
			continue
		}
		if m.err != nil || m.now.regular() {
			list = append(list, m)
		}
	}
	return list, lines.Err()
}

// timed measures the reads.
type timed struct {
	r io.Reader
	w *watch
}

func (t timed) Read(b []byte) (n int, err error) {
	t.w.do(func() { n, err = t.r.Read(b) })
	return n, err
}

// parseMap reads a line of /proc/PID/maps; ok: a file is mapped executable. The
// addresses are as the name in map_files has them.
func parseMap(line string) (p place, ok bool) {
	// 7f..-7f.. r-xp OFFSET DEV INODE      PATH
	f := strings.SplitN(line, " ", 6)
	if len(f) < 6 || len(f[1]) < 3 || f[1][2] != 'x' || f[4] == "0" {
		return p, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	p.mapped = strings.TrimLeft(from, "0") + "-" + strings.TrimLeft(to, "0")
	p.path = strings.TrimLeft(f[5], " ")
	major, minor, _ := strings.Cut(f[3], ":")
	maj, err1 := strconv.ParseUint(major, 16, 32)
	min, err2 := strconv.ParseUint(minor, 16, 32)
	ino, err3 := strconv.ParseUint(f[4], 10, 64)
	p.id = fileID{unix.Mkdev(uint32(maj), uint32(min)), ino}
	return p, errors.Join(err1, err2, err3) == nil
}

// look says which file it is, without opening it.
func (p place) look() (identity, error) {
	if p.mapped != "" {
		id, err := identify(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/map_files/%s", p.pid, p.mapped))
		if err == nil || !errors.Is(err, os.ErrPermission) {
			return id, err
		}
	}
	fd, id, err := p.find()
	if err == nil {
		unix.Close(fd)
	}
	return id, err
}

// stillMapped reports whether a process has anything mapped there.
func stillMapped(pid int, mapped string) bool {
	_, err := os.Lstat(fmt.Sprintf("/proc/%d/map_files/%s", pid, mapped))
	return !errors.Is(err, os.ErrNotExist)
}

// Shown is the id by which /proc shows what a process has: its own, or that of a
// thread that goes on when the first has ended.
func Shown(pid int) int {
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); !errors.Is(err, os.ErrNotExist) {
		return pid
	}
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // of one that is gone there are none
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil || tid == pid {
			continue
		}
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", tid)); err == nil {
			return tid
		}
	}
	return pid
}
