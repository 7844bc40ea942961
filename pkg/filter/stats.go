package filter

// What a Filter remembers at most. It says in its Stats when that was not enough.
const (
	// MaxSpans is how many open spans it follows, only where a rule depends on
	// spans. viv-spans never has more than half as many open.
	MaxSpans = 1 << 17
	// maxClosed is how many closed spans it still knows: a child's first event
	// can come long after the method that made the child has ended.
	maxClosed = 1 << 16
	// MaxValues is how many distinct values of a session deduplication knows.
	MaxValues = 1 << 20
)

// Stats is what a Filter has counted.
type Stats struct {
	Matched  uint64 // events that are shown
	Repeats  uint64 // events that may be repeats and are shown, because MaxValues values were known
	Untraced uint64 // spans that are shown, because MaxSpans spans were open
}

// Report says with warn, in one line each, where memory was not enough.
func (s *Stats) Report(warn func(format string, args ...any)) {
	if s.Repeats > 0 {
		warn("%d events may be repeats and are shown: more than %d distinct values", s.Repeats, MaxValues)
	}
	if s.Untraced > 0 {
		warn("%d spans are shown although the selection may refuse them: more than %d were open", s.Untraced, MaxSpans)
	}
}
