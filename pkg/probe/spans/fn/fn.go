// Package fn is the provider of calls of a compiled function.
package fn

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"vivarium/pkg/event"
	"vivarium/pkg/probe/attach"
	velf "vivarium/pkg/probe/elf"
	"vivarium/pkg/probe/spans"
)

// Provider is the provider.
var Provider = spans.Kind{Name: "func:", Form: "BINARY:SYMBOL", New: func(arg string) (*spans.Provider, error) {
	i := strings.LastIndexByte(arg, ':')
	if i <= 0 || i == len(arg)-1 {
		return nil, errors.New("has no symbol")
	}
	fn, from := function{arg[:i], arg[i+1:]}, []string{"func:" + arg}
	return &spans.Provider{
		From:     map[event.ID][]string{event.SpanStart: from, event.SpanStop: from},
		Programs: []string{"func_entry", "func_return"},
		Attach: func(a *attach.Attacher, t *spans.Table) error {
			if err := fn.attach(a, t); err != nil {
				return fmt.Errorf("func:%s: %w", arg, err)
			}
			return nil
		},
	}, nil
}}

// function is a compiled function whose calls are spans.
type function struct{ binary, symbol string }

// attach attaches to its entry and return.
func (fn function) attach(a *attach.Attacher, t *spans.Table) error {
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
	return a.Program(path, attach.Finder{Kind: "probes", Find: func(f *attach.File) (found attach.Found, err error) {
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
		i, err := t.Function(fn.symbol, false)
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
