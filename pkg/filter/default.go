package filter

import (
	"bytes"

	"vivarium/pkg/event"
)

// Default returns vivarium's default filter: what matters for a security review.
func Default() *Rules {
	of := func(ids ...event.ID) Names {
		n := make(Names, len(ids))
		for _, id := range ids {
			n[event.Kinds[id].Name] = struct{}{}
		}
		return n
	}
	return &Rules{
		Include: of(event.ProcFork, event.ProcExec, event.SpanStart, event.SpanStop,
			event.PathOpen, event.SockConnect, event.SockOutcome, event.DNSReq, event.OddSocket, event.SSLWrite,
			event.Dlopen, event.MmapExec, event.TaskKill, event.SetidChange,
			event.CapableCheck, event.BprmCreds),
		Payload: map[string]Patterns{
			event.Kinds[event.PathOpen].Name: {{match: defaultPath}},
		},
	}
}

// defaultPath matches the text of an open, in which the path is quoted, like
// \A"?/(?:home|root|etc|proc)(?:/|"|\z). It is written by hand because it is tested
// on most events.
func defaultPath(text []byte) bool {
	text = bytes.TrimPrefix(text, []byte{'"'})
	if len(text) == 0 || text[0] != '/' {
		return false
	}
	dir := text[1:]
	if end := bytes.IndexAny(dir, `/"`); end >= 0 {
		dir = dir[:end]
	}
	switch string(dir) {
	case "home", "root", "etc", "proc":
		return true
	}
	return false
}
