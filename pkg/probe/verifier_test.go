package probe

import (
	"errors"
	"testing"

	"vivarium/bpf"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// TestVerifier has the verifier accept every program that this kernel takes at
// all, and prints how much of its limit of a million instructions each needs.
func TestVerifier(t *testing.T) {
	needRoot(t)
	spec, err := bpf.LoadViv()
	if err != nil {
		t.Fatal(err)
	}
	base := spec.Copy()
	for name := range base.Programs {
		if name != "seed_tasks" {
			delete(base.Programs, name)
		}
	}
	coll, err := ebpf.NewCollection(base)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	a := attachment{maps: coll.Maps, spec: spec, programs: map[string]*ebpf.Program{}, links: map[string]link.Link{}}
	defer a.close()
	const room = 300_000 // send_exit needs 254,056 on Linux 6.1
	for name, s := range spec.Programs {
		err := a.load(name)
		if err != nil && (s.Type == ebpf.LSM || name == "cap_capable") && (errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EPERM)) {
			t.Logf("%-26s not on this kernel: %v", name, err)
			continue
		}
		if err != nil {
			var ve *ebpf.VerifierError
			if errors.As(err, &ve) {
				t.Logf("%+v", ve)
			}
			t.Errorf("%s: %v", name, err)
			continue
		}
		info, err := a.programs[name].Info()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := info.VerifiedInstructions()
		t.Logf("%-26s %6d instructions verified", name, n)
		if n > room {
			t.Errorf("%s: %d instructions verified, more than %d", name, n, room)
		}
	}
}
