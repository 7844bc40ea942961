package probe

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/usdt"
)

// Spans says where method spans come from. The zero value: nowhere.
type Spans struct {
	Markers bool     // calls that ask for a path beginning with viv://
	Ruby    bool     // Ruby programs of the command mark their methods
	RubyC   bool     // methods of Ruby that are written in C
	Observe bool     // only what processes do inside Vivarium.observe is recorded
	Allow   []string // globs of Class#method instead of the default list; nil: that
	usdt    []usdtProvider
	funcs   []function
}

// usdtProvider is a provider of probes, and what its probes tell.
type usdtProvider struct {
	name     string
	inMethod bool // only what happens in a method of Ruby's that is recorded
	probes   map[string]probe
}

// probe is what a probe tells, and in which of its arguments.
type probe struct {
	kind event.ID
	args [bpf.VivRoleROLES]int // by role, counted from 1; 0: it has none
}

// function is a compiled function whose calls are spans.
type function struct{ binary, symbol string }

// wholeNames says whether a provider's probes say class and method in one text.
func (s *Spans) wholeNames() bool {
	return slices.ContainsFunc(s.usdt, func(u usdtProvider) bool {
		for _, p := range u.probes {
			if p.kind == event.SpanStart && p.args[bpf.VivRoleROLE_METHOD] == 0 {
				return true
			}
		}
		return false
	})
}

// probed says whether there is anything to look for in files.
func (s *Spans) probed() bool { return s.mapped() || len(s.funcs) > 0 }

// mapped says whether there is anything to look for in the files that processes
// map.
func (s *Spans) mapped() bool { return len(s.usdt) > 0 || s.RubyC }

// spanProvider is one that --spans can name, or, with a form, a kind of them.
type spanProvider struct {
	name string // with a colon at the end: form tells the rest
	form string
	add  func(s *Spans, rest string) error
}

var spanProviders = []spanProvider{
	{"markers", "", func(s *Spans, _ string) error { s.Markers = true; return nil }},
	{"vivarium_usdt", "", func(s *Spans, _ string) error { s.usdt = append(s.usdt, vivariumUSDT); return nil }},
	{"ruby", "", func(s *Spans, _ string) error { s.Markers, s.Ruby = true, true; return nil }},
	{"observe", "", func(s *Spans, _ string) error { s.Markers, s.Observe = true, true; return nil }},
	{"ruby-c", "", func(s *Spans, _ string) error { s.RubyC, s.usdt = true, append(s.usdt, rubyRaise); return nil }},
	{"usdt:", "PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]", (*Spans).addUSDT},
	{"func:", "BINARY:SYMBOL", (*Spans).addFunction},
}

// autoSpans is what auto stands for: what changes nothing in the target.
var autoSpans = []string{"markers", "vivarium_usdt", "ruby-c"}

// vivariumUSDT are the probes of vivarium's own gem.
var vivariumUSDT = usdtProvider{name: "vivarium_usdt", probes: map[string]probe{
	"start_probe": {event.SpanStart, roles{name: 1, file: 2, line: 3}.args()},
	"stop_probe":  {event.SpanStop, roles{name: 1, file: 2, line: 3}.args()},
	"raise_probe": {event.SpanRaise, roles{name: 1, method: 2, file: 3, line: 4}.args()},
}}

// rubyRaise is Ruby's probe of an exception. Its probes of methods are not used:
// Ruby 3.1 itself crashes while anybody listens to those of C methods, once it
// has collected garbage between two alias, -> or {**hash} (to name the hidden
// object that these call, it keeps a string there that its collector does not
// see); and they make every method pay, not only those on the list.
var rubyRaise = usdtProvider{name: "ruby", inMethod: true, probes: map[string]probe{
	"raise": {event.SpanRaise, roles{name: 1, file: 2, line: 3}.args()},
}}

// roles names the arguments, counted from 1, by what they are to us.
type roles struct{ name, nameLen, method, methodLen, file, line int }

func (r roles) args() [bpf.VivRoleROLES]int {
	return [bpf.VivRoleROLES]int{r.name, r.nameLen, r.method, r.methodLen, r.file, r.line}
}

// SpanProviders names what ParseSpans knows.
func SpanProviders() []string {
	names := []string{"auto", "none"}
	for _, p := range spanProviders {
		names = append(names, p.name+p.form)
	}
	return names
}

// ParseSpans reads the argument of --spans: providers, or auto or none.
func ParseSpans(names []string) (Spans, error) {
	var s Spans
	for _, name := range names {
		switch name {
		case "none":
			if len(names) > 1 {
				return s, fmt.Errorf("none excludes all others")
			}
		case "auto":
			for _, auto := range autoSpans {
				if err := s.addProvider(auto); err != nil {
					return s, err
				}
			}
		default:
			if err := s.addProvider(name); err != nil {
				return s, err
			}
		}
	}
	if s.Ruby { // which marks these methods too
		s.RubyC = false
		s.usdt = slices.DeleteFunc(s.usdt, func(u usdtProvider) bool { return u.inMethod })
	}
	return s, nil
}

func (s *Spans) addProvider(name string) error {
	for _, p := range spanProviders {
		rest, ok := strings.CutPrefix(name, p.name)
		if !ok || p.form == "" && rest != "" {
			continue
		}
		if err := p.add(s, rest); err != nil {
			return fmt.Errorf("%s: %w; it is %s%s", name, err, p.name, p.form)
		}
		return nil
	}
	return fmt.Errorf("unknown provider %q", name)
}

// addUSDT reads PROVIDER:ENTRY:RETURN[:RAISE] and where behind @ the name (for
// a raise the error), the file and the line are: arguments by number, a text
// that has its length in another as N/LEN, class and method as N#M.
func (s *Spans) addUSDT(arg string) error {
	arg, layout, _ := strings.Cut(arg, "@")
	parts := strings.Split(arg, ":")
	if len(parts) < 3 || len(parts) > 4 || slices.Contains(parts, "") {
		return fmt.Errorf("has %d names", len(parts))
	}
	var r roles
	if layout == "" {
		layout = "1"
	}
	at := strings.Split(layout, "@")
	if len(at) > 3 {
		return fmt.Errorf("too many @")
	}
	number := func(s string, to *int) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > usdt.MaxArgs {
			return fmt.Errorf("argument %q is none of 1 to %d", s, usdt.MaxArgs)
		}
		*to = n
		return nil
	}
	text := func(s string, to, length *int) error {
		s, l, counted := strings.Cut(s, "/")
		if err := number(s, to); err != nil || !counted {
			return err
		}
		return number(l, length)
	}
	name, method, two := strings.Cut(at[0], "#")
	if err := text(name, &r.name, &r.nameLen); err != nil {
		return err
	}
	if two {
		if err := text(method, &r.method, &r.methodLen); err != nil {
			return err
		}
	}
	for i, to := range []*int{&r.file, &r.line} {
		if len(at) > i+1 {
			if err := number(at[i+1], to); err != nil {
				return err
			}
		}
	}
	p := usdtProvider{name: parts[0], probes: map[string]probe{}}
	for i, kind := range spanEvents {
		if i+1 < len(parts) {
			p.probes[parts[i+1]] = probe{kind, r.args()}
		}
	}
	s.usdt = append(s.usdt, p)
	return nil
}

func (s *Spans) addFunction(arg string) error {
	i := strings.LastIndexByte(arg, ':')
	if i <= 0 || i == len(arg)-1 {
		return fmt.Errorf("has no symbol")
	}
	s.funcs = append(s.funcs, function{arg[:i], arg[i+1:]})
	return nil
}

// spanEvents are what spans are rebuilt from.
var spanEvents = []event.ID{event.SpanStart, event.SpanStop, event.SpanRaise}

// attachSpans attaches the providers, and notes in the session where the span
// events come from. Probes in files are attached as watched processes map them.
func (p *Probe) attachSpans() error {
	s := &p.opt.Spans
	from := map[event.ID][]string{}
	if s.Markers {
		if err := p.bpf.attach(markers[0]); err != nil {
			return fmt.Errorf("markers: %w", err)
		}
		for _, id := range spanEvents {
			from[id] = append(from[id], "markers")
		}
	}
	if s.probed() {
		sites, err := p.newSites()
		if err != nil {
			return err
		}
		p.sites = sites
	}
	for _, u := range s.usdt {
		for _, name := range slices.Sorted(maps.Keys(u.probes)) {
			id := u.probes[name].kind
			from[id] = append(from[id], "usdt:"+u.name+":"+name)
		}
	}
	if s.RubyC {
		for _, id := range spanEvents[:2] {
			from[id] = append(from[id], "ruby-c")
		}
	}
	for _, f := range s.funcs {
		for _, id := range spanEvents[:2] {
			from[id] = append(from[id], "func:"+f.binary+":"+f.symbol)
		}
	}
	for id, list := range from {
		p.session.Hooks[event.Kinds[id].Name] = strings.Join(list, ",")
	}
	return nil
}
