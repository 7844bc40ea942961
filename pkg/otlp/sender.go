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

// maxUnreadable is how often a batch is sent whose answers cannot be read.
const maxUnreadable = 3

// sender delivers the batches of a signal.
type sender struct {
	signal Signal
	to     *Endpoint
	client client
	queue  *queue
	warn   func(format string, args ...any)

	// failing is held by the one whose attempts fail, until they do no more.
	failing sync.Mutex

	mu     sync.Mutex
	counts Counts
	said   string    // the newest message
	when   time.Time // and when it was printed
}

func (s *sender) count(f func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}

// say prints what there is to say about the receiver and, when that loses
// something, how much so far. The same again it says once a minute.
func (s *sender) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if text == s.said && time.Since(s.when) < time.Minute {
		return
	}
	s.said, s.when = text, time.Now()
	if lost := s.counts.Lost(); lost > 0 {
		text += fmt.Sprintf(" (%d %s lost so far)", lost, s.signal.items())
	}
	s.warn("%s: %s", s.to, text)
}

func (s *sender) run(ctx context.Context) {
	for {
		e, ok := s.queue.take(ctx, s.signal)
		if !ok {
			return
		}
		if b, ok := s.queue.batch(e); !ok {
			s.count(func(c *Counts) { c.Expired += uint64(b.Items) })
		} else if dealt := s.deliver(ctx, b); dealt < b.Items {
			s.queue.giveUp(e, dealt)
			return
		}
		s.queue.done(e)
	}
}

// deliver sends a batch until it was taken or refused, and returns how many of
// its items were: less than all when there was no more time.
func (s *sender) deliver(ctx context.Context, b Batch) int {
	s.failing.Lock() // not while another one fails
	//lint:ignore SA2001 it is only waited for
	s.failing.Unlock()
	a := s.attempt(ctx, b)
	if a.verdict == again {
		a = s.persist(ctx, b, a)
	}
	if a.verdict == again {
		return 0
	}
	if a.verdict == tooLarge && b.Items > 1 {
		halves, err := b.halves()
		if err == nil {
			dealt := s.deliver(ctx, halves[0])
			if dealt == halves[0].Items {
				dealt += s.deliver(ctx, halves[1])
			}
			return dealt
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
		s.say("%v: what it refuses is lost", a.why)
	} else if a.why != nil {
		s.say("%v", a.why)
	}
	return b.Items
}

// persist tries again, alone, until the answer is another one.
func (s *sender) persist(ctx context.Context, b Batch, a answer) answer {
	begun, said, unreadable := time.Now(), false, 0
	for wait := firstWait; a.verdict == again && ctx.Err() == nil; wait = min(2*wait, maxWait) {
		if a.unreadable {
			if unreadable++; unreadable == maxUnreadable {
				a.verdict = refused
				return a
			}
		}
		pause := a.after
		if pause == 0 { // not at the same moment as everybody else
			pause = wait/2 + rand.N(wait/2)
		}
		due := time.Now().Add(pause)
		if wait == firstWait {
			s.failing.Lock()
			defer s.failing.Unlock()
		}
		if pause = time.Until(due); pause > 0 { // else another one has waited long enough
			if !said {
				said = true
				s.say("%v: trying again", a.why)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		a = s.attempt(ctx, b)
	}
	if said && a.verdict != again {
		s.say("it answers again after %v", time.Since(begun).Round(time.Millisecond))
	}
	return a
}

func (s *sender) attempt(ctx context.Context, b Batch) answer {
	ctx, cancel := context.WithTimeout(ctx, s.to.Timeout)
	defer cancel()
	return s.client.send(ctx, b)
}
