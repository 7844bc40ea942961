package launch

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// forwardedSignals are those that ForwardSignals passes on.
var forwardedSignals = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}

// ForwardSignals sends the command the signals HUP, INT, QUIT, TERM, USR1 and
// USR2 that this process gets until stop is called, but for those that it
// ignores.
func (c *Command) ForwardSignals() (stop func()) {
	received := make(chan os.Signal, 16)
	for _, s := range forwardedSignals {
		if !signal.Ignored(s) {
			signal.Notify(received, s)
		}
	}
	go func() {
		for s := range received {
			c.forward(s)
		}
	}()
	return func() {
		signal.Stop(received)
		close(received)
	}
}

// forward sends the command a signal, but not one that a terminal's key sent:
// the terminal sends that one to the whole process group.
func (c *Command) forward(sig os.Signal) {
	if (sig == unix.SIGINT || sig == unix.SIGQUIT) && inForeground() {
		return
	}
	// It may have ended in the meantime; then nobody is left to get the signal.
	_ = c.process.Signal(sig)
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
