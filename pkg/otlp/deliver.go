package otlp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// DeliveryOptions are the options of a Delivery.
type DeliveryOptions struct {
	// Endpoint returns the receiver of a signal. NewDelivery calls it for traces,
	// and the first batch of logs calls it for logs.
	Endpoint func(Signal) (*Endpoint, error)
	// Spool is the directory that every batch is written to before it is sent;
	// empty: batches wait in memory.
	Spool string
	// Deadline is the maximum time that a full queue waits for a receiver that
	// accepts nothing, before batches are dropped, and the maximum time of Close.
	Deadline time.Duration
	// UserAgent is the value of the User-Agent header.
	UserAgent string
	// Warn prints a message. It must be safe for concurrent use.
	Warn func(format string, args ...any)
}

// Delivery sends batches to their receivers, oldest first, each until it is accepted
// or rejected: several at a time from memory, one at a time from a spool. If the
// receiver is busy or cannot be reached, the batch is sent again, after the wait that
// the receiver requested, or else after increasing waits. The other batches wait.
type Delivery struct {
	opt   DeliveryOptions
	queue *queue
	ctx   context.Context // ends at the deadline of Close
	stop  context.CancelFunc

	mu      sync.Mutex
	senders [2]*sender
	wg      sync.WaitGroup
}

// Counts are numbers of spans or log records.
type Counts struct {
	Delivered   uint64 // accepted by the receiver
	Rejected    uint64 // rejected by the receiver, alone or with their batch
	Dropped     uint64 // the queue was full
	Expired     uint64 // too old or damaged in the spool
	Undelivered uint64 // still in memory at the deadline
	Spooled     uint64 // still in the spool at the deadline
}

// Lost returns the number of items that are neither delivered nor in the spool.
func (c Counts) Lost() uint64 { return c.Rejected + c.Dropped + c.Expired + c.Undelivered }

// NewDelivery starts a delivery. Batches that an earlier process left in the spool
// are sent first. Its errors are about the spool or the endpoint.
func NewDelivery(opt DeliveryOptions) (*Delivery, error) { return newDelivery(opt, defaultBounds) }

func newDelivery(opt DeliveryOptions, b bounds) (*Delivery, error) {
	b.fullTimeout = opt.Deadline
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

// sender returns the sender of a signal, and starts it if necessary.
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
	c, err := newClient(e, d.opt.UserAgent)
	if err != nil {
		return nil, err
	}
	s := &sender{signal: signal, to: e, client: c, queue: d.queue, warn: d.opt.Warn}
	d.senders[signal] = s
	n := d.queue.inFlight
	if d.queue.spool != nil {
		n = 1 // in order, and at most one batch is repeated after a kill
	}
	for range n {
		d.wg.Go(func() { s.run(d.ctx) })
	}
	return s, nil
}

// Put adds a batch. While the queue is full it blocks. If the receiver accepts nothing
// for Deadline, the batch is dropped and counted. Its error is about the endpoint.
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

// Close delivers the waiting batches, until the deadline, and returns the counts by
// signal.
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

// Err returns an error that describes what was not delivered; nil: everything was
// delivered.
func (d *Delivery) Err(counts [2]Counts) error {
	var parts []string
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
		parts = append(parts, fmt.Sprintf("%d %s were not delivered to %s: %s", c.Lost()+c.Spooled, Signal(i).itemName(), d.senders[i].to, strings.Join(why, ", ")))
	}
	if len(parts) == 0 {
		return nil
	}
	return errors.New(strings.Join(parts, "; "))
}
