package stream

import "github.com/vmihailenco/msgpack/v5/msgpcode"

// Set is a change that Splice makes to one key.
type Set struct {
	key  string
	op   op
	num  uint64
	text []byte
}

type op uint8

const (
	opUint op = iota // of 64 bits
	opShortUint
	opBool
	opBytes
	opText
	opUnset
)

// SetUint sets key, of at most 31 bytes, to an unsigned integer of 64 bits.
func SetUint(key string, v uint64) Set { return Set{key: key, op: opUint, num: v} }

// SetShortUint sets key, of at most 31 bytes, to an unsigned integer in its
// shortest encoding.
func SetShortUint(key string, v uint64) Set { return Set{key: key, op: opShortUint, num: v} }

// SetBytes sets key, of at most 31 bytes, to bytes (msgpack bin).
func SetBytes(key string, v []byte) Set { return Set{key: key, op: opBytes, text: v} }

// SetBool sets key, of at most 31 bytes, to true or false.
func SetBool(key string, v bool) Set {
	s := Set{key: key, op: opBool}
	if v {
		s.num = 1
	}
	return s
}

// SetText sets key, of at most 31 bytes, to a text.
func SetText(key string, v []byte) Set { return Set{key: key, op: opText, text: v} }

// Unset removes key.
func Unset(key string) Set { return Set{key: key, op: opUnset} }

// Splice writes rec with some keys changed. An existing key gets its new value at
// its old place, and a new key is appended. Everything else is copied byte for
// byte. All keys of set must be different. Its error is that of the io.Writer.
func (w *Writer) Splice(rec *Record, set ...Set) error {
	k := keys{b: append(w.b, msgpcode.Map16, 0, 0), head: len(w.b)}
	var done uint64    // bit i: set[i] is written
	var lengths uint64 // bit i: a key of set has i bytes; avoids most comparisons
	for i := range set {
		lengths |= 1 << len(set[i].key)
	}
	from := rec.header
	for i := range rec.pairs {
		p := &rec.pairs[i]
		key := rec.Raw[p.text:p.value]
		if lengths>>len(key)&1 == 0 {
			k.n++
			continue
		}
		j := 0
		for j < len(set) && set[j].key != string(key) {
			j++
		}
		if j == len(set) {
			k.n++
			continue
		}
		k.b = append(k.b, rec.Raw[from:rec.pairStart(i)]...)
		from = int(p.end)
		if bit := uint64(1) << j; done&bit == 0 {
			done |= bit
			k.set(&set[j])
		}
	}
	k.b = append(k.b, rec.Raw[from:]...)
	for j := range set {
		if done&(1<<j) == 0 {
			k.set(&set[j])
		}
	}
	return w.finish(&k)
}

// pairStart is where the i-th pair begins.
func (rec *Record) pairStart(i int) int {
	if i == 0 {
		return rec.header
	}
	return int(rec.pairs[i-1].end)
}

func (k *keys) set(s *Set) {
	if s.op == opUnset {
		return
	}
	k.appendKey(s.key)
	if s.op == opUint { // nearly always
		k.b = appendID(k.b, s.num)
		return
	}
	switch s.op {
	case opShortUint:
		k.b = appendUint(k.b, s.num)
	case opBytes:
		k.b = appendBin(k.b, s.text)
	case opBool:
		k.b = appendBool(k.b, s.num != 0)
	case opText:
		k.b = appendText(k.b, s.text)
	}
}
