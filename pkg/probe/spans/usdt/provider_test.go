package usdt

import (
	"fmt"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"a:in:out":                 "{name:a inMethod:false probes:map[in:{kind:24 args:[1 0 0 0 0 0]} out:{kind:25 args:[1 0 0 0 0 0]}]}",
		"a:in:out:err@2/3#4/5@6@7": "{name:a inMethod:false probes:map[err:{kind:26 args:[2 3 4 5 6 7]} in:{kind:24 args:[2 3 4 5 6 7]} out:{kind:25 args:[2 3 4 5 6 7]}]}",
		"hotspot:e:r@2/3#4/5":      "{name:hotspot inMethod:false probes:map[e:{kind:24 args:[2 3 4 5 0 0]} r:{kind:25 args:[2 3 4 5 0 0]}]}",
	} {
		u, err := parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := fmt.Sprintf("%+v", *u); got != want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
}
