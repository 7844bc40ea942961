package spans

import (
	"fmt"
	"strings"
)

// shownNames is how many names a message has.
const shownNames = 5

// Found is what the processes of a provider with Reports have said. A process can
// say anything: it decides only what the user is told in the end.
type Found struct {
	list []string // what the user gave; nil: the provider's own, of which nobody expects all
	seen []bool   // by place in the list
	any  bool     // some process has the list
}

// NewFound is ready for a list; nil: the provider's own.
func NewFound(list []string) *Found { return &Found{list: list, seen: make([]bool, len(list))} }

// See notes a report: of an entry, counted from 1, or with 0 of the list itself.
// It reports whether there is such an entry.
func (f *Found) See(entry uint32) bool {
	f.any = true
	if entry == 0 {
		return true
	}
	if uint64(entry) > uint64(len(f.seen)) {
		return f.list == nil
	}
	f.seen[entry-1] = true
	return true
}

// Missing says in one line what was never found; nil: nothing.
func (f *Found) Missing() error {
	if !f.any {
		return fmt.Errorf("no Ruby ran that --spans ruby could mark the methods of")
	}
	return unfound(f.list, func(i int) bool { return f.seen[i] }, "were never defined in a Ruby that ran")
}

// unfound says in one line which names of a list were not found; nil: all were.
func unfound(list []string, found func(i int) bool, what string) error {
	var names []string
	n := 0
	for i, name := range list {
		if found(i) {
			continue
		}
		if n++; n <= shownNames {
			names = append(names, fmt.Sprintf("%.100q", name))
		}
	}
	if n == 0 {
		return nil
	}
	text := strings.Join(names, ", ")
	if n > shownNames {
		text += fmt.Sprintf(" and %d more", n-shownNames)
	}
	return fmt.Errorf("%d of %d names of --span-allow %s: %s", n, len(list), what, text)
}
