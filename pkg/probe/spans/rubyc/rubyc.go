// Package rubyc is the provider of methods of Ruby that are written in C: it finds
// their functions in the files of an unchanged Ruby.
package rubyc

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"slices"

	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"
	velf "vivarium/pkg/probe/elf"
	"vivarium/pkg/probe/spans"
	"vivarium/pkg/probe/spans/ruby"
	"vivarium/pkg/probe/spans/rubyc/cmethod"
	"vivarium/pkg/probe/spans/usdt"
)

// Provider is the provider. Exceptions come from Ruby's own probe.
var Provider = spans.Kind{Name: "ruby-c", Auto: true, New: func(string) (*spans.Provider, error) {
	p := usdt.RubyRaise()
	p.From[event.SpanStart], p.From[event.SpanStop] = []string{"ruby-c"}, []string{"ruby-c"}
	p.Programs = append(p.Programs, "method_entry", "method_return", "method_jump")
	p.Methods = ruby.Methods
	p.Unfound = "methods written in Ruby need --spans ruby"
	raise := p.Finders
	p.Finders = func(t *spans.Table) []attach.Finder {
		list := t.List
		if !t.Listed {
			list = spans.NewList(ruby.Methods, false)
		}
		return append(raise(t), attach.Finder{Kind: "probes", Find: func(f *attach.File) (attach.Found, error) { return find(t, list, f) }})
	}
	return p, nil
}}

// find finds the functions of a file in which methods of Ruby that are on
// the list are written, and where exceptions leave them.
func find(t *spans.Table, list *spans.List, f *attach.File) (found attach.Found, err error) {
	code, err := cmethod.Open(f.ELF)
	if code == nil {
		return found, err
	}
	found.Directories = code.Directories()
	methods, merr := code.Methods(list.Has)
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
		site, serr := t.Function(name, true)
		if serr != nil {
			err = errors.Join(err, serr)
			break
		}
		entries = append(entries, attach.Site{Program: "method_entry", Offset: entry, Cookie: depth<<32 | uint64(site), All: true})
		returns = append(returns, places(f.ELF, "method_return", ends)...)
	}
	// The entries last: what began before the rest is there would not end.
	found.Sites = slices.Concat(places(f.ELF, "method_jump", jumps), sorted(returns), entries)
	return found, err
}

// places are the places in the file of addresses.
func places(e *elf.File, program string, addrs []uint64) (sites []attach.Site) {
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
