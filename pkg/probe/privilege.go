package probe

import (
	"errors"
	"fmt"
	"strings"

	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// needed are the capabilities without which nothing works, and what for.
var needed = []struct {
	bit  int
	name string
	why  string
}{
	{unix.CAP_BPF, "CAP_BPF", "to load BPF programs"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "to attach them"},
}

// explain replaces a refusal by the capability that is missing.
func explain(err error) error {
	// Without any, what the kernel can do cannot even be found out.
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, ebpf.ErrNotSupported) {
		return err
	}
	have, cerr := effectiveCaps()
	if cerr != nil {
		return err
	}
	if have&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return err // it stands for all of these
	}
	var missing []string
	for _, c := range needed {
		if have&(1<<c.bit) == 0 {
			missing = append(missing, c.name+" "+c.why)
		}
	}
	if len(missing) == 0 {
		return err
	}
	return fmt.Errorf("missing privilege: %s (run it as root)", strings.Join(missing, ", "))
}

func effectiveCaps() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// Capabilities names what a probe needs to record an event: the same for all,
// because loading programs that read the kernel's memory is what takes them.
func Capabilities(event.ID) string { return "CAP_BPF,CAP_PERFMON" }
