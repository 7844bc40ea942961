package ring

import (
	"encoding/binary"
	"testing"
)

// memory is a ring of 64 bytes as the kernel would fill it.
type memory struct {
	consumer, producer, data []byte
}

func newMemory() (*memory, *Reader) {
	m := &memory{make([]byte, 8), make([]byte, 8), make([]byte, 128)}
	r := &Reader{epoll: -1}
	r.set(m.consumer, m.producer, m.data)
	return m, r
}

// reserve puts a record at the end, with these flags in its header, and returns
// where it is.
func (m *memory) reserve(text string, flags uint32) (pos uint64) {
	pos = binary.NativeEndian.Uint64(m.producer)
	for i, b := range binary.NativeEndian.AppendUint32(nil, uint32(len(text))|flags) {
		m.put(pos+uint64(i), b)
	}
	for i := range text {
		m.put(pos+headerSize+uint64(i), text[i])
	}
	binary.NativeEndian.PutUint64(m.producer, pos+size(uint64(len(text))))
	return pos
}

// commit sets the flags of the record at pos.
func (m *memory) commit(pos uint64, flags byte) { m.put(pos+3, flags) }

// put writes a byte in both mappings.
func (m *memory) put(pos uint64, b byte) { m.data[pos&63], m.data[pos&63+64] = b, b }

func (m *memory) position() uint64 { return binary.NativeEndian.Uint64(m.consumer) }

func want(t *testing.T, r *Reader, text string, state State) {
	t.Helper()
	if raw, s := r.Next(); string(raw) != text || s != state {
		t.Fatalf("%q in state %d, want %q in %d", raw, s, text, state)
	}
}

func TestNext(t *testing.T) {
	m, r := newMemory()
	want(t, r, "", Empty)
	for turn := range 10 { // over its end, again and again
		m.reserve("first of two", 0)
		m.reserve("dropped", discardBit)
		m.reserve("x", 0)
		if n := r.Waiting(); n != 3 {
			t.Fatalf("%d records wait, want 3", n)
		}
		want(t, r, "first of two", Record)
		if got, at := m.position(), uint64(turn*56); got != at {
			t.Fatalf("given back up to %d while it is in use, want %d", got, at)
		}
		want(t, r, "x", Record)
		want(t, r, "", Empty)
		if got, at := m.position(), uint64((turn+1)*56); got != at {
			t.Fatalf("given back up to %d, want %d", got, at)
		}
	}
}

// TestBusy: a record that is not complete holds up the others, but not the reader.
func TestBusy(t *testing.T) {
	m, r := newMemory()
	m.reserve("before", 0)
	at := m.reserve("slow", busyBit)
	m.reserve("behind", 0)
	want(t, r, "before", Record)
	for range 3 {
		want(t, r, "", Busy)
		if n := r.Waiting(); n != 2 {
			t.Fatalf("%d records wait, want 2", n)
		}
		if m.position() != at {
			t.Fatalf("given back up to %d, want %d", m.position(), at)
		}
	}
	m.commit(at, 0)
	want(t, r, "slow", Record)
	want(t, r, "behind", Record)
	want(t, r, "", Empty)

	at = m.reserve("never", busyBit)
	want(t, r, "", Busy)
	m.commit(at, discardBit>>24)
	want(t, r, "", Empty)
}
