package filter

import (
	"strings"
	"testing"
)

func TestOptionsErrors(t *testing.T) {
	bad := `[[]]`
	for want, o := range map[string]Options{
		"--severity \"low\": must be medium or high": {Severities: []string{"low"}},
		"--severity: the list":                       {Severities: []string{","}},
		"--pid: \"x\"":                               {PIDs: []string{"1,x"}},
		"--tid: the list":                            {TIDs: []string{""}},
		"--span: error parsing":                      {Span: []string{"("}},
		"--payload: error parsing":                   {Payload: []string{"path_open=("}},
		"--filter: must be a JSON ":                  {JSON: &bad},
	} {
		if _, _, err := o.Selection(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, warn, err := (&Options{Events: []string{"path_opne,path_open"}, Exclude: []string{"x"}}).Selection()
	if err != nil || len(warn) != 2 || !strings.Contains(warn[0], "path_opne") {
		t.Errorf("%v %v", warn, err)
	}
}
