package stream

import "math"

// CauseBufferFull is the Cause of events that did not fit into the ring buffer.
const CauseBufferFull = "ring buffer full"

// Lost counts events that were lost at this place of the stream. Under heavy load
// there is one before every event, so it has a hand-written codec like events.
type Lost struct {
	KtimeNS uint64
	Count   uint64 // events
	Cause   string
}

// AddCounts returns a + b, or math.MaxUint64 if the sum is larger.
func AddCounts(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// Lost writes a lost record.
func (w *Writer) Lost(l *Lost) error {
	k := w.begin("lost")
	k.uint("ktime_ns", l.KtimeNS)
	k.uint("count", l.Count)
	k.text("cause", l.Cause)
	return w.finish(&k)
}

// Lost decodes a lost record.
func (rec *Record) Lost() (Lost, error) {
	var l Lost
	for _, p := range rec.pairs {
		v := rec.value(p)
		switch string(rec.key(p)) {
		case "ktime_ns":
			l.KtimeNS, _ = uintOf(v)
		case "count":
			l.Count, _ = uintOf(v)
		case "cause":
			l.Cause = stringOf(v)
		}
	}
	return l, rec.is(TypeLost)
}
