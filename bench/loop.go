package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// A loop is a running bench/testdata/loop.c.
type loop struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startLoop starts a loop that stays on these CPUs (a list for taskset).
func startLoop(cpu, what string, turns int) (*loop, error) {
	cmd := command("taskset", "-c", cpu, loopBinary, what, strconv.Itoa(turns))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l := &loop{cmd, in, bufio.NewReader(out)}
	if _, err := l.out.ReadString('\n'); err != nil {
		l.stop()
		return nil, fmt.Errorf("the loop did not start: %w", err)
	}
	return l, nil
}

func (l *loop) begin() error {
	_, err := l.in.Write([]byte{'\n'})
	return err
}

func (l *loop) end() (ns int64, err error) {
	line, err := l.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the loop ended early: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

func (l *loop) round() (ns int64, err error) {
	if err := l.begin(); err != nil {
		return 0, err
	}
	return l.end()
}

func (l *loop) stop() {
	l.in.Close()
	l.cmd.Wait()
}
