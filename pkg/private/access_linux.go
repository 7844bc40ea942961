package private

import "golang.org/x/sys/unix"

// dirAccess opens a directory to reach the files in it. O_PATH does not need
// permission to list the directory.
const dirAccess = unix.O_PATH
