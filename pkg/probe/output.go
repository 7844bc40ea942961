package probe

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Create makes, or empties, a file for a stream, which may hold secrets: mode
// 0600, also when it existed, and never through a symbolic link that somebody
// else may have put there.
func Create(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the stream's file: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Mode().IsRegular() {
		if err = f.Chmod(0o600); err == nil {
			err = f.Truncate(0)
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return f, nil
}
