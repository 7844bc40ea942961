package otlp

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// receiver is an OTLP receiver that does what a test wants.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	names []string // of the spans that it took, in order
	tries int
	// answer may answer a request itself, the n-th from 0 on, and return true:
	// its spans are then not taken.
	answer func(n int, w http.ResponseWriter, r *http.Request, spans []string) bool
}

func startReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request, spans []string) bool) *receiver {
	v := &receiver{answer: answer}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Close)
	return v
}

func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return
	}
	var names []string
	if strings.HasSuffix(r.URL.Path, "/v1/logs") {
		err = plogotlp.NewExportRequest().UnmarshalProto(b)
	} else {
		names, err = namesOf(b, r.Header.Get("Content-Type") == "application/json")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.tries
	v.tries++
	if v.answer == nil || !v.answer(n, w, r, names) {
		v.names = append(v.names, names...)
	}
}

func (v *receiver) took() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.names, " ")
}

func namesOf(body []byte, json bool) (names []string, err error) {
	r := ptraceotlp.NewExportRequest()
	if json {
		err = r.UnmarshalJSON(body)
	} else {
		err = r.UnmarshalProto(body)
	}
	for _, rs := range r.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				names = append(names, s.Name())
			}
		}
	}
	return names, err
}

// testBatch is one of spans with these names.
func testBatch(t *testing.T, names ...string) Batch {
	t.Helper()
	r := ptraceotlp.NewExportRequest()
	for _, n := range names {
		// One resource each, so that splitting has something to do.
		s := r.Traces().ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetName(n)
		s.SetSpanID([8]byte{1})
		s.SetTraceID([16]byte{1})
	}
	b, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return Batch{Traces, len(names), b}
}

// logBatch is one of n log records.
func logBatch(t *testing.T, n int) Batch {
	t.Helper()
	r := plogotlp.NewExportRequest()
	records := r.Logs().ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for range n {
		records.AppendEmpty().SetTimestamp(1)
	}
	b, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return Batch{Logs, n, b}
}

// delivery is one under test, and what it said.
type delivery struct {
	*Delivery
	mu   sync.Mutex
	said []string
}

func startDelivery(t *testing.T, url string, change func(*DeliveryOptions, *bounds)) *delivery {
	t.Helper()
	d := &delivery{}
	opt := DeliveryOptions{
		Endpoint: func(s Signal) (*Endpoint, error) {
			return NewEndpoint(s, url, "", func(string) string { return "" })
		},
		Deadline: 20 * time.Second,
		Warn: func(format string, args ...any) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.said = append(d.said, fmt.Sprintf(format, args...))
		},
	}
	b := defaultBounds
	b.inFlight = 1
	if change != nil {
		change(&opt, &b)
	}
	var err error
	if d.Delivery, err = newDelivery(opt, b); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *delivery) warnings() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.said, "\n")
}

func spoolIn(dir string) func(*DeliveryOptions, *bounds) {
	return func(o *DeliveryOptions, b *bounds) { o.Spool = dir }
}

func reply(code int, header ...string) func(int, http.ResponseWriter, *http.Request, []string) bool {
	return func(n int, w http.ResponseWriter, r *http.Request, _ []string) bool {
		if n > 0 {
			return false
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// nobody is where nobody listens, and no port that the kernel would give to
// another test.
const nobody = "http://127.0.0.1:1"
