package probe

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"

	"vivarium/bpf"
	"vivarium/pkg/cmethod"
	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"
	velf "vivarium/pkg/probe/elf"
	"vivarium/pkg/probe/wire"
	"vivarium/pkg/usdt"

	"github.com/cilium/ebpf"
)

// The bounds of what is attached to files.
const (
	maxSites = 4096 // sites of bpf/hooks/usdt.h
	maxOfOne = 128  // USDT sites of a file; libraries have a dozen
)

// siteName is what a site is called, if its probe does not say it.
type siteName struct {
	name   []byte
	method bool // of Ruby
}

// siteSet are the sites that the programs know by number, and the list of methods.
// A site is attached once for all processes, and the programs leave those that are
// not watched: so nothing is missed in a process that was just forked.
type siteSet struct {
	spans *Spans
	list  *methodList
	sites *ebpf.Map // by number
	known *ebpf.Map // methods about which was decided
	n     atomic.Uint32
	names [maxSites]atomic.Pointer[siteName]
}

// newSites makes the programs ready.
func (p *Probe) newSites() (*siteSet, error) {
	s := &siteSet{spans: &p.opt.Spans, sites: p.coll.Maps["sites"], known: p.coll.Maps["methods"]}
	if err := p.bpf.loadProbes("usdt", "method_entry", "method_return", "method_jump", "func_entry", "func_return"); err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	if err := p.bpf.load("hold"); err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	allow := p.opt.Spans.Allow
	if allow == nil {
		allow = defaultMethods
	}
	s.list = newMethodList(allow, p.opt.Spans.Allow != nil && p.opt.Spans.wholeNames())
	if err := p.coll.Variables["list_asks"].Set(len(s.list.globs) > 0); err != nil {
		return nil, fmt.Errorf("set list_asks: %w", err)
	}
	return s, s.list.put(p.coll.Maps["classes"], s.known)
}

// spanFinders find the sites of the chosen providers in files.
func (p *Probe) spanFinders() (finders []attach.Finder) {
	if p.sites == nil {
		return nil
	}
	if len(p.opt.Spans.usdt) > 0 {
		finders = append(finders, attach.Finder{Kind: "probes", Find: p.sites.findUSDT})
	}
	if p.opt.Spans.RubyC {
		finders = append(finders, attach.Finder{Kind: "probes", Find: p.sites.findMethods})
	}
	return finders
}

// attachSpanFunctions attaches to the functions that were named.
func (p *Probe) attachSpanFunctions() error {
	for _, f := range p.opt.Spans.funcs {
		if err := p.attachFunction(f); err != nil {
			return fmt.Errorf("func:%s:%s: %w", f.binary, f.symbol, err)
		}
	}
	return nil
}

// findUSDT finds the probes of the chosen providers.
func (s *siteSet) findUSDT(f *attach.File) (found attach.Found, err error) {
	sites, err := usdt.Read(f.ELF, func(provider string) bool {
		return slices.ContainsFunc(s.spans.usdt, func(u usdtProvider) bool { return u.name == provider })
	})
	for i := range sites {
		site := &sites[i]
		if len(found.Sites) >= maxOfOne {
			err = errors.Join(err, fmt.Errorf("only %d of %d sites", i, len(sites)))
			break
		}
		for j := range s.spans.usdt {
			u := &s.spans.usdt[j]
			probe, ok := u.probes[site.Name]
			if !ok || u.name != site.Provider {
				continue
			}
			cookie, serr := s.site(u, probe, site)
			if serr != nil {
				err = errors.Join(err, fmt.Errorf("%s:%s: %w", site.Provider, site.Name, serr))
				continue
			}
			found.Sites = append(found.Sites, attach.Site{Program: "usdt", Offset: site.Offset, Cookie: uint64(cookie), Semaphore: site.Semaphore, All: true})
		}
	}
	return found, err
}

// site tells the programs about a site. It returns the cookie by which they know
// it.
func (s *siteSet) site(u *usdtProvider, p probe, site *usdt.Site) (cookie uint32, err error) {
	v := bpf.VivSite{Kind: uint16(p.kind)}
	if s.spans.Allow != nil && p.kind != event.SpanRaise {
		v.Flags |= uint16(bpf.VivSiteFlagSITE_LISTED)
	}
	if u.inMethod {
		v.Flags |= uint16(bpf.VivSiteFlagSITE_IN_METHOD)
	}
	for role, n := range p.args {
		if n == 0 {
			continue
		}
		if n > len(site.Args) || site.Args[n-1].Kind == usdt.None {
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
	if cookie, err = s.next("", false); err != nil || s.sites == nil {
		return cookie, err
	}
	return cookie, s.sites.Put(cookie, &v)
}

// next is the number of a new site.
func (s *siteSet) next(name string, method bool) (uint32, error) {
	n := s.n.Add(1)
	if n > maxSites {
		s.n.Store(maxSites)
		return 0, fmt.Errorf("more than %d sites", maxSites)
	}
	s.names[n-1].Store(&siteName{[]byte(name), method})
	return n - 1, nil
}

// findMethods finds the functions of a file in which methods of Ruby that are on
// the list are written, and where exceptions leave them.
func (s *siteSet) findMethods(f *attach.File) (found attach.Found, err error) {
	code, err := cmethod.Open(f.ELF)
	if code == nil {
		return found, err
	}
	found.Directories = code.Directories()
	methods, merr := code.Methods(s.list.has)
	jumps, jerr := code.Jumps()
	err = errors.Join(err, merr, jerr)
	var entries, returns []attach.Site
	for _, m := range methods {
		name := m.Class + "#" + m.Name
		at, depth := code.Entry(m.Func)
		entry, ok := velf.Offset(f.ELF, at)
		if !ok || slices.ContainsFunc(entries, func(s attach.Site) bool { return s.Offset == entry }) { // a function can be several methods
			continue
		}
		ends, eerr := code.Ends(m.Func)
		if eerr == nil && slices.Contains(ends, at) {
			eerr = errors.New("its function does nothing but jump to another one")
		}
		if eerr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, eerr))
			continue
		}
		site, serr := s.next(name, true)
		if serr != nil {
			err = errors.Join(err, serr)
			break
		}
		entries = append(entries, attach.Site{Program: "method_entry", Offset: entry, Cookie: depth<<32 | uint64(site), All: true})
		returns = append(returns, methodPlaces(f.ELF, "method_return", ends)...)
	}
	// The entries last: what began before the rest is there would not end.
	found.Sites = slices.Concat(methodPlaces(f.ELF, "method_jump", jumps), sorted(returns), entries)
	return found, err
}

// methodPlaces are the places in the file of addresses.
func methodPlaces(e *elf.File, program string, addrs []uint64) (sites []attach.Site) {
	for _, addr := range addrs {
		if at, ok := velf.Offset(e, addr); ok {
			sites = append(sites, attach.Site{Program: program, Offset: at, All: true})
		}
	}
	return sorted(sites)
}

// sorted are the different ones, by place.
func sorted(sites []attach.Site) []attach.Site {
	slices.SortFunc(sites, func(a, b attach.Site) int { return cmp.Compare(a.Offset, b.Offset) })
	return slices.Compact(sites)
}

// attachFunction attaches to a function's entry and return.
func (p *Probe) attachFunction(fn function) error {
	path := fn.binary
	if !strings.Contains(path, "/") {
		found, err := exec.LookPath(path)
		if err != nil {
			return err
		}
		path = found
	}
	if len(fn.symbol) >= 4096 {
		return errors.New("no function has so long a name")
	}
	return p.files.Program(path, attach.Finder{Kind: "probes", Find: func(f *attach.File) (found attach.Found, err error) {
		if f.ELF.Section(".go.buildinfo") != nil || f.ELF.Section(".gopclntab") != nil {
			return found, errors.New("a Go program moves its stacks, and a probe on a function's return would crash it")
		}
		at, err := velf.Functions(f.ELF, map[string]bool{fn.symbol: true})
		if err != nil {
			return found, err
		}
		place, ok := at[fn.symbol]
		if !ok {
			return found, errors.New("it has no function of that name, or only in its debug symbols")
		}
		// An endbr64 in front must be stepped through (see elf.Entry); behind it the
		// return address is still on top of the stack.
		code := make([]byte, 4)
		if _, err := f.ReadAt(code, int64(place)); err == nil && string(code) == "\xf3\x0f\x1e\xfa" {
			place += 4
		}
		i, err := p.sites.next(fn.symbol, false)
		if err != nil {
			return found, err
		}
		found.Sites = []attach.Site{
			{Program: "func_return", Return: true, Offset: place, Cookie: uint64(i), All: true},
			{Program: "func_entry", Offset: place, Cookie: uint64(i), All: true},
		}
		return found, nil
	}})
}

// see completes the events of sites, and decides about the methods that the
// list does not have yet. It reports whether the event is to be recorded.
func (s *siteSet) see(m *wire.Message) bool {
	if m.ID != event.SpanStart && m.ID != event.SpanStop {
		return true
	}
	name := &m.Event.Fields[event.SpanName]
	if m.Function.Site != 0 {
		*name = textValue(s.name(m.Function.Site))
	}
	return !m.Undecided || s.list.decide(string(name.Text), s.known)
}

// of is the name of a function, as wire.Function has it, or nil.
func (s *siteSet) of(function uint64) *siteName {
	if function == 0 || function > maxSites {
		return nil
	}
	return s.names[function-1].Load()
}

// name is that of a function.
func (s *siteSet) name(function uint64) []byte {
	if n := s.of(function); n != nil {
		return n.name
	}
	return nil
}

// isMethod says whether a function is a method of Ruby.
func (s *siteSet) isMethod(function uint64) bool {
	n := s.of(function)
	return n != nil && n.method
}
