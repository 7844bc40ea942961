package span

import "fmt"

// Stats counts the irregularities of a stream.
type Stats struct {
	UnknownStops   uint64 // stops that match no open span
	Late           uint64 // events of threads after their exit
	OutOfOrder     uint64 // events with an earlier time than an event of the same thread before them
	OutsideSession uint64 // events before a session or after its end
	NotOpened      uint64 // method spans that were not opened because a bound was reached
	Evicted        uint64 // spans that were closed because a bound was reached
	HadSpans       uint64 // sessions that already had spans
}

// Lost returns the number of spans that are missing or too short.
func (s *Stats) Lost() uint64 { return s.NotOpened + s.Evicted }

// Report calls warn, once for each counter that is not zero.
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
