package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"

	"golang.org/x/sys/unix"
)

// TestFlood: of a run that opens a million files at full speed, the stream
// holds each open, or says exactly how many are missing.
func TestFlood(t *testing.T) {
	needRoot(t)
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	const small = "65536"
	for _, size := range []string{"16777216", small} {
		t.Run("buffer "+size, func(t *testing.T) {
			n := n
			if size == small {
				n /= 5
			}
			file := filepath.Join(t.TempDir(), "f.viv")
			argv := []string{viv, "--buffer-size", size, "-e", "path_open", "-o", file, "--", program(t, "loop"), strconv.Itoa(n), "/etc/passwd"}
			var got outcome
			if size == small {
				got = runStopped(t, "loop", argv...)
			} else {
				got = run(t, argv...)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var opens, others, last uint64
			var end stream.End
			r := stream.NewReader(f)
			for {
				rec, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch rec.Type {
				case stream.TypeEvent:
					ev, err := rec.Event()
					if err != nil {
						t.Fatal(err)
					}
					if ev.KtimeNS < last {
						t.Fatal("not in order")
					}
					last = ev.KtimeNS
					if ev.Kind == &event.Kinds[event.PathOpen] {
						opens++
					} else {
						others++
					}
				case stream.TypeEnd:
					if end, err = rec.End(); err != nil {
						t.Fatal(err)
					}
				}
			}
			lost := r.Lost()
			t.Logf("%d opens, %d others, %d lost", opens, others, lost)
			// Beside the opens there is one event, the exit.
			if all := opens + others + lost; all != uint64(n)+1 || others > 1 || lost == 0 && others != 1 {
				t.Errorf("%d in all, want %d", all, n+1)
			}
			if end.Events != opens+others || end.Lost != lost {
				t.Errorf("the end says: %+v", end)
			}
			if lost == 0 && (got.status != 0 || got.stderr != "") {
				t.Errorf("nothing is lost: status %d, stderr %q", got.status, got.stderr)
			}
			if lost > 0 && (got.status != 3 || !strings.HasPrefix(got.stderr, fmt.Sprintf("viv-probe: %d events were lost: ", lost))) {
				t.Errorf("%d are lost: status %d, stderr %q", lost, got.status, got.stderr)
			}
			if size == small && lost == 0 {
				t.Error("nothing is lost: the test does not test what it should")
			}
		})
	}
}

// runStopped is run with a viv-probe that is stopped while the command runs,
// so that it reads nothing.
func runStopped(t *testing.T, command string, argv ...string) outcome {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	// "42 (loop) Z": its state follows its name.
	state := func() string {
		for _, pid := range children(cmd.Process.Pid) {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if _, after, ok := strings.Cut(string(stat), "("+command+") "); ok {
				return after[:1]
			}
		}
		return ""
	}
	eventually(t, "the command runs", func() bool { return state() != "" })
	cmd.Process.Signal(unix.SIGSTOP)
	eventually(t, "the command has ended", func() bool { return state() == "Z" })
	cmd.Process.Signal(unix.SIGCONT)
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{"", stderr.String(), status(cmd.ProcessState)}
}
