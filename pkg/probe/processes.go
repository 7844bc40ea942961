package probe

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"vivarium/pkg/mask"
	"vivarium/pkg/probe/attach"
	"vivarium/pkg/stream"
)

// The bounds of what the session says of processes that run already.
const (
	maxStarted = 256     // processes
	maxCmdline = 4 << 10 // bytes of a command line
	maxEnviron = 1 << 20 // bytes of an environment
	maxStatus  = 8 << 10 // bytes of a status
)

// started is what the watched processes run as the recording begins, the
// targets first: those that come later tell it by an exec.
func (p *Probe) started() []stream.Process {
	var list []stream.Process
	pids := slices.Clone(p.watched)
	slices.SortStableFunc(pids, func(a, b int) int {
		target := func(pid int) int { return slices.Index(p.session.Targets, uint32(pid)) }
		switch x, y := target(a) >= 0, target(b) >= 0; {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return 0
	})
	for _, pid := range pids[:min(len(pids), maxStarted)] {
		// Either may be refused, and the process may be gone.
		path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", attach.Shown(pid)))
		argv := strings.Split(strings.TrimSuffix(string(procFile(pid, "cmdline", maxCmdline)), "\x00"), "\x00")
		if len(argv) == 1 && argv[0] == "" {
			argv = nil
		}
		if path == "" && argv == nil {
			continue
		}
		if !p.opt.NoMask {
			argv = masked(argv)
		}
		list = append(list, stream.Process{PID: uint32(pid), Path: strings.TrimSuffix(path, " (deleted)"), Argv: argv})
	}
	return list
}

// maxSurvivors is how many of the processes that go on are named.
const maxSurvivors = 5

// survivors names the first of these processes.
func survivors(pids []int) (list []Survivor) {
	for _, pid := range pids[:min(len(pids), maxSurvivors)] {
		list = append(list, Survivor{pid, strings.TrimSuffix(string(procFile(pid, "comm", maxCmdline)), "\n")})
	}
	return list
}

// Traceparent is TRACEPARENT in the environment that a process was started
// with; "": there is none, or it may not be read.
func Traceparent(pid int) string {
	for v := range bytes.SplitSeq(procFile(pid, "environ", maxEnviron), []byte{0}) {
		if tp, ok := bytes.CutPrefix(v, []byte("TRACEPARENT=")); ok {
			return string(tp)
		}
	}
	return ""
}

// isFiltered says whether a process has a seccomp filter, as all that it starts
// have then, too.
func isFiltered(pid int) bool {
	return bytes.Contains(procFile(pid, "status", maxStatus), []byte("\nSeccomp:\t2\n"))
}

// procFile is the beginning of a process's file in /proc, or nil.
func procFile(pid int, name string, most int64) []byte {
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", attach.Shown(pid), name))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil
	}
	return b
}

// masked is argv as the stream shows it.
func masked(argv []string) []string {
	args := make([][]byte, len(argv))
	for i, arg := range argv {
		args[i] = []byte(arg)
	}
	mask.Args(args)
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = string(arg)
	}
	return shown
}
