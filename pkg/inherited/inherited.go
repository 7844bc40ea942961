// Package inherited gives tests the same surroundings everywhere: what a process
// has from the one that started it, which is another one under nohup, cron, a CI's
// runner, or a shell with settings of its own.
package inherited

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Set sets, for this process and those that it starts: no signal ignored, but for
// those that the Go runtime catches; umask 022; files as large, and core dumps as
// small, as can be; TMPDIR a directory of everybody's; and an environment without
// what programs under test read. It is for the beginning of a TestMain.
func Set() {
	if err := set(); err != nil {
		fmt.Fprintln(os.Stderr, "set what is inherited:", err)
		os.Exit(1)
	}
}

// changes are beginnings of names of variables that change what programs do that
// tests start.
var changes = []string{
	"TRACEPARENT", "TRACESTATE", "OTEL_", "LD_", "RUBYOPT", "RUBYLIB", "BUNDLE_", "PYTHON", "NODE_OPTIONS", "NODE_EXTRA",
	"SSL_CERT", "SSLKEYLOGFILE", "CURL_", "GODEBUG", "GOGC", "GOMEMLIMIT", "GNUTLS_", "OPENSSL_",
	"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "LC_", "LANG",
}

func set() error {
	ignored, err := Ignored()
	if err != nil {
		return err
	}
	if len(ignored) > 0 {
		// What is caught is not ignored, here and in what this process starts.
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, ignored...)
		go func() {
			for range caught {
			}
		}()
	}
	syscall.Umask(0o022)
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		for _, c := range changes {
			if strings.HasPrefix(name, c) {
				if err := os.Unsetenv(name); err != nil {
					return err
				}
			}
		}
	}
	if err := os.Setenv("LC_ALL", "C.UTF-8"); err != nil {
		return err
	}
	if st, err := os.Stat(os.TempDir()); err != nil || st.Mode().Perm()&0o005 != 0o005 {
		if err := os.Setenv("TMPDIR", "/tmp"); err != nil {
			return err
		}
	}
	for what, limit := range map[int]unix.Rlimit{
		unix.RLIMIT_CORE:  {},
		unix.RLIMIT_FSIZE: {Cur: unix.RLIM_INFINITY},
	} {
		var has unix.Rlimit
		if err := unix.Getrlimit(what, &has); err != nil {
			return fmt.Errorf("getrlimit: %w", err)
		}
		limit.Max = has.Max
		limit.Cur = min(limit.Cur, has.Max)
		if err := unix.Setrlimit(what, &limit); err != nil {
			return fmt.Errorf("setrlimit: %w", err)
		}
	}
	return nil
}

// Ignored lists the signals that this process ignores, as one does that nohup
// started. It leaves out 32 to 34: C libraries use them for their threads, and the Go
// runtime does not catch them.
func Ignored() ([]os.Signal, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	_, rest, ok := bytes.Cut(status, []byte("\nSigIgn:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	mask, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	if !ok || err != nil {
		return nil, fmt.Errorf("/proc/self/status has no line SigIgn: %v", err)
	}
	var list []os.Signal
	for i := range 64 {
		if mask>>i&1 != 0 && (i+1 < 32 || i+1 > 34) {
			list = append(list, syscall.Signal(i+1))
		}
	}
	return list, nil
}
