package probe

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// ParseTraceparent reads a W3C traceparent header
// (https://www.w3.org/TR/trace-context/#traceparent-header): a trace to join
// and the span in it to hang under, neither of them zero.
func ParseTraceparent(s string) (trace [16]byte, span uint64, err error) {
	parts := strings.Split(s, "-")
	// A later version may have more parts than version 00.
	ok := len(parts) >= 4 && len(parts[0]) == 2 && parts[0] != "ff" && (len(parts) == 4 || parts[0] != "00") &&
		len(parts[1]) == 32 && len(parts[2]) == 16 && len(parts[3]) == 2 && strings.ToLower(s) == s
	var id [8]byte
	if ok {
		var flags, version [1]byte
		_, e0 := hex.Decode(version[:], []byte(parts[0]))
		_, e1 := hex.Decode(trace[:], []byte(parts[1]))
		_, e2 := hex.Decode(id[:], []byte(parts[2]))
		_, e3 := hex.Decode(flags[:], []byte(parts[3]))
		ok = e0 == nil && e1 == nil && e2 == nil && e3 == nil
	}
	span = binary.BigEndian.Uint64(id[:])
	if !ok || span == 0 || trace == [16]byte{} {
		return [16]byte{}, 0, fmt.Errorf("%q is no traceparent (00-TRACE-SPAN-01 in lower-case hex)", s)
	}
	return trace, span, nil
}
