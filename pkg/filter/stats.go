package filter

// The bounds of a Filter's memory. Stats counts what did not fit.
const (
	// MaxSpans is the number of open spans that a Filter follows, if a rule
	// depends on spans. viv-spans never opens more than half as many.
	MaxSpans = 1 << 17
	// maxClosed is the number of closed spans that are kept: the first event of a
	// child can come long after the end of the method that created it.
	maxClosed = 1 << 16
	// MaxValues is the number of distinct values of a session that deduplication
	// remembers.
	MaxValues = 1 << 20
)

// Stats holds the counters of a Filter.
type Stats struct {
	Matched  uint64 // events that are shown
	Repeats  uint64 // events that may be repeats and are shown, because MaxValues was reached
	Untraced uint64 // spans that are shown, because MaxSpans was reached
}

// Report calls warn, once for each bound that was reached.
func (s *Stats) Report(warn func(format string, args ...any)) {
	if s.Repeats > 0 {
		warn("%d events are shown that may be repeats: viv-filter remembers at most %d distinct values", s.Repeats, MaxValues)
	}
	if s.Untraced > 0 {
		warn("%d spans are shown that the options may exclude: viv-filter follows at most %d open spans", s.Untraced, MaxSpans)
	}
}
