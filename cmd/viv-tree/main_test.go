package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vivarium/pkg/cli/clitest"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "../viv-spans", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	captures, err := filepath.Abs("../../conformance")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("CAPTURES", captures)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// status N PROGRAM ARG...: it has to end with status N.
			"status": clitest.Status,
		},
	})
}
