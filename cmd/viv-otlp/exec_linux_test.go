package main

import (
	"os/exec"
	"syscall"
)

// killWithParent makes the kernel kill a process when the test ends in any way.
func killWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
