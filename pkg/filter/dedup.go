package filter

import (
	"hash/maphash"

	"vivarium/pkg/event"
)

// repeated reports whether an equal event of a kind that is shown once was shown
// before. It remembers a hash of 128 bits with random seeds for each value, so that
// different values practically never count as equal.
func (f *Filter) repeated(ev *event.Event) bool {
	if ev.Kind == nil {
		return false
	}
	switch ev.Kind.ID {
	case event.PathOpen, event.MmapExec, event.Dlopen, event.EnvCaccess:
	default:
		return false
	}
	text := f.textOf(ev)
	key := [2]uint64{maphash.Bytes(f.seeds[0], text) + uint64(ev.Kind.ID), maphash.Bytes(f.seeds[1], text)}
	if _, ok := f.seen[key]; ok {
		return true
	}
	if len(f.seen) >= MaxValues {
		f.Stats.Repeats++
		return false
	}
	f.seen[key] = struct{}{}
	return false
}
