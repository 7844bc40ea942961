package stream

import "math"

// Lost says that events were lost at this place of the stream. In a flood there
// is one in front of every event, so that it is encoded by hand as events are.
type Lost struct {
	KtimeNS uint64
	Count   uint64 // events
	Cause   string
}

// AddCounts is a + b, or the largest number there is when that is larger.
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
