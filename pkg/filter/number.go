package filter

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// ParseInt parses a whole number of 64 bits: decimal, or with 0x, 0b or 0o in
// front, with single underscores between digits and blanks around it. A leading 0
// alone is an error, because it is ambiguous: some read such a number as octal.
func ParseInt(s string) (int64, error) {
	t := trim(s)
	digits := strings.TrimLeft(t, "+-")
	if len(digits) > 1 && digits[0] == '0' && (digits[1] == '_' || digits[1] >= '0' && digits[1] <= '9') {
		return 0, fmt.Errorf("%.40q begins with 0: write it without that, or as an octal number with 0o", t)
	}
	i, err := strconv.ParseInt(t, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a whole number", t)
	}
	return i, nil
}

// integer returns a JSON number that must be an integer; 100.0 is one.
func integer(n json.Number) (int64, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	if len(n) < 64 { // a limit for the conversion
		if f, err := n.Float64(); err == nil && f > -1e15 && f < 1e15 {
			if i, acc := big.NewFloat(f).Int64(); acc == big.Exact {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("%.40s is not a whole number of at most 64 bits", n)
}

// Depth converts a depth from a user to Selection.Depth: values below 1 mean no
// limit, and values above 1<<31-1 are reduced to that.
func Depth(i int64) int {
	return int(min(max(i, 0), 1<<31-1))
}
