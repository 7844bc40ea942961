package vivraw

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"vivarium/pkg/stream"
)

// TestCaptureErrors: vivarium's own cases. What it says, where it refuses; and
// what is deliberately different (FORMAT.md, Q40 to Q42).
func TestCaptureErrors(t *testing.T) {
	deviations := map[string]string{
		// Not recognised as captures, because they do not begin with a brace.
		"empty file":   "the input is empty",
		"not json":     `the input is not a viv stream: "not json\n" is not the beginning of a record`,
		"json null":    `the input is not a viv stream: "null\n" is not the beginning of a record`,
		"json array":   `the input is not a viv stream: "[]\n" is not the beginning of a record`,
		"json true":    `the input is not a viv stream: "true\n" is not the beginning of a record`,
		"binary bytes": `the input is not a viv stream: "\x00\x01\x02\xff\n" is not the beginning of a record`,
		// Shown as it is in the file.
		"record size text": `invalid vivarium-raw capture: event_struct_size="352" (expected 352); incompatible capture (likely an older vivarium-raw v1 file)`,
		// Q40.
		"record size false":                "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"repeated key":                     "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"session stop only":                "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"observer pid text":                "invalid vivarium-raw capture: no event_struct_size and no version; incompatible capture (likely an older vivarium-raw v1 file)",
		"version 99":                       "invalid vivarium-raw capture: version=99 (expected 2); vivarium 0.6.0 writes it",
		"event count larger than the file": "incomplete: the capture was cut short: 2 of 9 records are there",
		// Q41.
		"half a record": "incomplete: the capture was cut short: inside a record",
		// The parser's own words.
		"two objects": "invalid vivarium-raw capture: header is not valid JSON: ",
		"NaN":         "invalid vivarium-raw capture: header is not valid JSON: ",
	}
	var cases []struct {
		Name  string  `json:"name"`
		File  string  `json:"file_base64"`
		Error *string `json:"load_error"`
	}
	b, err := os.ReadFile("testdata/error_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 20 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		in, err := base64.StdEncoding.DecodeString(c.File)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.Error != nil {
			want = "invalid vivarium-raw capture: " + *c.Error
		}
		if d, ok := deviations[c.Name]; ok {
			want = d
			delete(deviations, c.Name)
		}
		checkCaptureError(t, c.Name, in, want)
	}
	for name := range deviations {
		t.Errorf("there is no case %q", name)
	}
}

func checkCaptureError(t *testing.T, name string, in []byte, want string) {
	t.Helper()
	err := drain(newReader(bytes.NewReader(in)))
	got := ""
	var format *stream.FormatError
	switch {
	case errors.Is(err, stream.ErrIncomplete):
		got = "incomplete: " + err.Error()
	case errors.As(err, &format):
		got = err.Error()
	case err != io.EOF:
		t.Errorf("%s: %T", name, err)
	}
	if got != want && (!strings.HasSuffix(want, ": ") || !strings.HasPrefix(got, want)) {
		t.Errorf("%s: %s\nwant %s", name, got, want)
	}
	if strings.Contains(got, "\n") {
		t.Errorf("%s: more than a line", name)
	}
}

func TestCaptureHeaders(t *testing.T) {
	const invalid = "invalid vivarium-raw capture: "
	rec := string(make([]byte, recordSize))
	behind := func(count int, what string) string {
		return fmt.Sprintf("incomplete: the stream is broken at byte %d: %s; the session before it ends there because its event_count is %d",
			len(`{"format":"vivarium-raw","version":2,"event_count":1}`)+1+count*recordSize, what, count)
	}
	for name, test := range map[string][2]string{
		"version only":        {`{"format":"vivarium-raw","version":2}` + "\n" + rec, ""},
		"size only":           {`{"format":"vivarium-raw","event_struct_size":352}` + "\n" + rec, ""},
		"floats":              {`{"format":"vivarium-raw","version":2.0,"event_count":1e0,"session_stop_ktime":7.0}` + "\n" + rec, ""},
		"nulls":               {`{"format":"vivarium-raw","version":2,"event_count":null,"main_tid":null,"session_start_iso":null}` + "\n" + rec, ""},
		"unreadable iso":      {`{"format":"vivarium-raw","version":2,"session_start_iso":"today"}` + "\n" + rec, ""},
		"no format":           {`{}` + "\n", invalid + `format=nil (expected "vivarium-raw")`},
		"null format":         {`{"format":null}` + "\n", invalid + `format=nil (expected "vivarium-raw")`},
		"v1 by version":       {`{"format":"vivarium-raw","version":1}` + "\n", invalid + "version=1 (expected 2); vivarium 0.6.0 writes it"},
		"version text":        {`{"format":"vivarium-raw","version":"2"}` + "\n", invalid + `version="2" (expected 2); vivarium 0.6.0 writes it`},
		"pid text":            {`{"format":"vivarium-raw","version":2,"observer_pid":"7"}` + "\n" + rec, invalid + `observer_pid="7" (expected a whole number up to 4294967295)`},
		"start text":          {`{"format":"vivarium-raw","version":2,"session_start_ktime":"7"}` + "\n" + rec, invalid + `session_start_ktime="7" (expected a whole number up to 18446744073709551615)`},
		"negative":            {`{"format":"vivarium-raw","version":2,"session_stop_ktime":-7}` + "\n" + rec, invalid + `session_stop_ktime=-7 (expected a whole number up to 18446744073709551615)`},
		"fraction":            {`{"format":"vivarium-raw","version":2,"main_tid":0.5}` + "\n" + rec, invalid + `main_tid=0.5 (expected a whole number up to 4294967295)`},
		"large tid":           {`{"format":"vivarium-raw","version":2,"main_tid":4294967296}` + "\n" + rec, invalid + `main_tid=4294967296 (expected a whole number up to 4294967295)`},
		"iso number":          {`{"format":"vivarium-raw","version":2,"session_stop_iso":7}` + "\n" + rec, invalid + `session_stop_iso=7 (expected a time as text)`},
		"count text":          {`{"format":"vivarium-raw","version":2,"event_count":"1"}` + "\n" + rec, invalid + `event_count="1" (expected a whole number up to 18446744073709551615)`},
		"lines in a value":    {`{"format":["` + `\n` + `"]}` + "\n", invalid + `format=["\n"] (expected "vivarium-raw")`},
		"cut header":          {`{"format":"vivarium-r`, invalid + "header is not valid JSON: "},
		"header without line": {`{"format":"vivarium-raw","version":2}`, "incomplete: the capture was cut short: inside its header"},
		"less than counted":   {`{"format":"vivarium-raw","version":2,"event_count":2}` + "\n" + rec + rec[:351], "incomplete: the capture was cut short: 1 of 2 records are there"},
		"more than counted":   {`{"format":"vivarium-raw","version":2,"event_count":1}` + "\n" + rec + rec, behind(1, `"`+strings.Repeat(`\x00`, 16)+`" is not the beginning of a record`)},
		"none counted":        {`{"format":"vivarium-raw","version":2,"event_count":0}` + "\n" + rec, behind(0, `"`+strings.Repeat(`\x00`, 16)+`" is not the beginning of a record`)},
		"a map behind":        {`{"format":"vivarium-raw","version":2,"event_count":1}` + "\n" + rec + "\x80", behind(1, "a record after the end of session 1 belongs to no session")},
		"endless header":      {"{" + strings.Repeat(" ", stream.MaxRecord), invalid + "its header is longer than 16 MiB"},
	} {
		checkCaptureError(t, name, []byte(test[0]), test[1])
	}
}
