//go:build !linux

package main

import "os/exec"

// killWithParent does nothing: only Linux kills a process when its parent ends.
func killWithParent(*exec.Cmd) {}
