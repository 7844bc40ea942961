package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"vivarium/bpf"
	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"
	velf "vivarium/pkg/probe/elf"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
)

// libraryFunction is one that libraries have and whose calls are an event, or tell
// what an event needs.
type libraryFunction struct {
	name    string
	event   event.ID
	program string
	call    bpf.VivCall
}

var libraryFunctions = []libraryFunction{
	{"dlopen", event.Dlopen, "dlopen_call", bpf.VivCallVIV_CALL_DLOPEN},
	{"getenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_GETENV},
	{"secure_getenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_SECURE_GETENV},
	{"setenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_SETENV},
	{"unsetenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_UNSETENV},
	{"putenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_PUTENV},
	{"clearenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_CLEARENV},
	{"SSL_write", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_WRITE},
	{"SSL_write_ex", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_WRITE_EX},
	{"gnutls_record_send", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_GNUTLS_RECORD_SEND},
	// The connection's address is free for another one then.
	{"SSL_free", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END},
	{"SSL_clear", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END},
	{"gnutls_deinit", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END},
}

// libraryEvents are the events that libraryFunctions make.
var libraryEvents = []event.ID{event.Dlopen, event.EnvCaccess, event.SSLWrite}

// wellKnown are libraries that are looked for before a process maps them, so
// that nothing of its first calls is missed.
var wellKnown = []string{"libc.so.6", "libdl.so.2", "libssl.so", "libgnutls.so"}

// findFunctions finds the functions of the chosen events.
func findFunctions(chosen map[event.ID]bool) attach.Finder {
	names := map[string]bool{}
	for _, fn := range libraryFunctions {
		if chosen[fn.event] {
			names[fn.name] = true
		}
	}
	return attach.Finder{Kind: "calls", Find: func(f *attach.File) (found attach.Found, err error) {
		offsets, err := velf.Functions(f.ELF, names)
		for _, fn := range libraryFunctions {
			if off, ok := offsets[fn.name]; ok && names[fn.name] {
				code := make([]byte, 48)
				n, _ := f.ReadAt(code, int64(off)) // of what cannot be read nothing is known
				at, _ := velf.Entry(code[:n], true)
				found.Sites = append(found.Sites, attach.Site{Program: fn.program, Offset: off + uint64(at), Cookie: uint64(fn.call)})
			}
		}
		return found, err
	}}
}

// haveUprobeMulti reports whether the kernel can attach to many sites at once
// (Linux 6.6, for one process 6.10).
func haveUprobeMulti() bool { return features.HaveBPFLinkUprobeMulti() == nil }

// watchesLibraries reports whether a chosen event comes from libraries.
func (p *Probe) watchesLibraries() bool {
	return slices.ContainsFunc(libraryEvents, func(id event.ID) bool { return p.opt.Events[id] })
}

// loadProbes loads programs that are attached in files.
func (a *attachment) loadProbes(names ...string) error {
	if haveUprobeMulti() {
		for _, name := range names {
			a.spec.Programs[name].AttachType = ebpf.AttachTraceUprobeMulti
		}
	}
	return a.load(names...)
}

// findLibraries loads the programs of the chosen library events, and returns what
// finds their places.
func (p *Probe) findLibraries() ([]attach.Finder, error) {
	calls := map[event.ID][]string{}
	for _, fn := range libraryFunctions {
		if !p.opt.Events[fn.event] {
			continue
		}
		name := event.Kinds[fn.event].Name
		if err := p.bpf.loadProbes(fn.program); err != nil {
			var missing *PrivilegeError
			if errors.As(explain(err), &missing) {
				return nil, missing
			}
			p.session.Missing[name] = err.Error()
			p.opt.Events[fn.event] = false
			continue
		}
		if fn.call != bpf.VivCallVIV_CALL_TLS_END {
			calls[fn.event] = append(calls[fn.event], "uprobe:"+fn.name)
		}
	}
	if len(calls) == 0 {
		return nil, nil
	}
	for id, at := range calls {
		p.session.Hooks[event.Kinds[id].Name] = strings.Join(at, ",")
	}
	return []attach.Finder{findFunctions(p.opt.Events)}, nil
}

// attachFiles makes what attaches in the files that watched processes map, and
// attaches what says that they may have mapped another one.
func (p *Probe) attachFiles() error {
	calls, err := p.findLibraries()
	if err != nil {
		return err
	}
	cfg := attach.Config{
		Programs: p.bpf.programs, Multi: haveUprobeMulti(), Finders: append(calls, p.spanFinders()...),
		Refused: attachRefusal, Unreadable: unreadable,
	}
	if len(calls) > 0 {
		cfg.WellKnown = wellKnown
	}
	if len(cfg.Finders) > 0 {
		if err := p.attachMaps(); err != nil {
			return err
		}
	} else if p.sites == nil {
		return nil
	}
	p.files = attach.New(cfg)
	return p.attachSpanFunctions()
}

// attachMaps attaches what says that a process can have mapped another file.
func (p *Probe) attachMaps() error {
	for _, h := range mapped {
		if err := p.bpf.attach(h); err != nil {
			return fmt.Errorf("%s: %w", h.place, err)
		}
	}
	return nil
}
