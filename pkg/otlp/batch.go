package otlp

import (
	"sync"
	"time"
)

// Signal is the OTLP signal of a batch. Each has its own endpoint.
type Signal uint8

// The signals.
const (
	Traces Signal = iota
	Logs
)

func (s Signal) String() string {
	if s == Logs {
		return "logs"
	}
	return "traces"
}

// itemName returns what the items of a signal are called in messages.
func (s Signal) itemName() string {
	if s == Logs {
		return "log records"
	}
	return "spans"
}

// Batch is one export request.
type Batch struct {
	Signal Signal
	Items  int    // spans or log records in it
	Body   []byte // ExportTraceServiceRequest or ExportLogsServiceRequest, protobuf
}

// The bounds of a batch. Its size is below the limit of common proxies (nginx: 1 MiB)
// and far below that of receivers (4 MiB by gRPC, 20 MiB by HTTP).
const (
	maxItems = 8192
	maxBytes = 512 << 10
	maxAge   = time.Second
)

// batcher collects spans or log records into batches.
type batcher struct {
	signal Signal
	scope  []byte // the instrumentation scope, encoded as a field of ScopeSpans
	emit   func(Batch) error

	mu     sync.Mutex
	groups []group // of the open batch, in order of their first item
	place  map[*resource]int
	items  int
	size   int
	timer  *time.Timer // closes the open batch when it is maxAge old
	err    error       // of a batch that the timer emitted
}

// group is a resource and its items, each already a field of ScopeSpans.
type group struct {
	of    *resource
	items []byte
}

func newBatcher(signal Signal, scope []byte, emit func(Batch) error) *batcher {
	b := &batcher{signal: signal, scope: scope, emit: emit, place: map[*resource]int{}}
	b.timer = time.AfterFunc(time.Hour, b.expire)
	b.timer.Stop()
	return b
}

// append adds an item to the open batch, and closes that if it is full.
func (b *batcher) append(of *resource, item []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if b.items > 0 && b.size+len(item) > maxBytes {
		if err := b.close(); err != nil {
			return err
		}
	}
	if b.items == 0 {
		b.timer.Reset(maxAge)
	}
	i, ok := b.place[of]
	if !ok {
		i = len(b.groups)
		b.place[of] = i
		if i < cap(b.groups) {
			b.groups = b.groups[:i+1] // reuse the memory of an earlier batch
		} else {
			b.groups = append(b.groups, group{})
		}
		b.groups[i].of = of
		b.groups[i].items = b.groups[i].items[:0]
		b.size += len(of.encoded) + 2*len(schemaURL) + 64
	}
	g := &b.groups[i]
	g.items = append(g.items, item...)
	b.size += len(item)
	b.items++
	if b.items >= maxItems {
		return b.close()
	}
	return nil
}

// flush closes the open batch.
func (b *batcher) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	return b.close()
}

func (b *batcher) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = b.close()
	}
}

func (b *batcher) close() error {
	b.timer.Stop()
	if b.items == 0 {
		return nil
	}
	body := make([]byte, 0, b.size)
	for i := range b.groups {
		g := &b.groups[i]
		var resource, scope int
		body, resource = begin(body, 1) // resource_spans, resource_logs
		body = appendBytes(body, 1, g.of.encoded)
		body, scope = begin(body, 2) // scope_spans, scope_logs
		body = append(body, b.scope...)
		body = append(body, g.items...)
		body = appendText(body, 3, schemaURL)
		body = end(body, scope)
		body = appendText(body, 3, schemaURL)
		body = end(body, resource)
		g.of = nil
		// Often one process fills a batch alone. Many processes need less memory each.
		if keep := maxBytes; i == 0 && cap(g.items) > 2*keep || i > 0 && cap(g.items) > keep/16 {
			g.items = nil
		}
	}
	batch := Batch{b.signal, b.items, body}
	b.groups = b.groups[:0]
	clear(b.place)
	b.items, b.size = 0, 0
	return b.emit(batch)
}
