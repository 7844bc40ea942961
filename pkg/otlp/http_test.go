package otlp

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

func TestAnswers(t *testing.T) {
	partial := ptraceotlp.NewExportResponse()
	partial.PartialSuccess().SetRejectedSpans(2)
	partial.PartialSuccess().SetErrorMessage("too old")
	partialBody, _ := partial.MarshalProto()
	// A date has no fractions of a second: this one is more than a second ahead.
	date := func(n int, w http.ResponseWriter, r *http.Request, spans []string) bool {
		return reply(503, "Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))(n, w, r, spans)
	}

	for name, test := range map[string]struct {
		answer func(int, http.ResponseWriter, *http.Request, []string) bool
		took   string // spans, after batches of `a b c` and `d`
		want   Counts
		said   string
		least  time.Duration // that it takes
	}{
		"good":              {nil, "a b c d", Counts{Delivered: 4}, "", 0},
		"429":               {reply(429), "a b c d", Counts{Delivered: 4}, "429 Too Many Requests: trying again", firstWait / 2},
		"502":               {reply(502), "a b c d", Counts{Delivered: 4}, "trying again", firstWait / 2},
		"503":               {reply(503), "a b c d", Counts{Delivered: 4}, "answers again after", firstWait / 2},
		"504":               {reply(504), "a b c d", Counts{Delivered: 4}, "trying again", firstWait / 2},
		"429 with seconds":  {reply(429, "Retry-After", "1"), "a b c d", Counts{Delivered: 4}, "trying again", time.Second},
		"503 with a date":   {date, "a b c d", Counts{Delivered: 4}, "trying again", time.Second},
		"503 with nonsense": {reply(503, "Retry-After", "soon"), "a b c d", Counts{Delivered: 4}, "trying again", firstWait / 2},
		"400":               {reply(400), "d", Counts{Delivered: 1, Rejected: 3}, "the receiver answered 400 Bad Request: refused batches are lost (3 spans lost so far)", 0},
		"401":               {reply(401), "d", Counts{Delivered: 1, Rejected: 3}, "401 Unauthorized", 0},
		"404":               {reply(404), "d", Counts{Delivered: 1, Rejected: 3}, "404 Not Found", 0},
		"500":               {reply(500), "d", Counts{Delivered: 1, Rejected: 3}, "500", 0},
		"a redirect":        {reply(301, "Location", "/other"), "d", Counts{Delivered: 1, Rejected: 3}, "301 Moved Permanently", 0},
		"a temporary one":   {reply(307, "Location", "/other"), "d", Counts{Delivered: 1, Rejected: 3}, "307", 0},
		"202":               {func(n int, w http.ResponseWriter, _ *http.Request, _ []string) bool { w.WriteHeader(202); return false }, "a b c d", Counts{Delivered: 4}, "", 0},
		"no protobuf at all": {func(n int, w http.ResponseWriter, _ *http.Request, _ []string) bool {
			w.Write([]byte("<html>"))
			return false
		}, "a b c d", Counts{Delivered: 4}, "", 0},
		"413 for more than 1": {func(n int, w http.ResponseWriter, _ *http.Request, s []string) bool {
			if len(s) > 1 {
				w.WriteHeader(413)
			}
			return len(s) > 1
		}, "a b c d", Counts{Delivered: 4}, "", 0},
		"413 always": {func(n int, w http.ResponseWriter, _ *http.Request, s []string) bool { w.WriteHeader(413); return true },
			"", Counts{Rejected: 4}, "413", 0},
		"partial success": {func(n int, w http.ResponseWriter, _ *http.Request, s []string) bool {
			if n == 0 {
				w.Write(partialBody)
			}
			return false
		}, "a b c d", Counts{Delivered: 2, Rejected: 2}, "the receiver rejected a part of the batch: too old (2 spans lost so far)", 0},
		"half an answer": {func(n int, w http.ResponseWriter, _ *http.Request, s []string) bool {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte{10})
			return false
		}, "a b c d", Counts{Delivered: 4}, "", 0},
		"a closed connection": {func(n int, w http.ResponseWriter, _ *http.Request, s []string) bool {
			if n == 0 {
				panic(http.ErrAbortHandler)
			}
			return false
		}, "a b c d", Counts{Delivered: 4}, "EOF: trying again", firstWait / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := startReceiver(t, test.answer)
			d := startDelivery(t, v.URL, nil)
			begun := time.Now()
			d.Put(testBatch(t, "a", "b", "c"))
			d.Put(testBatch(t, "d"))
			counts := d.Close()
			same(t, "taken", test.took, v.took())
			same(t, "counts", [2]Counts{test.want}, counts)
			if s := d.warnings(); !strings.Contains(s, test.said) || test.said == "" && s != "" {
				t.Errorf("said %q, want %q", s, test.said)
			}
			if took := time.Since(begun); took < test.least {
				t.Errorf("it took %v, want %v at least", took, test.least)
			}
			if err := d.Err(counts); (err != nil) != (test.want.Lost() > 0) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A receiver that hangs costs an attempt's timeout, again and again.
func TestHang(t *testing.T) {
	release := make(chan struct{})
	v := startReceiver(t, func(n int, w http.ResponseWriter, r *http.Request, _ []string) bool {
		if n == 0 {
			<-release
		}
		return n == 0
	})
	d := startDelivery(t, v.URL, func(o *DeliveryOptions, b *bounds) {
		old := o.Endpoint
		o.Endpoint = func(s Signal) (*Endpoint, error) {
			e, err := old(s)
			e.Timeout = 100 * time.Millisecond
			return e, err
		}
	})
	d.Put(testBatch(t, "a"))
	time.AfterFunc(500*time.Millisecond, func() { close(release) })
	same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
	if !strings.HasPrefix(v.took(), "a") { // it may have read more than it answered
		t.Error("nothing was taken")
	}
	if s := d.warnings(); !strings.Contains(s, "no answer within 100ms: trying again") {
		t.Errorf("said %q", s)
	}
}
