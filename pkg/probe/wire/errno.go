package wire

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// errnoName is the errno's name as strace prints it, also of those that only
// the kernel sees because it restarts the call (include/linux/errno.h).
func errnoName(e syscall.Errno) []byte {
	if e < syscall.Errno(len(errnoNames)) && errnoNames[e] != nil {
		return errnoNames[e]
	}
	return strconv.AppendUint([]byte("errno "), uint64(e), 10)
}

var errnoNames = func() (names [1024][]byte) {
	for e := range names {
		if n := unix.ErrnoName(syscall.Errno(e)); n != "" {
			names[e] = []byte(n)
		}
	}
	names[unix.EOPNOTSUPP] = []byte("EOPNOTSUPP") // not its other name, ENOTSUP
	for e, n := range map[int]string{512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK"} {
		names[e] = []byte(n)
	}
	return names
}()
