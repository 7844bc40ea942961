package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// bpftrace prints the opens of the loop.
func bpftrace(loop, _ int) ([]*observer, error) {
	// It does not report when it is attached, so we open files until it prints one.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if f, err := os.Open(os.DevNull); err == nil {
					f.Close()
				}
			}
		}
	}()
	program := fmt.Sprintf(`tracepoint:syscalls:sys_enter_openat /pid == %d || pid == %d/ { printf("%%d %%s\n", pid, str(args->filename)); }`, loop, os.Getpid())
	return startWhen(func(r *bufio.Reader) bool {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return false
			}
			if strings.Contains(line, os.DevNull) {
				return true
			}
		}
	}, command("bpftrace", "-e", program))
}

// strace records all system calls of the loop.
func strace(loop, _ int) ([]*observer, error) {
	// It reports on stderr that it is attached, also with -o.
	// It runs on the loop's CPU: waking another CPU twice for each system call can cost
	// ten times as much.
	cmd := command("taskset", "-c", onlyCPU, "sh", "-c", `exec strace -f -o /dev/null -p "$0" 2>&1`, strconv.Itoa(loop))
	return start(cmd)
}
