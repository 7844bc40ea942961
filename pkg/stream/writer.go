package stream

import (
	"io"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

const writeSize = 64 << 10

// Writer writes a stream. It buffers complete records up to 64 KiB; a filter calls Flush
// when its Reader has nothing pending.
//
// Text is written as str if it is UTF-8, else as bin. After an error of the io.Writer,
// every method returns that error.
//
// The zero Writer only buffers: Bytes returns the records.
type Writer struct {
	w   io.Writer // nil: only buffer
	b   []byte
	err error
}

// Bytes returns the records since the last Reset, valid until the next Reset. It is for a
// zero Writer.
func (w *Writer) Bytes() []byte { return w.b }

// Reset discards the records of a zero Writer.
func (w *Writer) Reset() { w.b = w.b[:0] }

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, b: make([]byte, 0, writeSize+4<<10)} }

// Flush writes the buffered records.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.b) > 0 {
		_, w.err = w.w.Write(w.b)
	}
	w.b = w.b[:0]
	if cap(w.b) > 16*writeSize { // free the memory of a very large record
		w.b = make([]byte, 0, writeSize+4<<10)
	}
	return w.err
}

// done stores the buffer after a record was appended, and flushes it if it is full.
func (w *Writer) done(b []byte) error {
	w.b = b
	if len(b) >= writeSize && w.w != nil {
		return w.Flush()
	}
	return w.err
}

// Raw writes a record unchanged. b must be one complete record.
func (w *Writer) Raw(b []byte) error { return w.done(append(w.b, b...)) }

// keys appends the keys of one record to b and counts them.
type keys struct {
	b    []byte
	head int // position of the record
	n    int
}

// begin starts a record with a map header for up to 65,535 keys. finish sets the number of
// keys.
func (w *Writer) begin(typ string) keys {
	k := keys{b: append(w.b, msgpcode.Map16, 0, 0), head: len(w.b)}
	k.text("type", typ)
	return k
}

func (w *Writer) finish(k *keys) error {
	k.b[k.head+1], k.b[k.head+2] = byte(k.n>>8), byte(k.n)
	return w.done(k.b)
}

// appendKey appends a key of at most 31 bytes.
func (k *keys) appendKey(key string) {
	k.n++
	k.b = append(append(k.b, msgpcode.FixedStrLow|byte(len(key))), key...)
}

func (k *keys) uint(key string, v uint64) { k.appendKey(key); k.b = appendUint(k.b, v) }
func (k *keys) int(key string, v int64)   { k.appendKey(key); k.b = appendInt(k.b, v) }
func (k *keys) id(key string, v uint64)   { k.appendKey(key); k.b = appendID(k.b, v) }
func (k *keys) text(key, v string)        { k.appendKey(key); k.b = appendText(k.b, v) }
func (k *keys) bytes(key string, v []byte) {
	k.appendKey(key)
	k.b = appendText(k.b, v)
}
func (k *keys) traceID(v *[16]byte) { k.appendKey("trace_id"); k.b = appendBin(k.b, v[:]) }

// textIf and setIf write a key only if its value is not empty or false.
func (k *keys) textIf(key, v string) {
	if v != "" {
		k.text(key, v)
	}
}

func (k *keys) setIf(key string, v bool) {
	if v {
		k.appendKey(key)
		k.b = appendBool(k.b, true)
	}
}
