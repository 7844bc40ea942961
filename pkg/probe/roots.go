package probe

import "vivarium/pkg/probe/wire"

// maxRoots bounds the bytes of the roots that are remembered, with 64 for each.
const maxRoots = 16 << 20

// roots are the root directories of threads that have others than viv-probe, by
// the number that the BPF programs give each.
type roots struct {
	paths map[uint64][]byte
	size  int
}

// told remembers what a number stands for. A program that changes its root for
// ever has all be forgotten now and then.
func (r *roots) told(m *wire.Message) {
	if r.paths == nil || r.size > maxRoots {
		r.paths, r.size = map[uint64][]byte{}, 0
	}
	r.paths[m.RootID] = append([]byte(nil), m.RootPath...)
	r.size += len(m.RootPath) + 64
}

var unknownRoot = []byte("(unknown)")

// of is the root of an event's thread; nil: viv-probe's own.
func (r *roots) of(m *wire.Message) []byte {
	if !m.OtherRoot {
		return nil
	}
	if path, ok := r.paths[m.RootID]; ok {
		return path
	}
	return unknownRoot
}

// forget forgets the root of a thread that has ended.
func (r *roots) forget(m *wire.Message) {
	if path, ok := r.paths[m.RootID]; ok {
		delete(r.paths, m.RootID)
		r.size -= len(path) + 64
	}
}
