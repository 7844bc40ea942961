package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	waitingArg0 = "viv-probe: waiting to start"
	// What is reported when all but the exec is done; else it is "STATUS MESSAGE".
	waitingReady   = 'r'
	waitingSession = 's' // the same, of a command in a session of its own
	waitingReport  = 3   // file descriptors of the waiting process
	waitingRelease = 4
)

// WaitToStart is the waiting process. A program that calls Start calls it first
// of all in main, on the main thread, with runtime.LockOSThread in force: that
// thread executes the command. It returns at once in any other process, and
// never in the waiting one.
func WaitToStart() {
	if len(os.Args) < 3 || os.Args[0] != waitingArg0 {
		return
	}
	report := os.NewFile(waitingReport, "report")
	unix.CloseOnExec(waitingReport)
	unix.CloseOnExec(waitingRelease)
	argv := os.Args[2:]
	fail := func(status int, err error) {
		fmt.Fprintf(report, "%d %v", status, err)
		os.Exit(status)
	}
	dropped, err := become(os.Args[1])
	if err != nil {
		fail(125, err)
	}
	ready := []byte{waitingReady}
	if dropped {
		// Whoever has a controlling terminal can put input into it (TIOCSTI, and on
		// a console by TIOCLINUX), which the shell of the user who is left would run.
		if _, err := unix.Setsid(); err != nil {
			fail(125, fmt.Errorf("give up the terminal: setsid: %w", err))
		}
		ready[0] = waitingSession
	}
	path, err := exec.LookPath(argv[0])
	if errors.Is(err, exec.ErrDot) { // the user's PATH says so
		err = nil
	}
	if err != nil {
		status := 126
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			status = 127
		}
		var inSearch *exec.Error
		if errors.As(err, &inSearch) {
			err = inSearch.Err
		}
		var ofFile *fs.PathError
		if errors.As(err, &ofFile) {
			err = ofFile.Err
		}
		fail(status, fmt.Errorf("%s: %w", argv[0], err))
	}
	env := os.Environ()
	if _, err := report.Write(ready); err != nil {
		os.Exit(125)
	}
	// Without a byte viv-probe has ended and does not watch: the command must not run.
	if n, err := syscall.Read(waitingRelease, make([]byte, 1)); n != 1 || err != nil {
		os.Exit(125)
	}
	err = syscall.Exec(path, argv, env)
	status := 126
	if errors.Is(err, unix.ENOENT) {
		status = 127
	}
	fail(status, fmt.Errorf("%s: %w", argv[0], err))
}
