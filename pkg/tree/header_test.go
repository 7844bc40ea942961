package tree

import (
	"strings"
	"testing"

	"vivarium/pkg/stream"
)

// TestAlive: the header says how many processes went on when the recording ended.
func TestAlive(t *testing.T) {
	for _, c := range []struct {
		alive uint64
		want  string
	}{
		{0, ""},
		{3, "#   alive    3 at the end, unwatched since"},
	} {
		var s session
		s.end, s.ended = stream.End{Alive: c.alive}, true
		got := ""
		for line := range strings.Lines(string(appendHeader(nil, &s))) {
			if strings.Contains(line, "alive") {
				got += strings.TrimSuffix(line, "\n")
			}
		}
		if got != c.want {
			t.Errorf("%d alive: %q, want %q", c.alive, got, c.want)
		}
	}
}
