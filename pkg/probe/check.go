package probe

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"golang.org/x/sys/unix"
)

// Status is what a probe can see of one event on this machine.
type Status struct {
	Event   event.ID
	Hooks   string // where it comes from, comma-separated; empty: it is missing
	Missing string // why it is missing
	NoLSM   string // why it does not come from an LSM hook; empty: it does, or has none
	Limit   string // why it is not seen of every process; empty: it is
}

// Check loads and attaches the hooks of opt's events as a recording would, and
// takes them back. Nobody is watched: opt's targets are ignored. The error is
// that nothing at all can be attached, above all for want of a capability.
func Check(opt Options) (list []Status, err error) {
	opt.Events = maps.Clone(opt.Events) // what cannot be seen is taken out
	p := &Probe{opt: opt, session: stream.Session{Hooks: map[string]string{}, Missing: map[string]string{}}}
	defer func() {
		if cerr := p.Close(); err == nil {
			err = cerr
		}
	}()
	if err := p.load(); err != nil {
		return nil, explain(err)
	}
	if err := p.attach(); err != nil {
		return nil, explain(err)
	}
	for _, id := range Recordable() {
		if !opt.Events[id] && p.session.Missing[event.Kinds[id].Name] == "" {
			continue
		}
		name := event.Kinds[id].Name
		s := Status{Event: id, Hooks: p.session.Hooks[name], Missing: p.session.Missing[name]}
		if s.Hooks == "" && s.Missing == "" {
			s.Missing = "not asked for (--spans)"
		}
		if err := p.noLSM[name]; err != nil {
			s.NoLSM = err.Error()
		}
		if looks := slices.Contains(libraryEvents, id) || slices.Contains(spanEvents, id) && opt.Spans.inFiles(); looks && s.Hooks != "" {
			have, err := effectiveCaps()
			if err != nil {
				return nil, err
			}
			var limits []string
			if have&(1<<unix.CAP_SYS_ADMIN) == 0 && uprobesTakeAdmin() {
				limits = append(limits, needAdmin)
			}
			if have&(1<<unix.CAP_SYS_PTRACE) == 0 {
				limits = append(limits, needPtrace)
			}
			s.Limit = strings.Join(limits, "; ")
		}
		list = append(list, s)
	}
	return list, nil
}

// WriteStatus writes a table of what Check found.
func WriteStatus(out io.Writer, list []Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "EVENT\tLIVE\tFROM\tNEEDS\tREMARK\n")
	for _, s := range list {
		live, from, remark := "yes", s.Hooks, ""
		if s.Hooks == "" {
			live, from, remark = "no", "-", s.Missing
		} else if s.NoLSM != "" {
			remark = "without LSM: " + s.NoLSM
		} else if s.Limit != "" {
			remark = s.Limit
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", event.Kinds[s.Event].Name, live, from, Capabilities(s.Event), remark)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
