package probe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
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

// PrivilegeError is a refusal of the kernel for want of capabilities.
type PrivilegeError struct {
	Missing []string // each with what it is needed for: "CAP_BPF to load BPF programs"
	Err     error    // the kernel's refusal
}

func (e *PrivilegeError) Error() string {
	return fmt.Sprintf("missing privilege: %s (run it as root)", strings.Join(e.Missing, ", "))
}

func (e *PrivilegeError) Unwrap() error { return e.Err }

// explain makes a refusal a PrivilegeError, if capabilities are missing; else it
// returns err.
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
	return &PrivilegeError{missing, err}
}

// looking are the capabilities that take away the bounds on whose processes'
// libraries can be watched: other users', with files that not everybody reads,
// and those whose files were replaced since.
var looking = []struct {
	bit  int
	name string
}{
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
	{unix.CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"},
}

// unreadable is a refusal to let us look at what a process has mapped, with the
// capabilities that are missing.
func unreadable(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	have, cerr := effectiveCaps()
	var missing []string
	for _, c := range looking {
		if cerr == nil && have&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		err = fmt.Errorf("%w (missing: %s)", err, strings.Join(missing, ", "))
	}
	return err
}

func effectiveCaps() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// Capabilities names what a probe needs to record an event: the same two for all,
// because loading programs that read the kernel's memory is what takes them, and
// for what libraries say a third one, to find those of other users' processes.
func Capabilities(id event.ID) string {
	if slices.Contains(libraryEvents, id) {
		return "CAP_BPF,CAP_PERFMON,CAP_SYS_PTRACE"
	}
	return "CAP_BPF,CAP_PERFMON"
}

const (
	needPtrace = "missing privilege: CAP_SYS_PTRACE to look into processes of other users (run it as root)"
	needAdmin  = "missing privilege: CAP_SYS_ADMIN to attach to a library, while kernel.perf_event_paranoid is above 2 (run it as root)"
)

// uprobesTakeAdmin reports whether the kernel wants CAP_SYS_ADMIN of whoever
// attaches to a single place of a file. Debian's do: their perf_event_open has a
// level 3 of kernel.perf_event_paranoid, which is the one that they begin with.
func uprobesTakeAdmin() bool {
	if haveUprobeMulti() {
		return false
	}
	text, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		return false
	}
	level, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && level > 2
}

// attachRefusal is a refusal to attach to a place of a file, with the capability
// that is missing.
func attachRefusal(err error) error {
	if !errors.Is(err, os.ErrPermission) || !uprobesTakeAdmin() {
		return err
	}
	have, cerr := effectiveCaps()
	if cerr != nil || have&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return err
	}
	return fmt.Errorf("%s: %w", needAdmin, err)
}
