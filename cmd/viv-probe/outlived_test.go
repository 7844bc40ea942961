package main

import (
	"testing"

	"vivarium/pkg/probe"
)

func TestOutlived(t *testing.T) {
	const begin = " of the watched processes run on, and what they do now is not recorded: "
	for _, c := range []struct {
		res  probe.Result
		want string
	}{
		{probe.Result{Outlived: 1, Survivors: []probe.Survivor{{PID: 7, Name: "cron"}}}, "1" + begin + "7 (cron)"},
		{probe.Result{Outlived: 4, Survivors: []probe.Survivor{{PID: 7, Name: "a\x1b[1m"}, {PID: 8}}}, "4" + begin + "7 (a\\e[1m), 8 and 2 more"},
	} {
		if got := outlived(c.res); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
