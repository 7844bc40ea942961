package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A spool on a disk that is full.
func TestSpoolFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	disk := t.TempDir()
	if err := syscall.Mount("viv-test", disk, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, 0) })
	f := newFaulty(t)
	v := startViv(t, nil, "--spool", disk+"/spool", "http://"+f.addr)
	v.in.Write(faultStream())
	v.msg.wait(t, "no space left on device")
	f.start(t)
	f.all(t, v.end(), &v.msg, 0)
}

// viv-otlp is killed again and again at random moments, with one spool. Each
// time it loses at most the batch that was open, and all of them together
// repeat at most one batch for each kill.
func TestKilled(t *testing.T) {
	t.Parallel()
	const rounds = 20
	f := newFaulty(t)
	var busy atomic.Bool
	f.answer = func(n int, w http.ResponseWriter, r *http.Request, ids []string) bool {
		if n%7 == 3 || busy.Load() { // so that some batches wait
			w.WriteHeader(503)
			return true
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		return false
	}
	f.start(t)
	dir := filepath.Join(t.TempDir(), "spool")
	const each = faultSpans / rounds
	for round := range rounds {
		w := newTestWriter()
		w.frame(w.SpanOpen, 0)
		for i := range each {
			w.method(round*each+i, 0)
		}
		// In some rounds nothing is taken, and then every batch is closed.
		closed := round%5 == 0
		busy.Store(closed)
		left := spooled(t, dir)
		v := startViv(t, nil, "--spool", dir, "http://"+f.addr)
		v.in.Write(w.bytes())
		until(t, func() bool { // it has read all
			unread, err := unix.IoctlGetInt(int(v.in.(*os.File).Fd()), unix.TIOCINQ)
			return err == nil && unread == 0
		}, v.msg.String)
		if closed {
			until(t, func() bool { return spooled(t, dir) >= left+each }, v.msg.String)
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		v.Process.Kill()
		v.Wait()
	}
	busy.Store(false)
	v := startViv(t, nil, "--spool", dir, "http://"+f.addr)
	if status := v.end(); status != 0 {
		t.Errorf("status %d, %s", status, &v.msg)
	}
	for round := range rounds {
		got := 0
		for i := range each {
			if f.taken(fmt.Sprintf("%016x", 100+round*each+i)) > 0 {
				if got != i {
					t.Fatalf("round %d: span %d was delivered, span %d was not", round, i, got)
				}
				got++
			}
		}
		if lost := each - got; lost > batchSpans || round%5 == 0 && lost > 0 {
			t.Errorf("round %d: %d spans lost", round, lost)
		}
	}
	if _, repeats := f.counts(); repeats > rounds*batchSpans {
		t.Errorf("%d spans repeated", repeats)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d files left in the spool, %v", len(left), err)
	}
}
