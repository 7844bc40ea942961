package probe

import (
	"testing"

	"vivarium/pkg/event"
)

// TestOverlay: what is mapped of an overlay has the path that the program sees,
// though the kernel maps a file of a layer.
func TestOverlay(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, Events: events(event.MmapExec, event.PathOpen)}, program(t, "overlay"), d)
		if s.said["refused"] != "" {
			t.Skip("this kernel mounts no overlay here")
		}
		mapped := func(path string) []string {
			return repeat("mmap_exec path="+d+"/"+path, 2)
		}
		s = s.only(event.MmapExec)
		compareRows(t, s, []row{
			{"a lower file", mapped("merged/below")},
			{"an upper file", mapped("merged/above")},
			{"a file of a layer", mapped("lower/below")},
			{"end", []string{}},
		})
	})
}
