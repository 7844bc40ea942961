package tree

import (
	"strconv"
	"time"

	"vivarium/pkg/event"
)

// appendHeader appends the lines above the tree of a session, as vivarium
// writes them.
func appendHeader(b []byte, s *session) []byte {
	b = append(b, "# vivarium session\n"...)
	if t := s.Policy.Times; t != nil {
		b = event.AppendSafe(append(b, "#   started  iso="...), []byte(t.StartISO))
		b = event.AppendSafe(append(b, "  ktime="...), []byte(t.StartKtime))
		b = event.AppendSafe(append(b, "\n#   stopped  iso="...), []byte(t.StopISO))
		b = event.AppendSafe(append(b, "  ktime="...), []byte(t.StopKtime))
		b = appendSeconds(append(b, "\n#   duration "...), t.DurationNS)
		return append(b, '\n')
	}
	b = append(b, "#   started  iso="...)
	b = appendTime(b, s.StartUnixNS)
	b = strconv.AppendUint(append(b, "  ktime="...), s.StartKtimeNS, 10)
	b = append(b, "\n#   stopped  iso="...)
	end := s.newest
	if s.ended {
		end = s.end.StopKtimeNS
		b = appendTime(b, s.end.StopUnixNS)
		b = strconv.AppendUint(append(b, "  ktime="...), end, 10)
	} else {
		b = append(b, "  ktime="...)
	}
	b = append(b, "\n#   duration "...)
	b = append(appendSeconds(b, int64(end-s.StartKtimeNS)), '\n')
	if n := s.end.Alive; n > 0 {
		b = strconv.AppendUint(append(b, "#   alive    "...), n, 10)
		b = append(b, " at the end, unwatched since\n"...)
	}
	return b
}

func appendTime(b []byte, unixNS int64) []byte {
	return time.Unix(0, unixNS).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
}
