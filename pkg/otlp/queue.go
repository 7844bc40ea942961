package otlp

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// bounds are those of what waits for its receiver.
type bounds struct {
	memory   int64         // bytes in memory
	disk     int64         // bytes in the spool
	age      time.Duration // in the spool
	patience time.Duration // how long a full queue waits for a receiver that takes nothing
	inFlight int           // requests to a receiver at a time
}

var defaultBounds = bounds{memory: 32 << 20, disk: 4 << 30, age: 48 * time.Hour, inFlight: 4}

// queue holds closed batches until they are delivered, oldest first, in memory
// or in a spool. When it is full it makes its producers wait as long as the
// receiver takes a batch now and then, and refuses more when it does not.
type queue struct {
	bounds
	spool *spool // nil: everything is in memory
	warn  func(format string, args ...any)

	mu       sync.Mutex
	changed  chan struct{} // closed, and another made, at every change
	waiting  [2][]*entry   // by signal
	memory   int64         // bytes in memory
	disk     int64         // bytes in the spool
	next     uint64        // sequence of the next entry
	progress time.Time     // when an entry was last taken away
	closed   bool
	spilled  bool // the spool cannot be written, and that was said
	damaged  bool // a file of the spool is, and that was said
}

func newQueue(dir string, b bounds, warn func(string, ...any)) (*queue, error) {
	q := &queue{bounds: b, warn: warn, changed: make(chan struct{}), progress: time.Now()}
	if dir != "" {
		s, old, foreign, err := openSpool(dir)
		if err != nil {
			return nil, err
		}
		if foreign != "" {
			warn("the spool %s: %s; such files are not sent, and stay", dir, foreign)
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

// announce tells everybody who waits that something changed.
func (q *queue) announce() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// put takes a batch, or refuses it because there is no room. The batches of a
// signal are put one after another.
func (q *queue) put(b Batch) bool {
	e := &entry{signal: b.Signal, items: b.Items, size: len(b.Body), since: time.Now()}
	q.mu.Lock()
	defer q.mu.Unlock()
	e.seq = q.next
	q.next++
	if q.spool != nil {
		if e.size > maxFile || !q.room(&q.disk, q.bounds.disk, e.size) {
			return false
		}
		q.mu.Unlock()
		err := q.spool.put(e, b.Body)
		q.mu.Lock()
		if err == nil {
			q.spilled = false
			q.waiting[e.signal] = append(q.waiting[e.signal], e)
			q.announce()
			return true
		}
		q.disk -= int64(e.size)
		if !q.spilled {
			q.spilled = true
			q.warn("the spool cannot be written (%v): batches are kept in memory", err)
		}
	}
	if !q.room(&q.memory, q.bounds.memory, e.size) {
		return false
	}
	e.body = b.Body
	q.waiting[e.signal] = append(q.waiting[e.signal], e)
	q.announce()
	return true
}

// room adds size to used, a count with a bound. When there is no room it waits
// for some, but only for a receiver that is at work.
func (q *queue) room(used *int64, bound int64, size int) bool {
	for *used+int64(size) > bound {
		wait := q.patience - time.Since(q.progress)
		if wait <= 0 {
			return false
		}
		q.wait(context.Background(), wait)
	}
	*used += int64(size)
	return true
}

// wait waits for a change.
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

// take returns the oldest batch of a signal that nobody took, and waits for
// one. Who took it calls done or giveUp. ok is false when there will be none.
func (q *queue) take(ctx context.Context, signal Signal) (e *entry, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		if list := q.waiting[signal]; len(list) > 0 {
			e, list[0] = list[0], nil
			if list = list[1:]; len(list) == 0 {
				list = nil // and with it the memory of those before
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

// batch reads what was taken. ok is false when it is too old or damaged.
func (q *queue) batch(e *entry) (b Batch, ok bool) {
	b = Batch{Signal: e.signal, Items: e.items, Body: e.body}
	if b.Body != nil {
		return b, true
	}
	if time.Since(e.since) > q.age {
		return b, false
	}
	got, err := q.spool.get(e)
	if err == nil {
		return got, true
	}
	what := "it is kept as " + e.file() + ".damaged and not sent"
	if kerr := q.spool.keepDamaged(e); kerr == nil {
		e.gone = true
	} else {
		what = fmt.Sprintf("it is removed (it cannot be renamed: %v)", kerr)
	}
	q.mu.Lock()
	said := q.damaged
	q.damaged = true
	q.mu.Unlock()
	if !said { // how many they are is said at the end
		q.warn("%s in the spool is no batch of %d %s: %v; %s", e.file(), e.items, e.signal.items(), err, what)
	}
	return b, false
}

// done forgets a batch.
func (q *queue) done(e *entry) {
	if e.body == nil && !e.gone {
		if err := q.spool.remove(e); err != nil {
			q.warn("remove from the spool what is done with: %v", err)
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
	q.announce()
}

// giveUp leaves a batch of which that many items were dealt with.
func (q *queue) giveUp(e *entry, dealt int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.items -= dealt
	q.waiting[e.signal] = append(q.waiting[e.signal], e)
}

// close says that nothing more will be put.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.announce()
}

// left is what is still in the queue, in items: in memory, and in the spool.
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
