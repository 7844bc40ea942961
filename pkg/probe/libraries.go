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
	kind    functionKind
}

// functionKind is how a function is found, and what its calls are.
type functionKind uint8

const (
	reported functionKind = iota // its calls are events
	noted                        // its calls are not, but events need to know of them
	whole                        // reported; the program reads more than three arguments
	method                       // reported; not this function's calls, but those of the write of the object that it returns
)

// The functions that others of a library are made of are listed beside them: what
// one call does through several of them is one event (inner_write in
// bpf/hooks/library.h). gnutls_record_send_file, SSL_write_early_data and
// gnutls_record_uncork send by functions that are here.
var libraryFunctions = []libraryFunction{
	{"dlopen", event.Dlopen, "dlopen_call", bpf.VivCallVIV_CALL_DLOPEN, reported},
	{"dlmopen", event.Dlopen, "dlopen_call", bpf.VivCallVIV_CALL_DLMOPEN, reported},
	{"getenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_GETENV, reported},
	{"secure_getenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_SECURE_GETENV, reported},
	{"setenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_SETENV, reported},
	{"unsetenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_UNSETENV, reported},
	{"putenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_PUTENV, reported},
	{"clearenv", event.EnvCaccess, "env_call", bpf.VivCallVIV_CALL_CLEARENV, reported},
	{"SSL_write", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_WRITE, reported},
	{"SSL_write_ex", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_WRITE_EX, reported},
	{"SSL_write_ex2", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_WRITE_EX, reported},
	{"SSL_sendfile", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_SSL_SENDFILE, whole},
	{"BIO_f_ssl", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_BIO_WRITE, method},
	{"gnutls_record_send", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_GNUTLS_RECORD_SEND, reported},
	{"gnutls_record_send2", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_GNUTLS_RECORD_SEND, reported},
	{"gnutls_record_send_range", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_GNUTLS_RECORD_SEND, reported},
	{"gnutls_record_send_early_data", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_GNUTLS_RECORD_SEND, reported},
	// What is sent in between is sent, once more, by the second one.
	{"gnutls_record_cork", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_CORK, noted},
	{"gnutls_record_uncork", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_UNCORK, noted},
	// The connection's address is free for another one then.
	{"SSL_free", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END, noted},
	{"SSL_clear", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END, noted},
	{"gnutls_deinit", event.SSLWrite, "tls_call", bpf.VivCallVIV_CALL_TLS_END, noted},
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
		for i, fn := range libraryFunctions {
			off, ok := offsets[fn.name]
			if ok && fn.kind == method {
				off, ok = bioWrite(f, off)
			}
			if !ok || !names[fn.name] {
				continue
			}
			var at, depth uint64
			if fn.kind != whole {
				code := make([]byte, 48)
				n, _ := f.ReadAt(code, int64(off)) // of what cannot be read nothing is known
				at, depth = velf.Entry(code[:n], true)
			}
			found.Sites = append(found.Sites, attach.Site{Program: fn.program, Offset: off + at, Cookie: uint64(fn.call) | uint64(i)<<8 | depth<<32})
		}
		return found, err
	}}
}

// bioWrite finds the function that writes into a BIO of OpenSSL's which is a TLS
// connection. BIO_f_ssl, which is at off in the file, returns the table that it is
// in (struct bio_method_st of openssl/crypto/bio/bio_local.h): its type, name, write.
func bioWrite(f *attach.File, off uint64) (uint64, bool) {
	const typeSSL, write = 0x0207, 16
	code := make([]byte, 32)
	n, _ := f.ReadAt(code, int64(off))
	table, ok := velf.Returned(f.ELF, off, code[:n])
	if !ok {
		return 0, false
	}
	if word, ok := velf.Word(f.ELF, table); !ok || uint32(word) != typeSSL {
		return 0, false
	}
	fn, ok := velf.Pointer(f.ELF, table+write)
	if !ok {
		return 0, false
	}
	return velf.Offset(f.ELF, fn)
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
		if fn.kind != noted {
			calls[fn.event] = append(calls[fn.event], "uprobe:"+fn.name)
		}
	}
	if len(calls) == 0 {
		return nil, nil
	}
	// What was not in memory when a function was called is read before the
	// thread's next system call.
	if err := p.bpf.attach(hook{event.NumKinds, both, "sys_enter", sysEnter, nil}); err != nil {
		return nil, fmt.Errorf("%s: %w", sysEnter, err)
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
