package tree

import "strconv"

// appendDuration appends ns as vivarium does: in microseconds below one
// millisecond, else in milliseconds, with one decimal.
func appendDuration(b []byte, ns int64) []byte {
	if ns < 0 {
		b = append(b, '-')
	}
	n := magnitude(ns)
	if n < 1e6 {
		return append(appendRounded(b, n, 100), "us"...)
	}
	return append(appendRounded(b, n, 100_000), "ms"...)
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// appendRounded appends n, of which unit is a tenth, with one decimal. Ruby
// rounds a half of a tenth to even, but for the half of the first one.
func appendRounded(b []byte, n, unit uint64) []byte {
	tenths := roundEven(n, unit)
	if n == 50 && unit == 100 {
		tenths = 1
	}
	b = strconv.AppendUint(b, tenths/10, 10)
	return append(b, '.', byte('0'+tenths%10))
}

func roundEven(n, unit uint64) uint64 {
	q, r := n/unit, n%unit
	if r > unit/2 || r == unit/2 && q%2 == 1 {
		q++
	}
	return q
}

// appendSeconds appends ns as seconds with three decimals.
func appendSeconds(b []byte, ns int64) []byte {
	if ns < 0 {
		b = append(b, '-')
	}
	ms := roundEven(magnitude(ns), 1e6)
	b = append(strconv.AppendUint(b, ms/1000, 10), '.')
	ms %= 1000
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 's')
}
