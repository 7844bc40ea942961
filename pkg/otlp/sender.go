package otlp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// waits between attempts
const (
	firstWait = 200 * time.Millisecond
	maxWait   = 10 * time.Second
)

// maxUnreadable is the number of attempts for a batch whose answers cannot be read.
const maxUnreadable = 3

// sender delivers the batches of one signal.
type sender struct {
	signal Signal
	to     *Endpoint
	client client
	queue  *queue
	warn   func(format string, args ...any)

	// failing is locked while one batch is being retried.
	failing sync.Mutex

	mu          sync.Mutex
	counts      Counts
	lastWarning string    // newest message, without its prefix
	lastWarned  time.Time // when it was printed
}

func (s *sender) count(f func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}

// report prints a message about the receiver, and how many items are lost so far.
// It prints the same message at most once a minute.
func (s *sender) report(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if text == s.lastWarning && time.Since(s.lastWarned) < time.Minute {
		return
	}
	s.lastWarning, s.lastWarned = text, time.Now()
	if lost := s.counts.Lost(); lost > 0 {
		text += fmt.Sprintf(" (%d %s lost so far)", lost, s.signal.itemName())
	}
	s.warn("%s: %s", s.to, text)
}

func (s *sender) run(ctx context.Context) {
	for {
		e, ok := s.queue.take(ctx, s.signal)
		if !ok {
			return
		}
		if b, ok := s.queue.read(e); !ok {
			s.count(func(c *Counts) { c.Expired += uint64(b.Items) })
		} else if finished := s.deliver(ctx, b); finished < b.Items {
			s.queue.putBack(e, finished)
			return
		}
		s.queue.done(e)
	}
}

// deliver sends a batch until it is accepted or rejected, and returns the number of
// items for which that happened: less than all when ctx ended first.
func (s *sender) deliver(ctx context.Context, b Batch) int {
	s.failing.Lock() // wait while another batch is retried
	//lint:ignore SA2001 the lock is only waited for
	s.failing.Unlock()
	a := s.attempt(ctx, b)
	if a.verdict == retryable {
		a = s.retry(ctx, b, a)
	}
	if a.verdict == retryable {
		return 0
	}
	if a.verdict == tooLarge && b.Items > 1 {
		halves, err := b.halves()
		if err == nil {
			finished := s.deliver(ctx, halves[0])
			if finished == halves[0].Items {
				finished += s.deliver(ctx, halves[1])
			}
			return finished
		}
		a.why = err
	}
	rejected := uint64(b.Items)
	if a.verdict == delivered {
		rejected = min(uint64(a.rejected), rejected)
	}
	s.count(func(c *Counts) {
		c.Rejected += rejected
		c.Delivered += uint64(b.Items) - rejected
	})
	if a.verdict != delivered {
		s.report("%v: refused batches are lost", a.why)
	} else if a.why != nil {
		s.report("%v", a.why)
	}
	return b.Items
}

// retry sends a batch again, while all others wait, until the verdict is another
// one than retryable, or ctx ends.
func (s *sender) retry(ctx context.Context, b Batch, a answer) answer {
	begun, reported, unreadable := time.Now(), false, 0
	for wait := firstWait; a.verdict == retryable && ctx.Err() == nil; wait = min(2*wait, maxWait) {
		if a.unreadable {
			if unreadable++; unreadable == maxUnreadable {
				a.verdict = refused
				return a
			}
		}
		pause := a.after
		if pause == 0 { // jitter
			pause = wait/2 + rand.N(wait/2)
		}
		due := time.Now().Add(pause)
		if wait == firstWait {
			s.failing.Lock()
			defer s.failing.Unlock()
		}
		if pause = time.Until(due); pause > 0 { // else another batch has waited long enough
			if !reported {
				reported = true
				s.report("%v: trying again", a.why)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		a = s.attempt(ctx, b)
	}
	if reported && a.verdict != retryable {
		s.report("the receiver answers again after %v", time.Since(begun).Round(time.Millisecond))
	}
	return a
}

func (s *sender) attempt(ctx context.Context, b Batch) answer {
	ctx, cancel := context.WithTimeout(ctx, s.to.Timeout)
	defer cancel()
	return s.client.send(ctx, b)
}
