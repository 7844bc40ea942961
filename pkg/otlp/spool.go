package otlp

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vivarium/pkg/private"

	"golang.org/x/sys/unix"
)

// spool is a directory with a file for each batch, which holds the request in
// protobuf and nothing else. Files are written atomically. The name of a file is
// SEQUENCE-ITEMS.SIGNAL, with the sequence in 16 hexadecimal digits, so that names
// sort by age. A file whose content does not match its name is renamed to a name
// that ends in .damaged, and kept.
type spool struct {
	dir  *os.Root
	self *os.File // the directory itself, to sync and to lock it
}

// maxFile is the maximum size of a spool file, in bytes. No receiver accepts a
// request of this size.
const maxFile = 64 << 20

// openSpool opens the directory, or creates it, and returns the batches that an
// earlier process left in it, oldest first. foreign describes a file that has the
// name of a batch but is not a regular file; empty: there is none.
func openSpool(name string) (s *spool, left []*entry, foreign string, err error) {
	dir, err := private.Dir(name)
	if err != nil {
		return nil, nil, "", fmt.Errorf("open the spool: %w", err)
	}
	s = &spool{dir: dir}
	if s.self, err = dir.Open("."); err != nil {
		dir.Close()
		return nil, nil, "", fmt.Errorf("open the spool: %w", err)
	}
	if err := syscall.Flock(int(s.self.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		s.close()
		if err == syscall.EWOULDBLOCK {
			err = errors.New("another process uses it; give each viv-otlp its own directory")
		}
		return nil, nil, "", fmt.Errorf("lock the spool %s: %w", name, err)
	}
	if left, foreign, err = s.list(); err != nil {
		s.close()
		return nil, nil, "", fmt.Errorf("read the spool: %w", err)
	}
	return s, left, foreign, nil
}

func (s *spool) list() (found []*entry, foreign string, err error) {
	for {
		files, err := s.self.ReadDir(1024)
		for _, f := range files {
			name, unfinished := strings.CutSuffix(f.Name(), ".tmp")
			e, ok := parseEntry(name)
			if !ok {
				continue
			}
			st, err := f.Info()
			if err != nil { // it was removed
				continue
			}
			if !st.Mode().IsRegular() {
				foreign = fmt.Sprintf("%s is not a regular file (%v)", f.Name(), st.Mode())
				continue
			}
			if unfinished { // its process was killed while it wrote it
				s.dir.Remove(f.Name())
				continue
			}
			e.size, e.since = int(min(st.Size(), maxFile)), st.ModTime()
			found = append(found, &e)
		}
		if err == io.EOF {
			slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
			return found, foreign, nil
		}
		if err != nil {
			return nil, "", err
		}
	}
}

func (e *entry) file() string { return fmt.Sprintf("%016x-%d.%s", e.seq, e.items, e.signal) }

func parseEntry(name string) (e entry, ok bool) {
	stem, signal, _ := strings.Cut(name, ".")
	seq, items, _ := strings.Cut(stem, "-")
	var err1, err2 error
	e.seq, err1 = strconv.ParseUint(seq, 16, 62) // so that there is a next number
	e.items, err2 = strconv.Atoi(items)
	if signal == Logs.String() {
		e.signal = Logs
	}
	return e, err1 == nil && err2 == nil && 0 < e.items && e.items <= maxItems && e.file() == name
}

// create writes the file of a batch and syncs it to the disk.
func (s *spool) create(e *entry, body []byte) error {
	name := e.file()
	err := s.writeFile(name+".tmp", body)
	if err == nil {
		err = s.dir.Rename(name+".tmp", name)
	}
	if err == nil {
		err = s.self.Sync()
	}
	if err != nil {
		s.dir.Remove(name + ".tmp")
	}
	return err
}

func (s *spool) writeFile(name string, body []byte) error {
	f, err := s.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// load reads and checks a batch. If somebody replaced the file, it does not block,
// and does not read more than maxFile bytes.
func (s *spool) load(e *entry) (Batch, error) {
	b := Batch{Signal: e.signal, Items: e.items}
	fd, err := unix.Openat(int(s.self.Fd()), e.file(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return b, err
	}
	f := os.NewFile(uintptr(fd), e.file())
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return b, err
	}
	if !st.Mode().IsRegular() {
		return b, fmt.Errorf("it is not a regular file (%v)", st.Mode())
	}
	if st.Size() > maxFile {
		return b, fmt.Errorf("it has %d bytes, but a batch has at most %d", st.Size(), maxFile)
	}
	b.Body = make([]byte, st.Size())
	if _, err := io.ReadFull(f, b.Body); err != nil {
		return b, err
	}
	return b, b.check()
}

// keepDamaged renames a file whose content is not valid.
func (s *spool) keepDamaged(e *entry) error { return s.dir.Rename(e.file(), e.file()+".damaged") }
func (s *spool) remove(e *entry) error      { return s.dir.Remove(e.file()) }

func (s *spool) close() {
	s.self.Close() // also unlocks it
	s.dir.Close()
}

// entry is a waiting batch.
type entry struct {
	seq     uint64
	signal  Signal
	items   int
	size    int       // bytes
	since   time.Time // when the batch was complete
	body    []byte    // nil: it is in the spool
	renamed bool      // its file was renamed
}
