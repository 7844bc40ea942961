package usdt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"
	"vivarium/pkg/probe/spans"
)

// maxOfOne bounds the sites of a file that are attached; libraries have a dozen.
const maxOfOne = 128

// Provider is the provider of any program's probes.
var Provider = spans.Kind{Name: "usdt:", Form: "PROVIDER:ENTRY:RETURN[:RAISE][@NAME[@FILE[@LINE]]]", New: func(arg string) (*spans.Provider, error) {
	u, err := parse(arg)
	if err != nil {
		return nil, err
	}
	return u.provider(), nil
}}

// Vivarium is the provider of the probes of vivarium's own gem.
var Vivarium = spans.Kind{Name: "vivarium_usdt", Auto: true, New: func(string) (*spans.Provider, error) {
	u := &source{name: "vivarium_usdt", probes: map[string]probe{
		"start_probe": {event.SpanStart, roles{name: 1, file: 2, line: 3}.args()},
		"stop_probe":  {event.SpanStop, roles{name: 1, file: 2, line: 3}.args()},
		"raise_probe": {event.SpanRaise, roles{name: 1, method: 2, file: 3, line: 4}.args()},
	}}
	return u.provider(), nil
}}

// RubyRaise is a provider of Ruby's probe of an exception, in methods of Ruby that
// are recorded. Ruby's probes of methods are not used:
// Ruby 3.1 itself crashes while anybody listens to those of C methods, once it
// has collected garbage between two alias, -> or {**hash} (to name the hidden
// object that these call, it keeps a string there that its collector does not
// see); and they make every method pay, not only those on the list.
func RubyRaise() *spans.Provider {
	u := &source{name: "ruby", inMethod: true, probes: map[string]probe{
		"raise": {event.SpanRaise, roles{name: 1, file: 2, line: 3}.args()},
	}}
	return u.provider()
}

// source is a provider of probes, and what its probes tell.
type source struct {
	name     string
	inMethod bool // only what happens in a method of Ruby's that is recorded
	probes   map[string]probe
}

// probe is what a probe tells, and in which of its arguments.
type probe struct {
	kind event.ID
	args [bpf.VivRoleROLES]int // by role, counted from 1; 0: it has none
}

func (u *source) provider() *spans.Provider {
	p := &spans.Provider{
		From: map[event.ID][]string{}, Programs: []string{"usdt", attach.HoldProgram},
		Finders: func(t *spans.Table) []attach.Finder {
			return []attach.Finder{{Kind: "probes", Find: func(f *attach.File) (attach.Found, error) { return u.find(t, f) }}}
		},
	}
	for _, name := range slices.Sorted(maps.Keys(u.probes)) {
		probe := u.probes[name]
		p.From[probe.kind] = append(p.From[probe.kind], "usdt:"+u.name+":"+name)
		p.Whole = p.Whole || probe.kind == event.SpanStart && probe.args[bpf.VivRoleROLE_METHOD] == 0
	}
	return p
}

// roles names the arguments, counted from 1, by what they are to us.
type roles struct{ name, nameLen, method, methodLen, file, line int }

func (r roles) args() [bpf.VivRoleROLES]int {
	return [bpf.VivRoleROLES]int{r.name, r.nameLen, r.method, r.methodLen, r.file, r.line}
}

// parse reads PROVIDER:ENTRY:RETURN[:RAISE] and where behind @ the name (for
// a raise the error), the file and the line are: arguments by number, a text
// that has its length in another as N/LEN, class and method as N#M.
func parse(arg string) (*source, error) {
	arg, layout, _ := strings.Cut(arg, "@")
	parts := strings.Split(arg, ":")
	if len(parts) < 3 || len(parts) > 4 || slices.Contains(parts, "") {
		return nil, fmt.Errorf("has %d names", len(parts))
	}
	var r roles
	if layout == "" {
		layout = "1"
	}
	at := strings.Split(layout, "@")
	if len(at) > 3 {
		return nil, fmt.Errorf("too many @")
	}
	number := func(s string, to *int) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > MaxArgs {
			return fmt.Errorf("argument %q is none of 1 to %d", s, MaxArgs)
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
		return nil, err
	}
	if two {
		if err := text(method, &r.method, &r.methodLen); err != nil {
			return nil, err
		}
	}
	for i, to := range []*int{&r.file, &r.line} {
		if len(at) > i+1 {
			if err := number(at[i+1], to); err != nil {
				return nil, err
			}
		}
	}
	u := &source{name: parts[0], probes: map[string]probe{}}
	for i, kind := range []event.ID{event.SpanStart, event.SpanStop, event.SpanRaise} {
		if i+1 < len(parts) {
			u.probes[parts[i+1]] = probe{kind, r.args()}
		}
	}
	return u, nil
}

// find finds the probes.
func (u *source) find(t *spans.Table, f *attach.File) (found attach.Found, err error) {
	sites, err := Read(f.ELF, func(provider string) bool { return provider == u.name })
	for i := range sites {
		site := &sites[i]
		if len(found.Sites) >= maxOfOne {
			err = errors.Join(err, fmt.Errorf("only %d of %d sites", i, len(sites)))
			break
		}
		p, ok := u.probes[site.Name]
		if !ok {
			continue
		}
		number, serr := u.site(t, p, site)
		if serr != nil {
			err = errors.Join(err, fmt.Errorf("%s:%s: %w", site.Provider, site.Name, serr))
			continue
		}
		found.Sites = append(found.Sites, attach.Site{Program: "usdt", Offset: site.Offset, Cookie: uint64(number), Semaphore: site.Semaphore, All: true})
	}
	return found, err
}

// site tells the programs about a site.
func (u *source) site(t *spans.Table, p probe, site *Site) (number uint32, err error) {
	v := bpf.VivSite{Kind: uint16(p.kind)}
	if u.inMethod {
		v.Flags |= uint16(bpf.VivSiteFlagSITE_IN_METHOD)
	}
	for role, n := range p.args {
		if n == 0 {
			continue
		}
		if n > len(site.Args) || site.Args[n-1].Kind == None {
			return 0, fmt.Errorf("argument %d cannot be read", n)
		}
		a := &site.Args[n-1]
		spec := &v.Arg[role]
		*spec = bpf.VivArgSpec{Value: a.Value, Base: a.Base, Index: a.Index, Kind: uint8(a.Kind), Scale: a.Scale, Size: a.Size}
		if a.Signed {
			spec.Flags |= uint8(bpf.VivArgFlagARG_SIGNED)
		}
		if a.Shift == 8 {
			spec.Flags |= uint8(bpf.VivArgFlagARG_HIGH)
		}
	}
	return t.Site(&v)
}
