package tree

import (
	"encoding/json"
	"strconv"
	"time"

	"vivarium/pkg/event"
)

// appendHeader appends the lines above the tree of a session, as vivarium
// writes them.
func appendHeader(b []byte, s *session) []byte {
	b = append(b, "# vivarium session\n"...)
	if s.header != nil {
		b = append(b, "#   started  iso="...)
		b = appendMeta(b, s.header["session_start_iso"])
		b = append(b, "  ktime="...)
		b = appendMeta(b, s.header["session_start_ktime"])
		b = append(b, "\n#   stopped  iso="...)
		b = appendMeta(b, s.header["session_stop_iso"])
		b = append(b, "  ktime="...)
		b = appendMeta(b, s.header["session_stop_ktime"])
		b = append(b, "\n#   duration "...)
		b = appendSeconds(b, number(s.header["session_stop_ktime"])-number(s.header["session_start_ktime"]))
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
	return append(appendSeconds(b, int64(end-s.StartKtimeNS)), '\n')
}

func appendTime(b []byte, unixNS int64) []byte {
	return time.Unix(0, unixNS).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

// appendMeta appends a value of a capture's header as it is there.
func appendMeta(b []byte, v json.RawMessage) []byte {
	var s string
	if json.Unmarshal(v, &s) == nil { // null is an empty text, too
		return event.AppendSafe(b, []byte(s))
	}
	return event.AppendSafe(b, v)
}

func number(v json.RawMessage) int64 {
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(string(v), 64)
	return int64(f)
}
