package usdt

import (
	"fmt"
	"strings"
	"testing"

	"vivarium/pkg/event"
)

func TestParse(t *testing.T) {
	kinds := strings.NewReplacer("START", fmt.Sprint(event.SpanStart), "STOP", fmt.Sprint(event.SpanStop), "RAISE", fmt.Sprint(event.SpanRaise))
	for in, want := range map[string]string{
		"a:in:out":                 "{name:a inMethod:false probes:map[in:{kind:START args:[1 0 0 0 0 0]} out:{kind:STOP args:[1 0 0 0 0 0]}]}",
		"a:in:out:err@2/3#4/5@6@7": "{name:a inMethod:false probes:map[err:{kind:RAISE args:[2 3 4 5 6 7]} in:{kind:START args:[2 3 4 5 6 7]} out:{kind:STOP args:[2 3 4 5 6 7]}]}",
		"hotspot:e:r@2/3#4/5":      "{name:hotspot inMethod:false probes:map[e:{kind:START args:[2 3 4 5 0 0]} r:{kind:STOP args:[2 3 4 5 0 0]}]}",
	} {
		want = kinds.Replace(want)
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
