package inherited

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const child = "VIV_TEST_INHERITED"

// TestMain: as a child it sets its surroundings, and has a shell say what that
// inherits.
func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	Set()
	ignored, err := Ignored()
	fmt.Println("here", ignored, err)
	sh := exec.Command("sh", "-c", `grep SigIgn /proc/self/status; umask; ulimit -c; [ "$(ulimit -f)" = "$(ulimit -H -f)" ]; echo $?; env | grep -c -e ^LD_X -e ^TRACEPARENT -e ^LANG; echo $LC_ALL`)
	sh.Stdout, sh.Stderr = os.Stdout, os.Stderr
	if err := sh.Run(); err != nil {
		fmt.Println(err)
	}
	os.Exit(0)
}

// TestSet: of what a child of ours inherits nothing is left that we have changed.
func TestSet(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `trap "" HUP INT QUIT TERM USR1 TSTP TTOU CHLD; umask 077; ulimit -S -f 1024; exec "$0"`, self)
	cmd.Env = append(os.Environ(), child+"=1", "TRACEPARENT=x", "LD_X=y", "LANG=de_DE", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := strings.Fields(string(out))
	want := strings.Fields("here [] <nil> SigIgn: 0000000000000000 0022 0 0 0 C.UTF-8")
	for i, w := range got {
		if mask, err := strconv.ParseUint(w, 16, 64); err == nil && len(w) == 16 {
			got[i] = fmt.Sprintf("%016x", mask&^(7<<31)) // see Ignored
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s", out)
	}
}
