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
)

// spool is a directory with a file per batch: its request in protobuf and
// nothing else. A file is there wholly or not at all, whenever the process
// ends. Its name is SEQUENCE-ITEMS.SIGNAL, the sequence in 16 hexadecimal
// digits, so that names sort by age.
type spool struct {
	dir  *os.Root
	self *os.File // of the directory, to sync it; locked against other processes
}

// openSpool opens the directory, makes it when it is not there, and returns
// what an earlier process left in it, oldest first.
func openSpool(name string) (*spool, []*entry, error) {
	dir, err := private.Dir(name)
	if err != nil {
		return nil, nil, fmt.Errorf("open the spool: %w", err)
	}
	s := &spool{dir: dir}
	if s.self, err = dir.Open("."); err != nil {
		dir.Close()
		return nil, nil, fmt.Errorf("open the spool: %w", err)
	}
	if err := syscall.Flock(int(s.self.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		s.close()
		if err == syscall.EWOULDBLOCK {
			err = errors.New("another process uses it")
		}
		return nil, nil, fmt.Errorf("lock the spool %s: %w", name, err)
	}
	old, err := s.list()
	if err != nil {
		s.close()
		return nil, nil, fmt.Errorf("read the spool: %w", err)
	}
	return s, old, nil
}

func (s *spool) list() ([]*entry, error) {
	var found []*entry
	for {
		files, err := s.self.ReadDir(1024)
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".tmp") {
				s.dir.Remove(f.Name()) // being written when its process was killed
				continue
			}
			e, ok := parseEntry(f.Name())
			if !ok {
				continue
			}
			st, err := f.Info()
			if err != nil || !st.Mode().IsRegular() {
				continue
			}
			e.size, e.since = int(st.Size()), st.ModTime()
			found = append(found, &e)
		}
		if err == io.EOF {
			slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (e *entry) file() string { return fmt.Sprintf("%016x-%d.%s", e.seq, e.items, e.signal) }

func parseEntry(name string) (e entry, ok bool) {
	stem, signal, _ := strings.Cut(name, ".")
	seq, items, _ := strings.Cut(stem, "-")
	var err1, err2 error
	e.seq, err1 = strconv.ParseUint(seq, 16, 63)
	e.items, err2 = strconv.Atoi(items)
	if signal == Logs.String() {
		e.signal = Logs
	}
	return e, err1 == nil && err2 == nil && e.file() == name
}

// put writes a batch; when it returns it is on the disk.
func (s *spool) put(e *entry, body []byte) error {
	name := e.file()
	err := s.write(name+".tmp", body)
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

func (s *spool) write(name string, body []byte) error {
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

func (s *spool) get(e *entry) ([]byte, error) { return s.dir.ReadFile(e.file()) }
func (s *spool) remove(e *entry) error        { return s.dir.Remove(e.file()) }

func (s *spool) close() {
	s.self.Close() // unlocks it
	s.dir.Close()
}

// entry is a batch that waits.
type entry struct {
	seq    uint64
	signal Signal
	items  int
	size   int       // bytes
	since  time.Time // when it was closed
	body   []byte    // nil: it is in the spool
}
