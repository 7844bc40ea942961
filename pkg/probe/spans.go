package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"
	"vivarium/pkg/probe/spans"
	"vivarium/pkg/probe/spans/fn"
	"vivarium/pkg/probe/spans/markers"
	"vivarium/pkg/probe/spans/ruby"
	"vivarium/pkg/probe/spans/rubyc"
	"vivarium/pkg/probe/spans/usdt"
	"vivarium/pkg/probe/wire"
)

// spanProviders are the sources of method spans that there are.
var spanProviders = []spans.Kind{
	markers.Provider,
	usdt.Vivarium,
	ruby.Provider,
	markers.Observe,
	rubyc.Provider,
	usdt.Provider,
	fn.Provider,
}

// Spans says where method spans come from. The zero value: nowhere.
type Spans struct {
	Providers []*spans.Provider
	Allow     []string // globs of Class#method instead of the providers' lists; nil: those
}

// SpanProviders names what ParseSpans knows.
func SpanProviders() []string {
	names := []string{"auto", "none"}
	for _, k := range spanProviders {
		names = append(names, k.Name+k.Form)
	}
	return names
}

// ParseSpans reads the argument of --spans: providers, or auto or none.
func ParseSpans(names []string) (Spans, error) {
	chosen := make([][]*spans.Provider, len(spanProviders)) // so they are in one order
	for _, name := range names {
		switch name {
		case "none":
			if len(names) > 1 {
				return Spans{}, fmt.Errorf("none excludes all others")
			}
		case "auto":
			for _, k := range spanProviders {
				if k.Auto {
					if err := choose(chosen, k.Name); err != nil {
						return Spans{}, err
					}
				}
			}
		default:
			if err := choose(chosen, name); err != nil {
				return Spans{}, err
			}
		}
	}
	all := slices.Concat(chosen...)
	return Spans{Providers: slices.DeleteFunc(slices.Clone(all), func(p *spans.Provider) bool {
		return slices.ContainsFunc(all, func(other *spans.Provider) bool { return slices.Contains(other.Without, p.Name) })
	})}, nil
}

// choose adds a provider, and those that it needs, once.
func choose(chosen [][]*spans.Provider, name string) error {
	for i, k := range spanProviders {
		rest, ok := strings.CutPrefix(name, k.Name)
		if !ok || k.Form == "" && rest != "" {
			continue
		}
		if slices.ContainsFunc(chosen[i], func(p *spans.Provider) bool { return p.Name == name }) {
			return nil
		}
		p, err := k.New(rest)
		if err != nil {
			return fmt.Errorf("%s: %w; it is %s%s", name, err, k.Name, k.Form)
		}
		p.Name = name
		chosen[i] = append(chosen[i], p)
		for _, with := range p.With {
			if err := choose(chosen, with); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("unknown provider %q", name)
}

// inFiles says whether there is anything to look for in the files that processes
// map.
func (s *Spans) inFiles() bool {
	return slices.ContainsFunc(s.Providers, func(p *spans.Provider) bool { return p.Finders != nil })
}

// within is the span outside which nothing is recorded; "": there is none.
func (s *Spans) within() string {
	for _, p := range s.Providers {
		if p.Within != "" {
			return p.Within
		}
	}
	return ""
}

// report says whether processes say which methods of the list they have.
func (s *Spans) report() bool {
	return slices.ContainsFunc(s.Providers, func(p *spans.Provider) bool { return p.Reports })
}

// spanEvents are what spans are rebuilt from.
var spanEvents = []event.ID{event.SpanStart, event.SpanStop, event.SpanRaise}

// prepareSpans has the providers change the environment of the command.
func (p *Probe) prepareSpans(env []string) ([]string, error) {
	for _, s := range p.opt.Spans.Providers {
		if s.Prepare == nil {
			continue
		}
		changed, undo, err := s.Prepare(p.opt.Spans.Allow, env)
		if err != nil {
			return nil, err
		}
		env, p.prepared = changed, append(p.prepared, undo)
	}
	return env, nil
}

// attachSpans attaches the providers' hooks, loads what they attach in files, and
// notes in the session where the span events come from.
func (p *Probe) attachSpans() error {
	from := map[event.ID][]string{}
	var programs []string
	for _, s := range p.opt.Spans.Providers {
		for _, h := range spanHooks {
			if slices.Contains(s.Hooks, h.program) {
				if err := p.bpf.attach(h); err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
			}
		}
		programs = append(programs, s.Programs...)
		for id, at := range s.From {
			from[id] = append(from[id], at...)
		}
	}
	for id, at := range from {
		p.session.Hooks[event.Kinds[id].Name] = strings.Join(at, ",")
	}
	if len(programs) == 0 {
		return nil
	}
	if err := p.loadSpans(programs); err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	return nil
}

// loadSpans loads programs that are attached in files, and makes the table of
// their sites.
func (p *Probe) loadSpans(programs []string) error {
	one := slices.Contains(programs, attach.HoldProgram)
	programs = slices.DeleteFunc(programs, func(name string) bool { return name == attach.HoldProgram })
	if err := p.bpf.loadProbes(programs...); err != nil {
		return err
	}
	if one { // it is attached place by place
		if err := p.bpf.load(attach.HoldProgram); err != nil {
			return err
		}
	}
	p.sites = spans.NewTable(p.coll.Maps["sites"])
	if p.opt.Spans.Allow == nil {
		return nil
	}
	whole := slices.ContainsFunc(p.opt.Spans.Providers, func(s *spans.Provider) bool { return s.Whole })
	p.sites.Listed, p.sites.List = true, spans.NewList(p.opt.Spans.Allow, whole)
	if err := p.coll.Variables["list_asks"].Set(p.sites.List.Asks()); err != nil {
		return fmt.Errorf("set list_asks: %w", err)
	}
	return p.sites.List.Put(p.coll.Maps["classes"], p.coll.Maps["methods"])
}

// spanFinders find the sites of the providers in files.
func (p *Probe) spanFinders() (finders []attach.Finder) {
	for _, s := range p.opt.Spans.Providers {
		if s.Finders != nil {
			finders = append(finders, s.Finders(p.sites)...)
		}
	}
	return finders
}

// attachSpanFunctions attaches to what is there from the start.
func (p *Probe) attachSpanFunctions() error {
	for _, s := range p.opt.Spans.Providers {
		if s.Attach != nil {
			if err := s.Attach(p.files, p.sites); err != nil {
				return err
			}
		}
	}
	return nil
}

// seeSpan completes the events of sites, and decides about the methods that the
// list does not have yet. It reports whether the event is to be recorded.
func (r *recording) seeSpan(m *wire.Message) bool {
	if m.ID != event.SpanStart && m.ID != event.SpanStop {
		return true
	}
	name := &m.Event.Fields[event.SpanName]
	if m.Function.Site != 0 {
		*name = textValue(r.sites.Name(m.Function.Site))
	}
	if r.sites.List == nil {
		return true
	}
	if m.Undecided && !r.sites.List.Decide(string(name.Text), r.decided) {
		return false
	}
	if m.ID == event.SpanStart {
		r.sites.List.See(name.Text)
	}
	return true
}

// unprepare takes back what the providers prepared, unless processes of the
// command may still need it.
func (p *Probe) unprepare() (err error) {
	if len(p.prepared) == 0 || p.running() {
		return nil
	}
	for _, undo := range p.prepared {
		err = errors.Join(err, undo())
	}
	return err
}
