package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// An observer is a process that watches the loop, or a later stage of its pipeline.
type observer struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	first  bool // of its pipeline: it is told to stop, the others end with it
	drain  chan struct{}
}

func (o *observer) cpu() time.Duration {
	return o.cmd.ProcessState.UserTime() + o.cmd.ProcessState.SystemTime()
}

// start starts a pipeline, discards the output of its last stage, and returns at the
// first output: viv-probe writes the session record when all probes are attached.
func start(stages ...*exec.Cmd) ([]*observer, error) {
	return startWhen(func(r *bufio.Reader) bool {
		_, err := r.Peek(1)
		return err == nil
	}, stages...)
}

// startWhen is start for a pipeline whose output is passed to attached, which reports
// whether the pipeline is attached.
func startWhen(attached func(*bufio.Reader) bool, stages ...*exec.Cmd) ([]*observer, error) {
	var (
		observers []*observer
		in        *os.File
	)
	for i, cmd := range stages {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		o := &observer{cmd: cmd, first: i == 0, drain: make(chan struct{})}
		cmd.Stdout, cmd.Stderr = w, &o.stderr
		if in != nil {
			cmd.Stdin = in
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		w.Close()
		if in != nil {
			in.Close()
		}
		in = r
		observers = append(observers, o)
	}
	last := observers[len(observers)-1]
	ready := make(chan bool)
	go func() {
		defer close(last.drain)
		ready <- attached(bufio.NewReader(in))
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err == nil {
			io.Copy(null, in)
			null.Close()
		}
		in.Close()
	}()
	if strings.Contains(strings.Join(stages[0].Args, " "), "-o "+capture) {
		// It prints nothing.
		go func() { <-ready }()
		return observers, waitForFile(capture)
	}
	if !<-ready {
		for _, o := range observers {
			o.cmd.Wait()
		}
		return nil, fmt.Errorf("%s ended at once: %s", stages[0].Args[0], strings.TrimSpace(observers[0].stderr.String()))
	}
	return observers, nil
}

func waitForFile(name string) error {
	for range 300 {
		if st, err := os.Stat(name); err == nil && st.Size() > 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s: still empty after 3 s", name)
}

// stop stops an observer and returns a note about its end, if there is one.
func (o *observer) stop() (note string, err error) {
	if o.first {
		o.cmd.Process.Signal(syscall.SIGINT)
	}
	// bpftrace sometimes does not end.
	timeout := time.AfterFunc(10*time.Second, func() { o.cmd.Process.Kill() })
	err = o.cmd.Wait()
	timeout.Stop()
	if ws, ok := o.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return "had to be killed", nil
	}
	if o.cmd.ProcessState.ExitCode() == 3 {
		lines := strings.Split(strings.TrimSpace(o.stderr.String()), "\n")
		return "incomplete: " + lines[len(lines)-1], nil
	}
	if ws, ok := o.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGINT {
		err = nil // as strace ends
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", o.cmd.Args[0], err, o.stderr.String())
	}
	return "", err
}
