package otlp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// DeliveryOptions say where batches are delivered to, and where they wait.
type DeliveryOptions struct {
	// Endpoint returns a signal's receiver. It is called for traces at once, and
	// for logs when there is the first batch of them.
	Endpoint func(Signal) (*Endpoint, error)
	// Spool is the directory that every batch is written to before it is sent;
	// empty: batches wait in memory.
	Spool string
	// Deadline is how long a receiver that takes nothing is waited for: when
	// there is no room for more, before that is dropped, and how long Close takes
	// at most.
	Deadline time.Duration
	// Agent is the User-Agent that receivers see.
	Agent string
	// Warn prints a message for people.
	Warn func(format string, args ...any)
}

// Delivery sends batches to their receivers, oldest first, each until it was
// taken or refused: some at a time from memory, one by one from a spool. A batch
// that was refused for now, or whose receiver cannot be reached, is sent again,
// after the wait that the receiver asked for or else after longer and longer
// ones; the others wait with it.
type Delivery struct {
	opt   DeliveryOptions
	queue *queue
	ctx   context.Context // ends with the deadline
	stop  context.CancelFunc

	mu      sync.Mutex
	senders [2]*sender
	wg      sync.WaitGroup
}

// Counts are numbers of spans or log records.
type Counts struct {
	Delivered   uint64 // taken by the receiver
	Rejected    uint64 // of those that it took the batch of, or refused the batch of
	Dropped     uint64 // there was no room for them
	Expired     uint64 // were too old, or damaged, in the spool
	Undelivered uint64 // still in memory at the deadline
	Spooled     uint64 // still in the spool at the deadline
}

// Lost is what is neither delivered nor in the spool.
func (c Counts) Lost() uint64 { return c.Rejected + c.Dropped + c.Expired + c.Undelivered }

// NewDelivery starts a delivery. What an earlier process left in the spool is
// sent first.
func NewDelivery(opt DeliveryOptions) (*Delivery, error) { return newDelivery(opt, defaultBounds) }

func newDelivery(opt DeliveryOptions, b bounds) (*Delivery, error) {
	b.patience = opt.Deadline
	q, err := newQueue(opt.Spool, b, opt.Warn)
	if err != nil {
		return nil, err
	}
	d := &Delivery{opt: opt, queue: q}
	d.ctx, d.stop = context.WithCancel(context.Background())
	start := []Signal{Traces}
	if len(q.waiting[Logs]) > 0 {
		start = append(start, Logs)
	}
	for _, s := range start {
		if _, err := d.sender(s); err != nil {
			q.close()
			return nil, err
		}
	}
	return d, nil
}

// sender returns the signal's, and starts it first.
func (d *Delivery) sender(signal Signal) (*sender, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.senders[signal]; s != nil {
		return s, nil
	}
	e, err := d.opt.Endpoint(signal)
	if err != nil {
		return nil, err
	}
	c, err := newClient(e, d.opt.Agent)
	if err != nil {
		return nil, err
	}
	s := &sender{signal: signal, to: e, client: c, queue: d.queue, warn: d.opt.Warn}
	d.senders[signal] = s
	n := d.queue.inFlight
	if d.queue.spool != nil {
		n = 1 // strictly in order, and no more is repeated after a kill
	}
	for range n {
		d.wg.Go(func() { s.run(d.ctx) })
	}
	return s, nil
}

// Put takes a batch. It waits only when the queue is full.
func (d *Delivery) Put(b Batch) error {
	s, err := d.sender(b.Signal)
	if err != nil {
		return err
	}
	if !d.queue.put(b) {
		s.count(func(c *Counts) { c.Dropped += uint64(b.Items) })
		s.report("the queue is full (%v): new batches are dropped", d.queue)
	}
	return nil
}

// Close delivers what waits, until the deadline, and returns what became of
// all, by signal.
func (d *Delivery) Close() [2]Counts {
	d.queue.close()
	timer := time.AfterFunc(d.opt.Deadline, d.stop)
	d.wg.Wait()
	timer.Stop()
	d.stop()
	var counts [2]Counts
	for i, s := range d.senders {
		if s == nil {
			continue
		}
		s.client.close()
		counts[i] = s.counts
		counts[i].Undelivered, counts[i].Spooled = d.queue.left(Signal(i))
	}
	if d.queue.spool != nil {
		d.queue.spool.close()
	}
	return counts
}

// Err says what was not delivered, and why last; nil: everything was.
func (d *Delivery) Err(counts [2]Counts) error {
	var said []string
	for i, c := range counts {
		if c.Lost()+c.Spooled == 0 {
			continue
		}
		var why []string
		for _, w := range []struct {
			n    uint64
			what string
		}{
			{c.Rejected, "rejected by the receiver"},
			{c.Dropped, "dropped because the queue was full"},
			{c.Expired, "too old or damaged in the spool"},
			{c.Undelivered, "not accepted before the deadline"},
			{c.Spooled, "kept in the spool for the next run"},
		} {
			if w.n > 0 {
				why = append(why, fmt.Sprintf("%d %s", w.n, w.what))
			}
		}
		said = append(said, fmt.Sprintf("%d %s were not delivered to %s: %s", c.Lost()+c.Spooled, Signal(i).items(), d.senders[i].to, strings.Join(why, ", ")))
	}
	if len(said) == 0 {
		return nil
	}
	return errors.New(strings.Join(said, "; "))
}
