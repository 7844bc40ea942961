package conformance

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A rule says how a quirk of vivarium changes a kind of line.
type rule struct {
	quirk, kind string
	value       *regexp.Regexp // of a difference: vivarium's => viv's
	line        string
}

// A table is deviations.txt: rules, and the cases where viv deviates.
type table struct {
	head  string // the comments and rules, as they are written
	rules []rule
	names []string            // of the cases, in the table's order
	found map[string]string   // by case: what deviates, as it is written
	cases map[string][]string // by case: the quirks
}

var (
	ruleLine = regexp.MustCompile(`^(Q\d+)\s+([-+._a-z]+)(?:\s+(.*))?$`)
	quirkRE  = regexp.MustCompile(`^Q\d+$`)
)

func deviations(t *testing.T) *table {
	t.Helper()
	b, err := os.ReadFile("deviations.txt")
	if err != nil {
		t.Fatal(err)
	}
	d := &table{found: map[string]string{}, cases: map[string][]string{}}
	for s := range strings.Lines(string(b)) {
		s = strings.TrimSuffix(s, "\n")
		m := ruleLine.FindStringSubmatch(s)
		name, rest, _ := strings.Cut(s, " ")
		switch {
		case m != nil:
			value, err := regexp.Compile(m[3])
			if err != nil {
				t.Fatal(err)
			}
			d.rules = append(d.rules, rule{m[1], m[2], value, s})
			fallthrough
		case name == "#" || name == "":
			d.head += s + "\n"
		case d.cases[name] != nil:
			t.Errorf("deviations.txt: %s is there twice", name)
		default:
			d.names = append(d.names, name)
			d.found[name] = strings.Join(strings.Fields(rest), " ")
			for _, w := range strings.Fields(rest) {
				if quirkRE.MatchString(w) {
					d.cases[name] = append(d.cases[name], w)
				}
			}
		}
	}
	return d
}

// explain says which quirks of a case are the reason for its differences, and how
// many of each kind: "Q10 -proc*2 Q16 +gap". The first rule counts that fits.
func (d *table) explain(quirks []string, diffs []difference, used func(rule)) (string, []difference) {
	count := map[string]map[string]int{}
	var rest []difference
next:
	for _, diff := range diffs {
		for _, r := range d.rules {
			if r.kind == diff.kind && slices.Contains(quirks, r.quirk) && r.value.MatchString(diff.value) {
				if count[r.quirk] == nil {
					count[r.quirk] = map[string]int{}
				}
				count[r.quirk][r.kind]++
				used(r)
				continue next
			}
		}
		rest = append(rest, diff)
	}
	var words []string
	for _, q := range quirks {
		words = append(words, q)
		var kinds []string
		for kind, n := range count[q] {
			if n > 1 {
				kind = fmt.Sprintf("%s*%d", kind, n)
			}
			kinds = append(kinds, kind)
		}
		slices.Sort(kinds)
		words = append(words, kinds...)
	}
	return strings.Join(words, " "), rest
}

// write replaces the cases of deviations.txt that explained has.
func (d *table) write(explained map[string]string) error {
	var b bytes.Buffer
	b.WriteString(d.head)
	width := 0
	for _, name := range d.names {
		width = max(width, len(name))
	}
	for _, name := range d.names {
		words, ok := explained[name]
		if !ok {
			words = d.found[name]
		}
		fmt.Fprintf(&b, "%-*s  %s\n", width, name, words)
	}
	return os.WriteFile("deviations.txt", b.Bytes(), 0o644)
}

// idle returns the quirks of a case that explain nothing.
func idle(explained string) (quirks []string) {
	words := strings.Fields(explained)
	for i, w := range words {
		if quirkRE.MatchString(w) && (i+1 == len(words) || quirkRE.MatchString(words[i+1])) {
			quirks = append(quirks, w)
		}
	}
	return quirks
}

// rows compares two tables of events, row by row.
func rows(theirs, ours []byte) []difference {
	w, g := strings.Split(string(theirs), "\n"), strings.Split(string(ours), "\n")
	if len(w) != len(g) {
		return []difference{{"rows", fmt.Sprint(len(w), " => ", len(g))}}
	}
	columns := strings.Fields(w[0])
	var diffs []difference
	for i := range w {
		if w[i] == g[i] {
			continue
		}
		a, b := rowRE.FindStringSubmatch(w[i]), rowRE.FindStringSubmatch(g[i])
		if a == nil || b == nil {
			diffs = append(diffs, difference{"row", w[i] + " => " + g[i]})
			continue
		}
		for j, column := range columns {
			if a[j+1] != b[j+1] {
				diffs = append(diffs, difference{"row." + column, a[len(columns)] + ": " + a[j+1] + " => " + b[j+1]})
			}
		}
	}
	return diffs
}

// rowRE finds the columns of a row: what is wider than its column moves the rest.
var rowRE = regexp.MustCompile(`^(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(.*?) *([0-9a-f]{32}) ([0-9a-f]{16}) ([0-9a-f]{16}) (\d+) +(.*)$`)
