package span

import "fmt"

// Stats counts what was not as it should be.
type Stats struct {
	UnknownStops   uint64 // stops that fit no open span
	Late           uint64 // events of a thread after its exit
	OutOfOrder     uint64 // events older than one of the same thread before them
	OutsideSession uint64 // events outside any session: before it, or behind its end
	NotOpened      uint64 // method spans that were not opened because of a bound
	Evicted        uint64 // spans that were closed because of a bound
	HadSpans       uint64 // sessions that had spans already
}

// Lost is the number of spans that are missing or shorter than they were.
func (s *Stats) Lost() uint64 { return s.NotOpened + s.Evicted }

// Report says with warn, in one line each, what was not as it should be.
func (s *Stats) Report(warn func(format string, args ...any)) {
	for _, line := range []struct {
		n      uint64
		format string
	}{
		{s.HadSpans, "sessions that already have spans: %d; they are passed on unchanged"},
		{s.OutsideSession, "events outside any session: %d; they are passed on without a span"},
		{s.OutOfOrder, "events out of order within their thread: %d; spans may be wrong"},
		{s.Late, "events after the exit of their thread: %d; the span of the thread ends before them"},
		{s.UnknownStops, "span stops that match no open span: %d; they are ignored"},
		{s.NotOpened, fmt.Sprintf("method spans lost: %%d; more than %d of a thread, %d in all or %d bytes of names were open",
			MaxPerThread, MaxOpen, defaultBounds.text)},
		{s.Evicted, fmt.Sprintf("spans closed early: %%d; more than %d were open", MaxOpen)},
	} {
		if line.n > 0 {
			warn(line.format, line.n)
		}
	}
}
