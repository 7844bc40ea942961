package probe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program that viv-probe starts to watch it. It is this program
// itself that is started, as a process that says when it is ready and then
// waits; once it is watched it is told to go on and executes the command. So
// nothing of the command's life is missed, and nothing of ours is seen: the
// pid, the terminal and the process group are the command's from the start.
type Command struct {
	proc *os.Process
	said *os.File // what the waiting process says: see waitingReady
	let  *os.File // a byte lets it go on
	done chan struct{}
	stat *os.ProcessState // valid when done is closed
	err  error
}

// CommandError says that the command could not be started. Its Status is
// viv-probe's exit status: 126 if it cannot be run, 127 if it was not found.
type CommandError struct {
	Status int
	Err    error
}

func (e *CommandError) Error() string { return e.Err.Error() }
func (e *CommandError) Unwrap() error { return e.Err }

const (
	waitingArg0  = "viv-probe: waiting to start"
	waitingReady = 'r' // said when everything but the exec is done
	waitingSaid  = 3   // the file descriptors of the waiting process
	waitingLet   = 4
)

// startCommand starts argv as the user of that name ("" for the one who called
// us) up to the point where it waits for release.
func startCommand(argv []string, userName string, stdout *os.File, env []string) (*Command, error) {
	said, saidW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	letR, let, err := os.Pipe()
	if err != nil {
		said.Close()
		saidW.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	cmd := exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       append([]string{waitingArg0, userName}, argv...),
		Stdin:      os.Stdin,
		Stdout:     stdout,
		Stderr:     os.Stderr,
		Env:        env,
		ExtraFiles: []*os.File{saidW, letR},
	}
	err = cmd.Start()
	saidW.Close()
	letR.Close()
	if err != nil {
		said.Close()
		let.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	c := &Command{proc: cmd.Process, said: said, let: let, done: make(chan struct{})}
	go func() {
		c.stat, c.err = c.proc.Wait()
		close(c.done)
	}()
	ready := make([]byte, 1)
	if _, err := io.ReadFull(said, ready); err != nil {
		c.abandon()
		return nil, fmt.Errorf("start %s: the waiting process ended early", argv[0])
	}
	if ready[0] != waitingReady {
		err := c.failure(ready)
		c.abandon()
		return nil, err
	}
	return c, nil
}

// release lets the waiting process execute the command and returns when it
// has, or with a CommandError.
func (c *Command) release() error {
	if _, err := c.let.Write([]byte{0}); err != nil {
		c.abandon()
		return fmt.Errorf("start the command: %w", err)
	}
	err := c.failure(nil)
	c.said.Close()
	c.let.Close()
	return err
}

// abandon ends a process that still waits: its pipe is closed.
func (c *Command) abandon() {
	c.said.Close()
	c.let.Close()
	<-c.done
}

// failure reads what the waiting process says of its failure; nothing, when
// the exec closed the pipe.
func (c *Command) failure(first []byte) error {
	rest, err := io.ReadAll(c.said)
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
	return &CommandError{Status: n, Err: errors.New(text)}
}

// PID is the command's process id.
func (c *Command) PID() int { return c.proc.Pid }

// Done is closed when the command has ended.
func (c *Command) Done() <-chan struct{} { return c.done }

// Status is the command's exit status as a shell gives it (128 + signal when
// it was killed). Call it after Done.
func (c *Command) Status() (int, error) {
	if c.err != nil {
		return 0, fmt.Errorf("wait for the command: %w", c.err)
	}
	ws := c.stat.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// ForwardedSignals are those that Forward passes on.
var ForwardedSignals = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}

// Forward sends the command a signal that viv-probe got, but not one that a
// terminal's key sent: that reaches the whole process group by itself.
func (c *Command) Forward(sig os.Signal) {
	if (sig == unix.SIGINT || sig == unix.SIGQUIT) && inForeground() {
		return
	}
	// It may have ended in the meantime; there is nobody to tell then.
	_ = c.proc.Signal(sig)
}

// inForeground says whether our process group is the one that the terminal's
// keys signal.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	pgrp, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// WaitToStart is the life of the waiting process: main calls it first of all,
// on the process's main thread. It returns at once in any other process, and
// never in that one.
func WaitToStart() {
	if len(os.Args) < 3 || os.Args[0] != waitingArg0 {
		return
	}
	said := os.NewFile(waitingSaid, "said")
	unix.CloseOnExec(waitingSaid)
	unix.CloseOnExec(waitingLet)
	argv := os.Args[2:]
	fail := func(status int, err error) {
		fmt.Fprintf(said, "%d %v", status, err)
		os.Exit(status)
	}
	if err := become(os.Args[1]); err != nil {
		fail(125, err)
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
	if _, err := said.Write([]byte{waitingReady}); err != nil {
		os.Exit(125)
	}
	// viv-probe is gone without having watched: the command must not run.
	if n, err := syscall.Read(waitingLet, make([]byte, 1)); n != 1 || err != nil {
		os.Exit(125)
	}
	err = syscall.Exec(path, argv, env)
	status := 126
	if errors.Is(err, unix.ENOENT) {
		status = 127
	}
	fail(status, fmt.Errorf("%s: %w", argv[0], err))
}

// become makes this process the named user's. With no name it is, under sudo,
// the user who called sudo, else nothing changes.
func become(name string) error {
	var u *user.User
	var err error
	switch id := os.Getenv("SUDO_UID"); {
	case name != "":
		if u, err = user.Lookup(name); err != nil {
			u, err = user.LookupId(name)
		}
		if err != nil {
			return fmt.Errorf("user %s: not found", name)
		}
	case id != "" && id != "0" && os.Geteuid() == 0:
		if u, err = user.LookupId(id); err != nil {
			return fmt.Errorf("user %s of SUDO_UID: %w", id, err)
		}
	default:
		return nil
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	ids, err3 := u.GroupIds()
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("user %s: %w", u.Username, err)
	}
	groups := make([]int, 0, len(ids))
	for _, s := range ids {
		g, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("user %s: group %s: %w", u.Username, s, err)
		}
		groups = append(groups, g)
	}
	if uid == os.Getuid() && gid == os.Getgid() && os.Geteuid() == uid {
		have, err := os.Getgroups()
		if err == nil && sameSet(have, groups) {
			return nil
		}
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("become user %s: setgroups: %w", u.Username, err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("become user %s: setgid: %w", u.Username, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("become user %s: setuid: %w", u.Username, err)
	}
	for k, v := range map[string]string{"HOME": u.HomeDir, "USER": u.Username, "LOGNAME": u.Username} {
		if err := os.Setenv(k, v); err != nil {
			return fmt.Errorf("become user %s: %w", u.Username, err)
		}
	}
	return nil
}

func sameSet(a, b []int) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
