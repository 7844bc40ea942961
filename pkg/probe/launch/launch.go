// Package launch starts the command that viv-probe watches. The command is
// first a process of viv-probe's own program, which becomes the user that the
// command runs as, reports that it is ready and waits. When viv-probe watches
// it, it is released and executes the command. So nothing of the command's life
// is missed, and nothing of viv-probe is recorded: process id, terminal and
// process group are the command's from the start.
//
// A command that loses root's privileges gets a session of its own: it has no
// controlling terminal, whose keys therefore reach viv-probe alone, which passes
// their signals on.
package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Command is a command that was started.
type Command struct {
	process *os.Process
	session bool          // it leads a session of its own, without a terminal
	report  *os.File      // read: see waitingReady
	release *os.File      // written: one byte releases the process
	done    chan struct{} // closed when the process has ended
	state   *os.ProcessState
	waitErr error // of waiting for its end; it and state are valid when done is closed
}

// Error says that the command could not be started. Its Status is viv-probe's
// exit status: 125 if the command's user or process could not be set up, 126 if
// the command cannot be run, 127 if it was not found.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Start starts argv with the environment env up to the point where it waits for
// Release. The command runs as the user of that name or id; "" is the caller,
// and the caller of sudo if the program runs under sudo. Standard input and
// standard error are those of this process. A command that has no privileges of
// root because of its user has no controlling terminal, and neither root's PATH
// nor what else of the environment belongs to root's session. The caller calls
// Release or Close.
func Start(argv []string, user string, stdout *os.File, env []string) (*Command, error) {
	report, reportW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	releaseR, release, err := os.Pipe()
	if err != nil {
		report.Close()
		reportW.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	cmd := exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       append([]string{waitingArg0, user}, argv...),
		Stdin:      os.Stdin,
		Stdout:     stdout,
		Stderr:     os.Stderr,
		Env:        env,
		ExtraFiles: []*os.File{reportW, releaseR}, // waitingReport, waitingRelease
	}
	err = cmd.Start()
	reportW.Close()
	releaseR.Close()
	if err != nil {
		report.Close()
		release.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	c := &Command{process: cmd.Process, report: report, release: release, done: make(chan struct{})}
	go func() {
		c.state, c.waitErr = c.process.Wait()
		close(c.done)
	}()
	ready := make([]byte, 1)
	if _, err := io.ReadFull(report, ready); err != nil {
		c.abandon()
		return nil, fmt.Errorf("start %s: the waiting process ended early", argv[0])
	}
	switch ready[0] {
	case waitingReady:
	case waitingSession:
		c.session = true
	default:
		err := c.failure(ready)
		c.abandon()
		return nil, err
	}
	return c, nil
}

// Release lets the waiting process execute the command and returns when it has.
// An *Error says why it could not.
func (c *Command) Release() error {
	if _, err := c.release.Write([]byte{0}); err != nil {
		c.abandon()
		return fmt.Errorf("start the command: %w", err)
	}
	err := c.failure(nil)
	c.Close()
	return err
}

// Close ends a process that still waits. A command that was released runs on.
func (c *Command) Close() {
	c.report.Close()
	c.release.Close()
}

// abandon ends a process that still waits and returns when it has ended.
func (c *Command) abandon() {
	c.Close()
	<-c.done
}

// failure reads the waiting process's report of a failure, of which first was
// read already. The exec closes the pipe: an empty report is success.
func (c *Command) failure(first []byte) error {
	rest, err := io.ReadAll(c.report)
	if err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	status, text, ok := strings.Cut(string(first)+string(rest), " ")
	if !ok {
		return nil
	}
	n, err := strconv.Atoi(status)
	if err != nil {
		return fmt.Errorf("start the command: %s", text)
	}
	return &Error{Status: n, Err: errors.New(text)}
}

// PID is the command's process id.
func (c *Command) PID() int { return c.process.Pid }

// Done is closed when the command has ended.
func (c *Command) Done() <-chan struct{} { return c.done }

// Status is the command's exit status as a shell gives it (128 + signal when
// it was killed). Call it after Done.
func (c *Command) Status() (int, error) {
	if c.waitErr != nil {
		return 0, fmt.Errorf("wait for the command: %w", c.waitErr)
	}
	ws := c.state.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}
