package probe

import (
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/event"
)

// TestWays: what goes past the hooks is said, once per process; a program in
// namespaces of its own, chroot too, is seen with the root's pids and its own
// paths.
func TestWays(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		s := record(t, Options{Hooks: hooks, Events: events(event.PathOpen, event.FileUnlink, event.TaskKill)}, program(t, "ways"), tempDir(t))
		var said []string
		for _, l := range s.lost {
			said = append(said, strconv.FormatUint(l.Count, 10)+" "+l.Cause)
		}
		want := []string{"1 unseen 32-bit system calls of process ${self}"}
		if !strings.HasPrefix(s.said["uring"], "-") {
			want = append(want, "1 unseen io_uring operations of process ${self}")
		}
		compare(t, said, s.expand(want))

		inside := []string{}
		for _, ev := range s.events {
			if strconv.FormatUint(uint64(ev.PID), 10) == s.said["inner"] && !ev.Hidden {
				inside = append(inside, show(ev))
			}
		}
		compare(t, inside, s.expand([]string{
			"path_open path=/f flags=0", "file_unlink path=/f", "task_kill sig=23 sig_name=URG target_pid=${inner}",
		}))
	})
}
