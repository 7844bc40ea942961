package launch

import (
	"os"
	"os/signal"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// forwardedSignals are those that ForwardSignals passes on, and terminalSignals
// those that a terminal sends to its foreground group beside them.
var (
	forwardedSignals = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}
	terminalSignals  = []os.Signal{unix.SIGTSTP, unix.SIGWINCH}
)

// ForwardSignals sends the command the signals HUP, INT, QUIT, TERM, USR1 and
// USR2 that this process gets until stop is called, but for those that it
// ignores. For a command in a session of its own it does what the terminal does
// for others: the signals of the terminal go to the command's process group, and
// one that stops this process stops the group.
func (c *Command) ForwardSignals() (stop func()) {
	signals := forwardedSignals
	if c.session {
		signals = append(slices.Clone(signals), terminalSignals...)
	}
	received := make(chan os.Signal, 16)
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(received, s)
		}
	}
	go func() {
		for s := range received {
			c.forward(s.(unix.Signal))
		}
	}()
	return func() {
		signal.Stop(received)
		close(received)
	}
}

// forward sends the command a signal, but not one that a terminal's key sent:
// the terminal sends that one to the whole process group. It may fail because
// the command has ended; then nobody is left to get the signal.
func (c *Command) forward(sig unix.Signal) {
	fromTerminal := (sig == unix.SIGINT || sig == unix.SIGQUIT) && inForeground()
	switch {
	case c.session && sig == unix.SIGTSTP:
		c.suspend()
	case c.session && (fromTerminal || sig == unix.SIGHUP || sig == unix.SIGWINCH):
		c.signalGroup(sig)
	case !fromTerminal:
		_ = c.process.Signal(sig)
	}
}

// suspend stops the command's group and this process until this process is
// continued. The group is stopped by SIGSTOP because the kernel drops SIGTSTP
// for a group without a terminal.
func (c *Command) suspend() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.signalGroup(unix.SIGSTOP)
	// A signal to this very thread stops it before the call returns.
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	c.signalGroup(unix.SIGCONT)
}

// signalGroup signals the process group that the command began as.
func (c *Command) signalGroup(sig unix.Signal) {
	select {
	case <-c.done: // its id may be another process's by now
	default:
		_ = unix.Kill(-c.process.Pid, sig)
	}
}

// inForeground reports whether this process's group is the foreground group of
// its terminal, which gets the signals of the terminal's keys.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	pgrp, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}
