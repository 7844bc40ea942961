package span

import "encoding/binary"

// The salts of the ids of root spans.
const (
	sessionSalt = 0x766976617269756d // "vivarium"
	threadSalt  = 0x7468726561640000 // "thread"
)

// Mix64 returns a step of splitmix64: the increment and the finaliser.
func Mix64(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// ID returns the id of a span that began on thread tid at ktime k (ns) in the trace
// (hi, lo). It is never 0, which OTLP forbids.
func ID(hi, lo, tid, k uint64) uint64 {
	s := Mix64(Mix64(Mix64(Mix64(hi)^lo)^tid) ^ k)
	if s == 0 {
		return 1
	}
	return s
}

// TraceID returns the id of a trace from the same values as ID. Neither half of it is
// ever 0.
func TraceID(hi, lo, tid, k uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], ID(hi, lo, tid, k))
	binary.BigEndian.PutUint64(id[8:], ID(^lo, hi, tid, k))
	return id
}

// SessionID returns the id of the session span of a trace, from the observer's process
// id and the start of the session (ktime, ns).
func SessionID(trace [16]byte, observerPID, startKtimeNS uint64) uint64 {
	hi, lo := halves(trace)
	return ID(hi, lo, observerPID, startKtimeNS^sessionSalt)
}

// halves splits a trace id into its high and low half.
func halves(id [16]byte) (hi, lo uint64) {
	return binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
}
