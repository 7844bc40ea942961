package probe

import (
	"errors"
	"testing"

	"vivarium/bpf"

	"github.com/cilium/ebpf"
)

// TestVerifier has the verifier accept every program.
func TestVerifier(t *testing.T) {
	spec, err := bpf.LoadViv()
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{})
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			t.Logf("%+v", ve)
		}
		t.Fatal(err)
	}
	defer coll.Close()
	for name, p := range coll.Programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := info.VerifiedInstructions()
		t.Logf("%-24s %6d instructions verified", name, n)
	}
}
