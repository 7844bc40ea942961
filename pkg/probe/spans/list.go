package spans

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"vivarium/bpf"

	"github.com/cilium/ebpf"
)

// The bounds of a list of methods: those of the maps that it becomes
// (bpf/hooks/usdt.h).
const (
	classMax  = 64 // bytes of a class's name, with a NUL; the same for a method's
	maxListed = 4096
	maxAsked  = 120_000 // what globs decided about methods; each has up to two entries
)

// ReadAllow reads the arguments of --span-allow: globs of Class#method, or
// @FILE with one on each line.
func ReadAllow(args []string) ([]string, error) {
	var list []string
	for _, arg := range args {
		name, isFile := strings.CutPrefix(arg, "@")
		if !isFile {
			list = append(list, arg)
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
				list = append(list, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(list) > maxListed {
		return nil, fmt.Errorf("%d names are more than %d", len(list), maxListed)
	}
	return list, nil
}

// List decides which methods are recorded. What it knows is in maps that
// the programs look into.
type List struct {
	all     []string // patterns
	globs   []string // what the maps cannot say; not empty: the programs ask
	classes map[string]bpf.VivVerdict
	methods map[[2]string]bpf.VivVerdict
	asked   int // entries that came by asking

	found []atomic.Bool // by pattern: there is such a method
	seen  map[string]bool
}

// maxSeen bounds the names of methods that are compared with the patterns in the
// end; a program can make up any number.
const maxSeen = 4096

// NewList makes a list of patterns; whole: some probes say class and
// method in one text.
func NewList(patterns []string, whole bool) *List {
	l := &List{all: patterns, found: make([]atomic.Bool, len(patterns)), seen: map[string]bool{}, classes: map[string]bpf.VivVerdict{}, methods: map[[2]string]bpf.VivVerdict{}}
	for _, p := range patterns {
		class, method, ok := strings.Cut(p, "#")
		switch {
		case strings.Contains(class, "*"), !ok, method != "*" && strings.Contains(method, "*"), !fits(class), !fits(method),
			whole && (method == "*" || !fits(p)):
			l.globs = append(l.globs, p)
		case method == "*":
			l.classes[class] = bpf.VivVerdictVERDICT_YES
		default:
			l.methods[[2]string{class, method}] = bpf.VivVerdictVERDICT_YES
		}
	}
	if len(l.globs) > 0 {
		l.globs = patterns
	}
	return l
}

// Put fills the maps.
func (l *List) Put(classes, methods *ebpf.Map) error {
	if len(l.globs) > 0 {
		return nil
	}
	for m := range l.methods {
		if l.classes[m[0]] == 0 {
			l.classes[m[0]] = bpf.VivVerdictVERDICT_SOME
		}
		l.classes[m[0]+"#"+m[1]] = bpf.VivVerdictVERDICT_YES // as probes say it that have both in one
		if err := methods.Put(methodKey(m[0], m[1]), uint32(bpf.VivVerdictVERDICT_YES)); err != nil {
			return fmt.Errorf("list method %s#%s: %w", m[0], m[1], err)
		}
	}
	for c, v := range l.classes {
		if !fits(c) {
			continue
		}
		var key [classMax]byte
		copy(key[:], c)
		if err := classes.Put(key, uint32(v)); err != nil {
			return fmt.Errorf("list class %s: %w", c, err)
		}
	}
	return nil
}

// Asks says whether the programs must ask about methods that they do not know.
func (l *List) Asks() bool { return len(l.globs) > 0 }

// Has says whether a method is on the list.
func (l *List) Has(class, method string) (has bool) {
	name := class + "#" + method
	for i, g := range l.all {
		if globMatch(g, name) {
			l.found[i].Store(true)
			has = true
		}
	}
	return has
}

// See notes that a method of that name was called.
func (l *List) See(name []byte) {
	if !l.seen[string(name)] && len(l.seen) < maxSeen {
		l.seen[string(name)] = true
	}
}

// Missing says in one line which patterns are of no method, neither in a file nor
// called; nil: none, or there were too many methods.
func (l *List) Missing() error {
	if len(l.seen) >= maxSeen {
		return nil
	}
	return unfound(l.all, func(i int) bool {
		if l.found[i].Load() {
			return true
		}
		for name := range l.seen {
			if globMatch(l.all[i], name) {
				return true
			}
		}
		return false
	}, "are no method that was found")
}

// Decide says whether a method is on the list, and tells the programs, so that
// they do not ask again. Only so many are told.
func (l *List) Decide(name string, methods *ebpf.Map) bool {
	v := bpf.VivVerdictVERDICT_NO
	if slices.ContainsFunc(l.globs, func(g string) bool { return globMatch(g, name) }) {
		v = bpf.VivVerdictVERDICT_YES
	}
	if methods != nil && l.asked < maxAsked {
		class, method, _ := strings.Cut(name, "#")
		// It is told already when the method was called again before. A map that
		// is full costs only that the programs ask again, and so does a long name.
		for _, key := range [][2]string{{class, method}, {name, ""}} {
			if fits(key[0]) && fits(key[1]) && methods.Update(methodKey(key[0], key[1]), uint32(v), ebpf.UpdateNoExist) == nil {
				l.asked++
			}
		}
	}
	return v == bpf.VivVerdictVERDICT_YES
}

// fits says whether a name is not cut where the programs look it up, nor as
// long as one that is.
func fits(name string) bool { return len(name) < classMax-1 }

// methodKey is a method as the programs look it up.
func methodKey(class, method string) [2 * classMax]byte {
	var k [2 * classMax]byte
	copy(k[:classMax-1], class)
	copy(k[classMax:2*classMax-1], method)
	return k
}

// globMatch matches a whole name; * stands for any text. Nothing else is
// special: Ruby's names end in question marks.
func globMatch(pattern, name string) bool {
	star, mark, i, j := -1, 0, 0, 0
	for j < len(name) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && pattern[i] == name[j]:
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}
