package filter

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// ParseInt reads a whole number as people write it: decimal, or with 0x, 0b or
// 0o in front, with single underscores between digits, and blanks around it. A
// leading 0 alone is refused: some read it as octal, some do not.
func ParseInt(s string) (int64, error) {
	t := trim(s)
	digits := strings.TrimLeft(t, "+-")
	if len(digits) > 1 && digits[0] == '0' && (digits[1] == '_' || digits[1] >= '0' && digits[1] <= '9') {
		return 0, fmt.Errorf("%.40q begins with 0: write it in decimal, or with 0o in front", t)
	}
	i, err := strconv.ParseInt(t, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a whole number", t)
	}
	return i, nil
}

// whole is a JSON number that must be an integer; 100.0 is one.
func whole(n json.Number) (int64, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	if len(n) < 64 { // an exponent could make it arbitrarily long
		if f, err := n.Float64(); err == nil && f > -1e15 && f < 1e15 {
			if i, acc := big.NewFloat(f).Int64(); acc == big.Exact {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("%.40s is not a whole number in range", n)
}

// Depth brings a depth as a user gives it into the range of the filter: below
// 1 is no limit, and nothing is nested deeper than what fits into 31 bits.
func Depth(i int64) int {
	return int(min(max(i, 0), 1<<31-1))
}
