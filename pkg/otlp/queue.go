package otlp

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// bounds limit the batches that wait for their receiver.
type bounds struct {
	memory      int64         // bytes in memory
	disk        int64         // bytes in the spool
	age         time.Duration // in the spool
	fullTimeout time.Duration // how long a full queue waits for a receiver that accepts nothing
	inFlight    int           // requests to a receiver at a time
}

var defaultBounds = bounds{memory: 32 << 20, disk: 4 << 30, age: 48 * time.Hour, inFlight: 4}

// queue holds complete batches until they are delivered, oldest first, in memory
// or in a spool. When it is full, put waits as long as the receiver accepts a batch
// within fullTimeout, and drops batches otherwise.
type queue struct {
	bounds
	spool *spool // nil: everything is in memory
	warn  func(format string, args ...any)

	mu             sync.Mutex
	changed        chan struct{} // closed and replaced at every change
	waiting        [2][]*entry   // by signal
	memory         int64         // bytes in memory
	disk           int64         // bytes in the spool
	next           uint64        // sequence of the next entry
	progress       time.Time     // when the last entry was finished
	closed         bool
	spoolFailed    bool // the spool cannot be written, and that was reported
	damageReported bool // a spool file is damaged, and that was reported
}

func newQueue(dir string, b bounds, warn func(string, ...any)) (*queue, error) {
	q := &queue{bounds: b, warn: warn, changed: make(chan struct{}), progress: time.Now()}
	if dir != "" {
		s, old, foreign, err := openSpool(dir)
		if err != nil {
			return nil, err
		}
		if foreign != "" {
			warn("spool %s: %s; such files are neither sent nor removed", dir, foreign)
		}
		q.spool = s
		for _, e := range old {
			q.waiting[e.signal] = append(q.waiting[e.signal], e)
			q.disk += int64(e.size)
			q.next = e.seq + 1
		}
	}
	return q, nil
}

// notify wakes all waiting goroutines.
func (q *queue) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// put adds a batch. It returns false if the queue is full. The batches of one
// signal are put by one goroutine at a time.
func (q *queue) put(b Batch) bool {
	e := &entry{signal: b.Signal, items: b.Items, size: len(b.Body), since: time.Now()}
	q.mu.Lock()
	defer q.mu.Unlock()
	e.seq = q.next
	q.next++
	if q.spool != nil {
		if e.size > maxFile || !q.reserve(&q.disk, q.bounds.disk, e.size) {
			return false
		}
		q.mu.Unlock()
		err := q.spool.create(e, b.Body)
		q.mu.Lock()
		if err == nil {
			q.spoolFailed = false
			q.waiting[e.signal] = append(q.waiting[e.signal], e)
			q.notify()
			return true
		}
		q.disk -= int64(e.size)
		if !q.spoolFailed {
			q.spoolFailed = true
			q.warn("the spool cannot be written (%v): batches wait in memory", err)
		}
	}
	if !q.reserve(&q.memory, q.bounds.memory, e.size) {
		return false
	}
	e.body = b.Body
	q.waiting[e.signal] = append(q.waiting[e.signal], e)
	q.notify()
	return true
}

// reserve adds size to used, which may not exceed bound. If it would, it waits as
// long as the receiver makes progress.
func (q *queue) reserve(used *int64, bound int64, size int) bool {
	for *used+int64(size) > bound {
		wait := q.fullTimeout - time.Since(q.progress)
		if wait <= 0 {
			return false
		}
		q.wait(context.Background(), wait)
	}
	*used += int64(size)
	return true
}

// wait waits for a change, for limit at most.
func (q *queue) wait(ctx context.Context, limit time.Duration) {
	changed := q.changed
	q.mu.Unlock()
	defer q.mu.Lock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// take returns the oldest waiting batch of a signal, and waits until there is one.
// The caller then calls done or putBack. ok is false if there will be none.
func (q *queue) take(ctx context.Context, signal Signal) (e *entry, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		if list := q.waiting[signal]; len(list) > 0 {
			e, list[0] = list[0], nil
			if list = list[1:]; len(list) == 0 {
				list = nil // free the memory of the earlier ones
			}
			q.waiting[signal] = list
			return e, true
		}
		if q.closed {
			break
		}
		q.wait(ctx, time.Hour)
	}
	return nil, false
}

// read returns the batch of an entry. ok is false if it is too old or damaged.
func (q *queue) read(e *entry) (b Batch, ok bool) {
	b = Batch{Signal: e.signal, Items: e.items, Body: e.body}
	if b.Body != nil {
		return b, true
	}
	if time.Since(e.since) > q.age {
		return b, false
	}
	got, err := q.spool.load(e)
	if err == nil {
		return got, true
	}
	what := "it is not sent; it was renamed to " + e.file() + ".damaged"
	if kerr := q.spool.keepDamaged(e); kerr == nil {
		e.renamed = true
	} else {
		what = fmt.Sprintf("it is not sent; it is removed, because it cannot be renamed (%v)", kerr)
	}
	q.mu.Lock()
	reported := q.damageReported
	q.damageReported = true
	q.mu.Unlock()
	if !reported { // the number is reported at the end
		q.warn("spool file %s does not hold %d %s: %v; %s", e.file(), e.items, e.signal.itemName(), err, what)
	}
	return b, false
}

// done removes a batch that was delivered, rejected or dropped.
func (q *queue) done(e *entry) {
	if e.body == nil && !e.renamed {
		if err := q.spool.remove(e); err != nil {
			q.warn("remove a finished batch from the spool: %v", err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.body != nil {
		q.memory -= int64(e.size)
	} else {
		q.disk -= int64(e.size)
	}
	q.progress = time.Now()
	q.notify()
}

// putBack returns a batch to the queue, of which some items are finished.
func (q *queue) putBack(e *entry, finished int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.items -= finished
	q.waiting[e.signal] = append(q.waiting[e.signal], e)
}

// close marks the end of the input: put is not called any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notify()
}

// left returns the number of items in the queue: in memory, and in the spool.
func (q *queue) left(signal Signal) (memory, disk uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.waiting[signal] {
		if e.body != nil {
			memory += uint64(e.items)
		} else {
			disk += uint64(e.items)
		}
	}
	return memory, disk
}

func (q *queue) String() string {
	if q.spool != nil {
		return fmt.Sprintf("%d MiB in the spool", q.bounds.disk>>20)
	}
	return fmt.Sprintf("%d MiB in memory", q.bounds.memory>>20)
}
