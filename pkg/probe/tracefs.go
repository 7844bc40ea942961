package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const tracefs = "/sys/kernel/tracing"

// withTracefs runs f, which attaches tracepoints by their number in tracefs.
// Where nobody has mounted it, f runs on a thread with a mount namespace of
// its own that has it: the system stays as it was.
func withTracefs(f func() error) error {
	if _, err := os.Stat(tracefs + "/events"); err == nil {
		return f()
	} else if _, err := os.Stat("/sys/kernel/debug/tracing/events"); err == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine.
		runtime.LockOSThread()
		done <- func() error {
			err := unix.Unshare(unix.CLONE_NEWNS)
			if err == nil {
				err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
			}
			if err == nil {
				err = unix.Mount("tracefs", tracefs, "tracefs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
			}
			if errors.Is(err, unix.EPERM) {
				return fmt.Errorf("tracefs is not mounted and mounting it needs CAP_SYS_ADMIN (or: mount -t tracefs tracefs %s)", tracefs)
			}
			if err != nil {
				return fmt.Errorf("mount tracefs: %w", err)
			}
			return f()
		}()
	}()
	return <-done
}
