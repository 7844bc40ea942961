package ktime

import "testing"

func TestMonotonicOffset(t *testing.T) {
	for _, c := range []struct {
		file string
		want int64
	}{
		{"", 0},
		{"monotonic           0         0\nboottime            0         0\n", 0},
		{"monotonic      100000         5\nboottime            7         0\n", 100_000_000_000_005},
		{"monotonic      -86400 500000000\n", -86_399_500_000_000},
		{"boottime            7         0\n1 3 4\n", 3_000_000_004},
		{"monotonic x 0\nmonotonic\n", 0},
	} {
		if got := monotonicOffset([]byte(c.file)); got != c.want {
			t.Errorf("%q: %d ns, want %d", c.file, got, c.want)
		}
	}
}
