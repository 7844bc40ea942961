package spans

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestFound(t *testing.T) {
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("Class#m%d", i))
	}
	const of = "names of --span-allow were never defined in a Ruby that ran: "
	for _, c := range []struct {
		name string
		list []string
		see  []uint32
		want string
	}{
		{"no Ruby", many, nil, "no Ruby ran that --spans ruby could mark the methods of"},
		{"no Ruby, own list", nil, nil, "no Ruby ran that --spans ruby could mark the methods of"},
		{"own list", nil, []uint32{0, 3}, "<nil>"},
		{"all", many[:2], []uint32{0, 2, 1, 1}, "<nil>"},
		{"one", many[:3], []uint32{0, 2, 1}, "1 of 3 " + of + `"Class#m2"`},
		{"five", many[:5], []uint32{0}, "5 of 5 " + of + `"Class#m0", "Class#m1", "Class#m2", "Class#m3", "Class#m4"`},
		{"more", many, []uint32{0, 1}, "11 of 12 " + of + `"Class#m1", "Class#m2", "Class#m3", "Class#m4", "Class#m5" and 6 more`},
		{"a name of any bytes", []string{"A\n#" + strings.Repeat("b", 200)}, []uint32{0}, "1 of 1 " + of + `"A\n#` + strings.Repeat("b", 97) + `"`},
	} {
		f := NewFound(c.list)
		for _, entry := range c.see {
			if !f.See(entry) {
				t.Errorf("%s: there is no entry %d", c.name, entry)
			}
		}
		if got := fmt.Sprint(f.Missing()); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
	f := NewFound(many)
	for _, entry := range []uint32{13, math.MaxUint32} {
		if f.See(entry) {
			t.Errorf("there is an entry %d", entry)
		}
	}
}
