package rubyc

import (
	"testing"

	"vivarium/pkg/probe/spans"
	"vivarium/pkg/probe/spans/ruby"
)

// TestDefaultList: it is without globs, about which the programs would ask.
func TestDefaultList(t *testing.T) {
	if l := spans.NewList(ruby.Methods, false); l.Asks() {
		t.Errorf("the default list has globs: %q", ruby.Methods)
	}
}
