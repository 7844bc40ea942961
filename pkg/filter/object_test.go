package filter

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"vivarium/pkg/stream"
)

// differs are the filters of filter_cases.json that are errors here, by the
// quirk of vivarium's that was left behind.
var differs = map[string]string{
	`null`:                   "Q37",
	`"x"`:                    "Q37",
	`true`:                   "Q37",
	`[1]`:                    "Q37",
	`[["events"]]`:           "Q37",
	`{"pids":["0144"]}`:      "Q34",
	`{"pids":["1__00"]}`:     "Q34",
	`{"pids":["100.9"]}`:     "Q34",
	`{"tids":{"a":1}}`:       "Q34",
	`{"max_span_depth":2.9}`: "Q34",
}

// TestCases compares with what vivarium's own filter says.
func TestCases(t *testing.T) {
	b, err := os.ReadFile("testdata/filter_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Filter json.RawMessage
		Args   struct {
			Event    string `json:"event_name"`
			Severity string
			Span     string `json:"span_name"`
			Payload  *string
			PID, TID uint32
		}
		Error        string
		AllowEvent   bool  `json:"allow_event"`
		AllowSpan    bool  `json:"allow_span_name"`
		NeedsPayload *bool `json:"needs_payload"`
		Depth        int   `json:"max_span_depth"`
		Dedup        bool  `json:"dedup_values"`
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 80 {
		t.Fatalf("only %d cases", len(cases))
	}
	seen := map[string]bool{}
	for _, c := range cases {
		text := string(c.Filter)
		o := &Object{Rules: *Default()}
		if text != `"DEFAULT"` {
			o, err = ParseJSON(text)
			if differs[text] != "" {
				seen[text] = true
				if err == nil || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s (%s): error %v, want one line", text, differs[text], err)
				}
				continue
			}
			if (err != nil) != (c.Error != "") {
				t.Errorf("%s: error %v, vivarium: %q", text, err, c.Error)
			}
			if err != nil {
				continue
			}
			if c.NeedsPayload != nil {
				if got := o.Rules.Payload != nil || o.Rules.Payloads != nil || o.Dedup; got != *c.NeedsPayload {
					t.Errorf("%s: needs payload: %v", text, got)
				}
			}
		}
		if o.Depth != c.Depth || o.Dedup != c.Dedup {
			t.Errorf("%s: depth %d, dedup %v; want %d, %v", text, o.Depth, o.Dedup, c.Depth, c.Dedup)
		}
		a := c.Args
		r := &o.Rules
		span := r.allowsSpan([]byte(a.Span))
		if span != c.AllowSpan {
			t.Errorf("%s: span %s allowed: %v", text, a.Span, span)
		}
		got := span && r.matchesFields([]byte(a.Event), a.Severity, a.PID, a.TID)
		if ps := r.patterns([]byte(a.Event)); got && ps != nil {
			got = a.Payload != nil && ps.Match([]byte(*a.Payload))
		}
		if got != c.AllowEvent {
			t.Errorf("%s: %+v allowed: %v", text, a, got)
		}
	}
	if len(seen) != len(differs) {
		t.Errorf("%d of %d deviations were met", len(seen), len(differs))
	}
}

func TestParseJSONErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                             "ends too early",
		`{`:                            "ends too early",
		`{bad`:                         "not valid JSON",
		`{} {}`:                        "text follows the object",
		`5`:                            "not a number",
		`[]`:                           "not a list",
		`null`:                         "not null",
		`{"pid":"x"}`:                  `pid: "x" is not a whole number`,
		`{"pid":[]}`:                   "pid: must hold at least one whole number",
		`{"pids":[100,"x"]}`:           "pids: ",
		`{"tid":100.5}`:                "tid: 100.5 is not a whole number",
		`{"tid":1e300}`:                "not a whole number",
		`{"tid":true}`:                 "tid: must hold whole numbers, not true or false",
		`{"max_depth":"0144"}`:         "max_depth: \"0144\" begins with 0",
		`{"max_depth":1.5}`:            "max_depth: 1.5",
		`{"pid":99999999999999999999}`: "not a whole number of at most 64 bits",
	} {
		_, err := ParseJSON(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestParseInt(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "7": 7, " 7\n": 7, "-3": -3, "+3": 3, "0x64": 100, "0X64": 100, "0b11": 3, "0o17": 15, "1_000": 1000,
	} {
		if got, err := ParseInt(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " ", "x", "1__0", "_1", "1_", "07", "00", "-07", "0_7", "1.0", "1e3", "0x", "9223372036854775808", "--1"} {
		if got, err := ParseInt(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func FuzzDefaultPath(f *testing.F) {
	for _, s := range []string{``, `"`, `/`, `"/etc`, `"/etc"`, `/etc/x`, `"/etcx"`, `"/home"x`, `""/root"`, "/proc\n", `"//etc"`, `"/root" flags=0x1`, `"/etc\x00`} {
		f.Add(s)
	}
	re := regexp.MustCompile(`\A"?/(?:home|root|etc|proc)(?:/|"|\z)`)
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := defaultPath([]byte(s)), re.MatchString(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	for s := range differs {
		f.Add(s)
	}
	f.Add(`{"events":[1,null,{"a":[]}],"payload":{"path_open":"/etc/"},"pids":[1e2,"0x1"],"span":"x","dedup":1e999}`)
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseJSON(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			return
		}
		if o.Depth < 0 {
			t.Errorf("depth %d", o.Depth)
		}
		r := &o.Rules
		r.allowsSpan([]byte(stream.NoSpan))
		r.matchesFields([]byte("path_open"), "medium", 1, 2)
		r.patterns([]byte("path_open")).Match([]byte(`"/etc/passwd"`))
	})
}
