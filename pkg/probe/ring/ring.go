// Package ring reads a ring buffer of BPF programs (Documentation/bpf/ringbuf.rst
// of the kernel). Unlike cilium's reader it returns, and does not spin, while a
// record at the front is reserved and not complete: whoever writes it may have been
// stopped.
package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// State is what is at the front of a ring.
type State uint8

// The states of a ring.
const (
	Empty  State = iota
	Record       // a record
	Busy         // one that is not complete yet
)

// The header of a record: its length with two flags, and a number of the kernel's.
const (
	headerSize  = 8
	busyBit     = 1 << 31
	discardBit  = 1 << 30
	recordAlign = 8
)

// Reader reads a ring. Its methods are for one goroutine.
type Reader struct {
	consumer, producer *uint64 // positions that only grow
	data               []byte  // twice in a row, so that each record is in one piece
	mask               uint64
	next               uint64 // where the record behind the last one begins
	record             []byte // the last one: the ring itself cannot be written to
	epoll              int
	events             []unix.EpollEvent
	mapped             [][]byte
}

// New makes a Reader of a map of type BPF_MAP_TYPE_RINGBUF. The caller closes it.
func New(m *ebpf.Map) (_ *Reader, err error) {
	if m.Type() != ebpf.RingBuf {
		return nil, fmt.Errorf("a map of type %v is no ring buffer", m.Type())
	}
	r := &Reader{epoll: -1, events: make([]unix.EpollEvent, 1)}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	page, size := unix.Getpagesize(), int(m.MaxEntries())
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map its consumer's page: %w", err)
	}
	r.mapped = append(r.mapped, consumer)
	producer, err := unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map its records: %w", err)
	}
	r.mapped = append(r.mapped, producer)
	r.set(consumer, producer, producer[page:])
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, m.FD(), &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return r, nil
}

// set sets what a Reader reads.
func (r *Reader) set(consumer, producer, data []byte) {
	r.consumer, r.producer = (*uint64)(unsafe.Pointer(&consumer[0])), (*uint64)(unsafe.Pointer(&producer[0]))
	r.data, r.mask = data, uint64(len(data)/2-1)
	r.next = atomic.LoadUint64(r.consumer)
}

// Next gives the last record back to the ring and returns the one behind it, if its
// state is Record. raw is valid until the next call; the caller may change it.
func (r *Reader) Next() (raw []byte, state State) {
	for {
		if *r.consumer != r.next { // which only we write
			atomic.StoreUint64(r.consumer, r.next)
		}
		if atomic.LoadUint64(r.producer) == r.next {
			return nil, Empty
		}
		at, n, flags := r.header(r.next)
		if flags&busyBit != 0 {
			return nil, Busy
		}
		r.next += size(n)
		if flags&discardBit == 0 {
			r.record = append(r.record[:0], r.data[at+headerSize:at+headerSize+n]...)
			return r.record, Record
		}
	}
}

// header is that of the record at a position: where in data it begins, the length of
// what is behind it, and its flags.
func (r *Reader) header(pos uint64) (at, n uint64, flags uint32) {
	at = pos & r.mask
	v := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
	return at, uint64(v &^ (busyBit | discardBit)), v
}

// size is how much of the ring a record of n bytes takes.
func size(n uint64) uint64 { return (n + headerSize + recordAlign - 1) &^ (recordAlign - 1) }

// Waiting counts the records that are in the ring, complete or not.
func (r *Reader) Waiting() (n uint64) {
	for pos, end := r.next, atomic.LoadUint64(r.producer); pos < end; n++ {
		_, length, _ := r.header(pos)
		pos += size(length)
	}
	return n
}

// Wait waits until the programs wake the reader, but not longer than d, rounded up
// to milliseconds. It returns at once if there is a record that is complete or not.
func (r *Reader) Wait(d time.Duration) error {
	_, err := unix.EpollWait(r.epoll, r.events, int((d+time.Millisecond-1)/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	return nil
}

// Close lets go of the ring. What Next returned is not valid any more.
func (r *Reader) Close() error {
	var err error
	for _, m := range r.mapped {
		err = errors.Join(err, unix.Munmap(m))
	}
	r.mapped = nil
	if r.epoll >= 0 {
		err = errors.Join(err, unix.Close(r.epoll))
		r.epoll = -1
	}
	return err
}
