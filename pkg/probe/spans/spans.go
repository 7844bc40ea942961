// Package spans has what all sources of method spans have in common. Each is a
// provider in a folder of its own; pkg/probe lists them.
package spans

import (
	"fmt"
	"sync/atomic"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"

	"github.com/cilium/ebpf"
)

// Kind is a provider that --spans can name or, with a form, many of a kind.
type Kind struct {
	Name string // with a colon at the end: the form tells the rest
	Form string // as people read it
	Auto bool   // one of those that auto stands for: it changes nothing in the target
	New  func(rest string) (*Provider, error)
}

// Provider is a source of method spans that was chosen. What it does not need is
// left out.
type Provider struct {
	Name     string                // as --spans names it
	From     map[event.ID][]string // where its events come from, as the session names it
	With     []string              // the names of providers that it needs
	Without  []string              // and of those that mark the same methods, which are left out
	Command  string                // it is for a command only: what to do for processes that run already
	Hooks    []string              // BPF programs at the ends of system calls
	Programs []string              // BPF programs that are attached in files
	Methods  []string              // its own list of methods, where the user gives none
	Whole    bool                  // its probes say class and method in one text
	Reports  bool                  // its processes say which methods of the list they have
	Within   string                // only what processes do in spans of that name is recorded
	Unfound  string                // what to do for listed methods that it cannot find

	// Prepare changes the environment of the command, for a list of methods
	// (nil: its own). close takes back what that left behind.
	Prepare func(allow, env []string) (changed []string, close func() error, err error)
	// Finders find its sites in the files that watched processes map.
	Finders func(*Table) []attach.Finder
	// Attach attaches to what is there from the start.
	Attach func(*attach.Attacher, *Table) error
}

// MaxSites bounds the sites that the BPF programs know by number (bpf/hooks/usdt.h).
const MaxSites = 4096

// name is what a site is called, if its probe does not say it.
type name struct {
	text   []byte
	method bool // of Ruby
}

// Table has the sites that the BPF programs know by number, and the list of
// methods. It is for several goroutines.
type Table struct {
	Listed bool  // the user gave the list: it decides for all providers
	List   *List // nil: all methods are spans
	sites  *ebpf.Map
	n      atomic.Uint32
	names  [MaxSites]atomic.Pointer[name]
}

// NewTable makes a table whose sites the programs find in a map; nil: there are
// none.
func NewTable(sites *ebpf.Map) *Table { return &Table{sites: sites} }

// Site tells the programs about a site, and returns the number by which they know
// it.
func (t *Table) Site(v *bpf.VivSite) (number uint32, err error) {
	if t.Listed && event.ID(v.Kind) != event.SpanRaise {
		v.Flags |= uint16(bpf.VivSiteFlagSITE_LISTED)
	}
	if number, err = t.add(nil, false); err != nil || t.sites == nil {
		return number, err
	}
	if err := t.sites.Put(number, v); err != nil {
		return 0, fmt.Errorf("tell the programs of a site: %w", err)
	}
	return number, nil
}

// Function returns the number of a function, by which the programs tell of it;
// method: it is one of Ruby's.
func (t *Table) Function(name string, method bool) (number uint32, err error) {
	return t.add([]byte(name), method)
}

func (t *Table) add(text []byte, method bool) (uint32, error) {
	n := t.n.Add(1)
	if n > MaxSites {
		t.n.Store(MaxSites)
		return 0, fmt.Errorf("more than %d sites", MaxSites)
	}
	t.names[n-1].Store(&name{text, method})
	return n - 1, nil
}

// Sites is how many there are.
func (t *Table) Sites() int { return int(t.n.Load()) }

// Name is that of a function, as wire.Function numbers it: from 1.
func (t *Table) Name(function uint64) []byte {
	if n := t.of(function); n != nil {
		return n.text
	}
	return nil
}

// IsMethod says whether a function is a method of Ruby.
func (t *Table) IsMethod(function uint64) bool {
	n := t.of(function)
	return n != nil && n.method
}

func (t *Table) of(function uint64) *name {
	if function == 0 || function > MaxSites {
		return nil
	}
	return t.names[function-1].Load()
}
