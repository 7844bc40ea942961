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
	// It does not say when it has attached, so it is shown opens of ours until
	// it prints one.
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
	// It says on stderr that it has attached, which -o leaves there.
	// It stays on the loop's CPU: waking another one twice a system call can
	// cost it ten times as much.
	cmd := command("taskset", "-c", onlyCPU, "sh", "-c", `exec strace -f -o /dev/null -p "$0" 2>&1`, strconv.Itoa(loop))
	return start(cmd)
}
