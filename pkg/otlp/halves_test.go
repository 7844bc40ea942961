package otlp

import (
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// Both halves of a batch of log records are there, and nothing twice.
func TestHalves(t *testing.T) {
	r := plogotlp.NewExportRequest()
	for i := range 5 {
		r.Logs().ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().SetEventName(fmt.Sprint(i))
	}
	body, _ := r.MarshalProto()
	parts, err := Batch{Logs, 5, body}.halves()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range parts {
		r := plogotlp.NewExportRequest()
		if err := r.UnmarshalProto(p.Body); err != nil {
			t.Fatal(err)
		}
		same(t, "items", p.Items, r.Logs().LogRecordCount())
		for _, rl := range r.Logs().ResourceLogs().All() {
			got = append(got, rl.ScopeLogs().At(0).LogRecords().At(0).EventName())
		}
	}
	same(t, "names", "0 1 2 3 4", strings.Join(got, " "))
}
