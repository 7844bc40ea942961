package probe

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"vivarium/pkg/probe/ktime"
	"vivarium/pkg/stream"

	"golang.org/x/sys/unix"
)

// clocks reads the wall clock (ns since 1970) and the kernel's clock (ns), which
// it stamps events with, as one moment: the kernel's is read before and after,
// and the middle is taken.
func clocks() (unixNS int64, ktimeNS uint64) {
	before := ktime.Now()
	unixNS = time.Now().UnixNano()
	return unixNS, before + (ktime.Now()-before)/2
}

// thisHost describes the machine; what it cannot read stays empty.
func thisHost() (stream.Host, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return stream.Host{}, fmt.Errorf("uname: %w", err)
	}
	h := stream.Host{
		Name:   unix.ByteSliceToString(u.Nodename[:]),
		OS:     "linux",
		Kernel: unix.ByteSliceToString(u.Release[:]),
		Arch:   unix.ByteSliceToString(u.Machine[:]),
	}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.BootID = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/etc/os-release"); err == nil {
		for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
			if v, ok := strings.CutPrefix(sc.Text(), "PRETTY_NAME="); ok {
				h.OS = strings.Trim(v, `"'`)
			}
		}
	}
	return h, nil
}
