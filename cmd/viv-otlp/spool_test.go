package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Two processes on one spool: the second is refused, the first does not mind.
func TestSpoolTwice(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	dir := filepath.Join(t.TempDir(), "spool")
	v := startViv(t, nil, "--spool", dir, "http://"+f.addr)
	s := faultStream()
	v.in.Write(s[:len(s)/2])
	second := startViv(t, nil, "--spool", dir, "http://"+f.addr)
	if status := second.end(); status != 1 || !strings.Contains(second.msg.String(), "another process uses it") {
		t.Errorf("status %d, %s", status, &second.msg)
	}
	f.start(t)
	v.in.Write(s[len(s)/2:])
	f.all(t, v.end(), &v.msg, 0)
}

// spooled is how many spans are in a spool.
func spooled(t *testing.T, dir string) (spans int) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.traces")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(f)[17:], "%d.traces", &n); err != nil {
			t.Fatal(f, err)
		}
		spans += n
	}
	return spans
}
