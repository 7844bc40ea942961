// Package ktime reads the clock that the kernel stamps events with.
package ktime

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Now is CLOCK_MONOTONIC as the kernel stamps events with it, ns: that of
// the root time namespace, whichever viv-probe is in.
func Now() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // clock_gettime(2): only for a clock that does not exist
	}
	return uint64(ts.Nano() - namespaceOffset())
}

// namespaceOffset is what viv-probe's time namespace adds to CLOCK_MONOTONIC,
// ns; it never changes. A kernel without such namespaces has no file of it.
var namespaceOffset = sync.OnceValue(func() int64 {
	b, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		return 0
	}
	return monotonicOffset(b)
})

// monotonicOffset finds the offset of CLOCK_MONOTONIC, ns, in a timens_offsets
// (time_namespaces(7)): lines of a clock, seconds and nanoseconds.
func monotonicOffset(file []byte) int64 {
	for line := range bytes.Lines(file) {
		f := strings.Fields(string(line))
		if len(f) != 3 || f[0] != "monotonic" && f[0] != strconv.Itoa(unix.CLOCK_MONOTONIC) {
			continue
		}
		s, err := strconv.ParseInt(f[1], 10, 64)
		ns, nerr := strconv.ParseInt(f[2], 10, 64)
		if err == nil && nerr == nil {
			return s*int64(time.Second) + ns
		}
	}
	return 0
}
