package spans

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

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
}

// NewList makes a list of patterns; whole: some probes say class and
// method in one text.
func NewList(patterns []string, whole bool) *List {
	l := &List{all: patterns, classes: map[string]bpf.VivVerdict{}, methods: map[[2]string]bpf.VivVerdict{}}
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
func (l *List) Has(class, method string) bool {
	return slices.ContainsFunc(l.all, func(g string) bool { return globMatch(g, class+"#"+method) })
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
