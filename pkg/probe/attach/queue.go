package attach

import (
	"sync"
	"sync/atomic"
)

// change is a process that can have mapped another file, or that parent made.
type change struct{ pid, parent int }

// queued is a change that waits.
type queued struct {
	change
	ktime uint64 // when, ns
}

// queue holds the changes of processes that wait, each once. What does not fit
// is counted.
type queue struct {
	mu      sync.Mutex
	todo    []queued
	spare   []queued // what take returned before, to be used again
	waits   map[change]int
	wake    chan struct{}
	dropped atomic.Uint64
}

func (q *queue) init() {
	q.todo, q.spare = make([]queued, 0, maxQueue), make([]queued, 0, maxQueue)
	q.waits, q.wake = make(map[change]int, maxQueue), make(chan struct{}, 1)
}

// put adds a change. It does not wait for anybody.
func (q *queue) put(c change, ktime uint64) {
	q.mu.Lock()
	if i, ok := q.waits[c]; ok {
		q.todo[i].ktime = max(q.todo[i].ktime, ktime)
		q.mu.Unlock()
		return
	}
	if len(q.todo) == maxQueue {
		q.mu.Unlock()
		q.dropped.Add(1)
		return
	}
	q.waits[c] = len(q.todo)
	q.todo = append(q.todo, queued{c, ktime})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, valid until the next call.
func (q *queue) take() []queued {
	q.mu.Lock()
	defer q.mu.Unlock()
	got := q.todo
	q.todo, q.spare = q.spare[:0], got
	clear(q.waits)
	return got
}
