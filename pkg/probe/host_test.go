package probe

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const inTimeNamespace = "VIV_TEST_IN_TIME_NAMESPACE"

// TestTimeNamespace: in a time namespace of viv-probe's own its clock is still
// the one that the kernel stamps events with: readBack looks at each of them.
func TestTimeNamespace(t *testing.T) {
	needRoot(t)
	if os.Getenv(inTimeNamespace) != "" {
		t.Skip("is in a time namespace already")
	}
	unshare := tool(t, "unshare")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []string{"100000", "-10"} {
		args := []string{"-T", "--monotonic", offset, "--boottime", offset, "-f"}
		if out, err := exec.Command(unshare, append(args, "true")...).CombinedOutput(); err != nil {
			t.Skipf("the kernel refuses a time namespace: %v: %s", err, out)
		}
		cmd := exec.Command(unshare, append(args, self, "-test.v", "-test.run", "^(TestTasks|TestClock)$")...)
		cmd.Env = append(os.Environ(), inTimeNamespace+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "--- PASS: ") < 2 {
			t.Errorf("%s s: %v\n%s", offset, err, out)
		}
	}
}
