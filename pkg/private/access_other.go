//go:build !linux

package private

import "golang.org/x/sys/unix"

// dirAccess opens a directory to reach the files in it.
const dirAccess = unix.O_RDONLY
