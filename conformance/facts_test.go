package conformance

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A line is one line of a tree, with what stands in it and where it stands.
type line struct {
	kind   string // header, proc, span, gap, event, loss or other
	fields map[string]string
	text   string // the line without its branches
	depth  int
	up     *line // the line above whose branch it stands
	same   *line // the line of the other tree that says the same
	start  int64 // of a gap: ktime
	node   *node // viv's: what --format json says of it
}

var (
	branches   = regexp.MustCompile(`^(?:├─ |└─ |│  |   )+`)
	errors_    = regexp.MustCompile(`<error: [^>]*>`)
	spanLine   = regexp.MustCompile(`^\[SPAN tid=(\d+) (.*?)(?:  at=(.+?))?  dur=(-?[\d.]+[mu]s)((?:  \(\w+\))*)\]$`)
	procLine   = regexp.MustCompile(`^\[PROC pid=(\d+) comm=(.*?)(?: parent=(\d+))?\]$`)
	eventLine  = regexp.MustCompile(`^(\S+ +\S*) +→  (.*?) +@\+(-?[\d.]+[mu]s)$`)
	headerLine = regexp.MustCompile(`^(# +\w+)(.*)$`)
)

// parse reads a tree. Texts of decoding errors are left aside.
func parse(b []byte) []*line {
	var lines []*line
	var stack []*line
	for s := range strings.Lines(errors_.ReplaceAllString(string(b), "<error>")) {
		s = strings.TrimSuffix(s, "\n")
		l := &line{text: branches.ReplaceAllString(s, "")}
		l.depth = (utf8.RuneCountInString(s) - utf8.RuneCountInString(l.text)) / 3
		l.fields = map[string]string{}
		set := func(kind string, re *regexp.Regexp, names ...string) bool {
			m := re.FindStringSubmatch(l.text)
			if m == nil {
				return false
			}
			l.kind = kind
			for i, name := range names {
				l.fields[name] = m[i+1]
			}
			return true
		}
		switch {
		case set("span", spanLine, "tid", "name", "at", "dur", "flags"):
			if l.fields["name"] == "<no-span>" && l.fields["at"] == "" {
				l.kind = "gap"
			}
		case set("proc", procLine, "pid", "comm", "parent"):
		case set("event", eventLine, "name", "text", "offset"):
			if strings.HasPrefix(l.text, "DROP ") {
				l.kind = "loss"
			}
		case set("header", headerLine, "name", "value"):
		default:
			l.kind, l.fields["text"] = "other", l.text
		}
		lines = append(lines, l)
		if l.kind == "other" { // the rest of a text with a line break
			continue
		}
		if l.depth > len(stack) {
			l.kind, l.fields = "other", map[string]string{"text": l.text}
			continue
		}
		if stack = stack[:l.depth]; l.depth > 0 {
			l.up = stack[l.depth-1]
		}
		stack = append(stack, l)
	}
	return lines
}

// shown leaves out the intervals outside methods that show nothing: viv prints
// none of these (Q33).
func shown(lines []*line) []*line {
	full := map[*line]bool{}
	for _, l := range lines {
		full[l.up] = true
	}
	return slices.DeleteFunc(lines, func(l *line) bool { return l.kind == "gap" && !full[l] })
}

// draw returns the tree with the branches that vivarium draws.
func draw(lines []*line) string {
	last := map[*line]*line{}
	for _, l := range lines {
		last[l.up] = l
	}
	var b strings.Builder
	for _, l := range lines {
		prefix := ""
		for up := l; up.up != nil; up = up.up {
			branch := [2]string{"│  ", "   "}
			if up == l {
				branch = [2]string{"├─ ", "└─ "}
			}
			if last[up.up] == up {
				prefix = branch[1] + prefix
			} else {
				prefix = branch[0] + prefix
			}
		}
		b.WriteString(prefix + l.text + "\n")
	}
	return b.String()
}

// above returns the nearest line above whose branch l stands that is of a kind.
func (l *line) above(kinds ...string) *line {
	for up := l.up; up != nil; up = up.up {
		if slices.Contains(kinds, up.kind) {
			return up
		}
	}
	return nil
}

func (l *line) root() *line {
	for l.up != nil {
		l = l.up
	}
	return l
}

func (l *line) host() *line { return l.above("span", "gap") }

// known is a line's identity in both trees.
func known(l *line, ours bool) *line {
	if ours && l != nil && l.same != nil {
		return l.same
	}
	return l
}

// passes are the ways to recognise a line of vivarium's in viv's tree, the
// surest first: the fields that are the same. host is the span that it stands
// in, up the line above its branch.
var passes = map[string][]string{
	"header": {"name value", "name"},
	"span":   {"tid name at dur flags up", "tid name at dur flags", "tid name at dur", "tid name dur", "tid at dur", "tid name at"},
	"gap":    {"tid start", "tid dur"},
	"event":  {"name text offset up", "name text offset host", "name text time", "name time", "name offset host", "name text"},
	"proc":   {"pid comm parent up", "pid up", "pid host", "pid comm parent", "pid"},
	"loss":   {"text offset up", "text offset host", "text host", "text"},
	"other":  {"text up", "text"},
}

// pair finds for each line of vivarium's tree the line of viv's.
func pair(theirs, ours []*line) {
	for _, kind := range []string{"header", "span", "gap", "event", "proc", "loss", "other"} {
		if kind == "gap" {
			startGaps(theirs)
		}
		for _, fields := range passes[kind] {
			names := strings.Fields(fields)
			if names[len(names)-1] == "time" {
				pairByTime(theirs, ours, kind, names[:len(names)-1])
				continue
			}
			free := map[string][]*line{}
			for _, l := range ours {
				if l.kind == kind && l.same == nil {
					k := l.key(names, true)
					free[k] = append(free[k], l)
				}
			}
			for _, w := range theirs {
				if w.kind != kind || w.same != nil {
					continue
				}
				k := w.key(names, false)
				if list := free[k]; len(list) > 0 {
					w.same, list[0].same = list[0], w
					free[k] = list[1:]
				}
			}
		}
	}
}

// pairByTime pairs lines whose events happened at the same time, as exactly as
// vivarium's offset says it, the nearest first.
func pairByTime(theirs, ours []*line, kind string, names []string) {
	free := map[string][]*line{}
	for _, g := range ours {
		if g.kind == kind && g.same == nil {
			k := g.key(names, true)
			free[k] = append(free[k], g)
		}
	}
	type candidate struct {
		theirs, ours *line
		distance     int64
	}
	var list []candidate
	for _, w := range theirs {
		at, ok := w.time()
		if w.kind != kind || w.same != nil || !ok {
			continue
		}
		for _, g := range free[w.key(names, false)] {
			if near(at, g, w) {
				list = append(list, candidate{w, g, distance(at, g)})
			}
		}
	}
	slices.SortStableFunc(list, func(x, y candidate) int { return cmp.Compare(x.distance, y.distance) })
	for _, c := range list {
		if c.theirs.same == nil && c.ours.same == nil {
			c.theirs.same, c.ours.same = c.ours, c.theirs
		}
	}
}

// near says whether an event of viv's tree is at the time of vivarium's, as
// exactly as vivarium's offset has it.
func near(at int64, ours, theirs *line) bool {
	if ours.node == nil {
		return true
	}
	if strings.HasSuffix(theirs.fields["offset"], "ms") {
		return distance(at, ours) <= 50_001 // half of its last digit
	}
	return distance(at, ours) <= 51
}

func distance(at int64, ours *line) int64 {
	if ours.node == nil {
		return 0
	}
	return max(at-int64(ours.node.Ktime), int64(ours.node.Ktime)-at)
}

// about names an event whose text differs.
func about(l *line) string {
	if l.kind != "event" {
		return ""
	}
	return strings.Fields(l.fields["name"] + " -")[1] + ": "
}

// elsewhere says where else a process is drawn that viv does not draw there.
func elsewhere(l *line, ours []*line) string {
	if l.kind != "proc" {
		return ""
	}
	for _, g := range ours {
		if g.kind == "proc" && g.fields["pid"] == l.fields["pid"] {
			if g.up == nil {
				return "the watched process"
			}
			return "drawn elsewhere"
		}
	}
	return "not drawn"
}

// time returns about when an event of vivarium's tree happened: ktime.
func (l *line) time() (int64, bool) {
	h := l.host()
	if h == nil || h.kind == "span" && h.same == nil {
		return 0, false
	}
	start := h.start
	if h.same != nil {
		if h.same.node == nil {
			return 0, false
		}
		start = int64(h.same.node.Start)
	}
	text, unit := strings.CutSuffix(l.fields["offset"], "ms")
	text = strings.TrimSuffix(text, "us")
	n, err := strconv.ParseFloat(text, 64)
	if unit {
		n *= 1000
	}
	return start + int64(n*1000), err == nil
}

// startGaps finds out when the gaps of vivarium's tree began: at the session's
// start, or when the methods in front of them had ended.
func startGaps(theirs []*line) {
	var at int64
	for _, l := range theirs {
		switch {
		case l.kind == "header":
			if _, ktime, ok := strings.Cut(l.text, "started  "); ok {
				_, ktime, _ = strings.Cut(ktime, "ktime=")
				at, _ = strconv.ParseInt(ktime, 10, 64)
			}
		case l.kind == "gap":
			l.start = at
		case l.kind == "span" && l.depth == 1 && l.same != nil && l.same.node != nil:
			at = max(at, int64(l.same.node.End))
		}
	}
}

func (l *line) key(names []string, ours bool) string {
	var b strings.Builder
	for _, name := range names {
		switch name {
		case "up":
			fmt.Fprintf(&b, "%p ", known(l.up, ours))
		case "host":
			fmt.Fprintf(&b, "%p ", known(l.host(), ours))
		case "start":
			fmt.Fprintf(&b, "%d ", l.start)
		default:
			fmt.Fprintf(&b, "%q ", l.fields[name])
		}
	}
	return b.String()
}

// A difference is something that viv prints otherwise.
type difference struct {
	kind  string // -span, +span, span.dur, span.place, order and so on
	value string // vivarium's => viv's
}

// differences compares two trees line by line, wherever the lines stand.
func differences(theirs, ours []*line) []difference {
	pair(theirs, ours)
	var diffs []difference
	add := func(kind, from, to string) { diffs = append(diffs, difference{kind, from + " => " + to}) }
	order := map[*line]int{}
	for i, w := range theirs {
		order[w] = i
		g := w.same
		if g == nil {
			add("-"+w.kind, w.text, elsewhere(w, ours))
			continue
		}
		if at, ok := w.time(); w.kind == "event" && g.node != nil && (!ok || !near(at, g, w)) {
			add("event.time", w.text, g.text)
			continue
		}
		for _, name := range []string{"name", "at", "dur", "flags", "comm", "parent", "text", "value", "offset"} {
			if w.fields[name] == g.fields[name] {
				continue
			}
			if name != "offset" || known(g.host(), true) == w.host() {
				add(w.kind+"."+name, about(w)+w.fields[name], g.fields[name])
			}
		}
		if known(g.up, true) != w.up {
			add(w.kind+".place", w.place(g), g.place(g))
		}
	}
	newest := map[*line]int{} // by the line above
	for _, g := range ours {
		if g.same == nil {
			add("+"+g.kind, "", g.text)
			continue
		}
		if known(g.up, true) == g.same.up && g.kind != "header" {
			if at := order[g.same]; at < newest[g.up] {
				add("order", "", g.text)
			} else {
				newest[g.up] = at
			}
		}
	}
	return diffs
}

// place says where a line stands, seen from the thread and process that viv says
// it is of: a method or a gap, of its own thread or another's, and in it a line of
// its process.
func (l *line) place(of *line) string {
	s := "session"
	if h := l.host(); h != nil {
		s = map[string]string{"span": "method", "gap": "gap"}[h.kind]
		if of.node != nil && of.node.TID != 0 && strconv.Itoa(int(of.node.TID)) != h.fields["tid"] {
			s += " of another thread"
		}
	}
	for up := l.up; up != nil && up.kind != "span" && up.kind != "gap"; up = up.up {
		if up.kind == "proc" && up.up != nil {
			s += ", process"
			if up.fields["pid"] == up.root().fields["pid"] {
				s = strings.TrimSuffix(s, "process") + "watched process"
			}
			if of.node != nil && of.kind == "event" && strconv.Itoa(int(of.node.PID)) != up.fields["pid"] {
				s += " that is not its own"
			}
			break
		}
	}
	return s
}
