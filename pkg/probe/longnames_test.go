package probe

import (
	"fmt"
	"strings"
	"testing"

	"vivarium/pkg/event"
)

// TestLongNames: names over 255 bytes are whole, as FUSE, NTFS and network file
// systems have them; a path that is too long loses whole names at its beginning.
func TestLongNames(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, Events: events(event.PathOpen, event.FileUnlink)}, program(t, "longnames"), d)
		if s.said["refused"] != "" {
			t.Skip("this kernel mounts no FUSE file system here")
		}
		name := func(first string, n int) string { return first + strings.Repeat("n", n-2) + "e" }
		mnt := d + "/mnt/"
		var rows []row
		for _, n := range []int{254, 255, 256, 257, 509, 510, 511, 512, 765, 1000} {
			path := mnt + name("f", n)
			rows = append(rows, row{fmt.Sprint(n), []string{opened(path, 0), "file_unlink path=" + path}})
		}
		rows = append(rows,
			row{"directories", []string{opened(mnt+name("D", 300)+"/"+name("D", 700)+"/x", 0)}},
			row{"too many directories", []string{opened(strings.Repeat("/"+name("D", 1000), 4)+"/x", 0) + " truncated"}},
			row{"end", []string{}},
		)
		compareRows(t, s, rows)
	})
}
