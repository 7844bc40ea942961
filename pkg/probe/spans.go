package probe

import (
	"fmt"
	"strings"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

// Spans says where method spans come from. The zero value: nowhere.
type Spans struct {
	Markers bool // calls that ask for a path beginning with viv://
}

// spanProvider is one that --spans can name.
type spanProvider struct {
	name string
	doc  string
	add  func(*Spans)
}

var spanProviders = []spanProvider{
	{"markers", "paths beginning with viv:// that a program asks for", func(s *Spans) { s.Markers = true }},
}

// autoSpans is what auto stands for: what changes nothing in the target.
var autoSpans = []string{"markers"}

// SpanProviders names what ParseSpans knows.
func SpanProviders() []string {
	names := []string{"auto", "none"}
	for _, p := range spanProviders {
		names = append(names, p.name)
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
	return s, nil
}

func (s *Spans) addProvider(name string) error {
	for _, p := range spanProviders {
		if p.name == name {
			p.add(s)
			return nil
		}
	}
	return fmt.Errorf("unknown provider %q", name)
}

// spanEvents are what spans are rebuilt from.
var spanEvents = []event.ID{event.SpanStart, event.SpanStop, event.SpanRaise}

// markerCalls are the calls in whose path a marker can be. Each says nothing
// but whether a file exists and what it is.
var markerCalls = []uint32{unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX,
	unix.SYS_ACCESS, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2}

// attachSpans attaches the providers, and notes in the session where the span
// events come from.
func (p *Probe) attachSpans() error {
	var from []string
	if p.opt.Spans.Markers {
		h := hook{event.SpanStart, both, "marker_exit", sysExit, markerCalls}
		if err := p.bpf.attach(h); err != nil {
			return fmt.Errorf("markers: %w", err)
		}
		from = append(from, "markers")
	}
	for _, id := range spanEvents {
		if len(from) > 0 {
			p.session.Hooks[event.Kinds[id].Name] = strings.Join(from, ",")
		}
	}
	return nil
}
