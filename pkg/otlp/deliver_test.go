package otlp

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
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
	names, err := namesOf(b, r.Header.Get("Content-Type") == "application/json")
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

// batch is one of spans with these names.
func batch(t *testing.T, names ...string) Batch {
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

// delivery is one under test, and what it said.
type delivery struct {
	*Delivery
	mu   sync.Mutex
	said []string
}

func deliver(t *testing.T, url string, change func(*DeliveryOptions, *bounds)) *delivery {
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

func (d *delivery) saidAll() string {
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
		"400":               {reply(400), "d", Counts{Delivered: 1, Rejected: 3}, "it answered 400 Bad Request: what it refuses is lost (3 spans lost so far)", 0},
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
		}, "a b c d", Counts{Delivered: 2, Rejected: 2}, "it took a part only: too old (2 spans lost so far)", 0},
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
			d := deliver(t, v.URL, nil)
			begun := time.Now()
			d.Put(batch(t, "a", "b", "c"))
			d.Put(batch(t, "d"))
			counts := d.Close()
			same(t, "taken", test.took, v.took())
			same(t, "counts", [2]Counts{test.want}, counts)
			if s := d.saidAll(); !strings.Contains(s, test.said) || test.said == "" && s != "" {
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
	d := deliver(t, v.URL, func(o *DeliveryOptions, b *bounds) {
		old := o.Endpoint
		o.Endpoint = func(s Signal) (*Endpoint, error) {
			e, err := old(s)
			e.Timeout = 100 * time.Millisecond
			return e, err
		}
	})
	d.Put(batch(t, "a"))
	time.AfterFunc(500*time.Millisecond, func() { close(release) })
	same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
	if !strings.HasPrefix(v.took(), "a") { // it may have read more than it answered
		t.Error("nothing was taken")
	}
	if s := d.saidAll(); !strings.Contains(s, "no answer within 100ms: trying again") {
		t.Errorf("said %q", s)
	}
}

// nobody is where nobody listens, and no port that the kernel would give to
// another test.
const nobody = "http://127.0.0.1:1"

func TestDeadline(t *testing.T) {
	begun := time.Now()
	d := deliver(t, nobody, func(o *DeliveryOptions, b *bounds) { o.Deadline = 300 * time.Millisecond })
	d.Put(batch(t, "a", "b"))
	counts := d.Close()
	if took := time.Since(begun); took < 300*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	same(t, "counts", [2]Counts{{Undelivered: 2}}, counts)
	if err := d.Err(counts); err == nil || !strings.Contains(err.Error(), "2 spans were not delivered to http://127.0.0.1:") {
		t.Errorf("error %v", err)
	}
}

// With no receiver the queue fills to its bound and no further, and Put waits
// for the deadline once, not with every batch.
func TestBoundInMemory(t *testing.T) {
	t.Parallel()
	b := batch(t, "a", "b")
	d := deliver(t, nobody, func(o *DeliveryOptions, bs *bounds) {
		o.Deadline = time.Second
		bs.memory = int64(10*len(b.Body) + 1)
	})
	patience := func(p time.Duration) {
		d.queue.mu.Lock()
		defer d.queue.mu.Unlock()
		d.queue.patience, d.queue.progress = p, time.Now()
	}
	patience(time.Hour)
	for range 10 {
		d.Put(b) // before the bound is reached none waits, or it would take an hour
	}
	begun := time.Now()
	patience(time.Second)
	for range 90 {
		d.Put(b)
	}
	if took := time.Since(begun); took < time.Second || took > time.Minute {
		t.Errorf("Put took %v", took)
	}
	same(t, "counts", [2]Counts{{Dropped: 180, Undelivered: 20}}, d.Close())
}

// A receiver that is slower than the stream makes it wait, and loses nothing.
func TestSlow(t *testing.T) {
	b := batch(t, "a")
	v := startReceiver(t, func(int, http.ResponseWriter, *http.Request, []string) bool {
		time.Sleep(10 * time.Millisecond)
		return false
	})
	d := deliver(t, v.URL, func(o *DeliveryOptions, bs *bounds) { bs.memory = int64(3 * len(b.Body)) })
	for range 50 {
		d.Put(b)
	}
	same(t, "counts", [2]Counts{{Delivered: 50}}, d.Close())
}

// Several requests at a time: when they fail, one of them tries again and the
// others wait for it.
func TestInFlight(t *testing.T) {
	var mu sync.Mutex
	tries := map[string]int{}
	most := 0
	all := make(chan struct{}) // closed when the four are there
	refuse := func(name string) bool {
		mu.Lock()
		defer mu.Unlock()
		if most == 4 { // one has tried again three times
			return false
		}
		tries[name]++
		most = max(most, tries[name])
		if len(tries) == 4 && tries[name] == 1 {
			close(all)
		}
		return true
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		names, err := namesOf(b, false)
		if err != nil || len(names) != 1 {
			t.Errorf("%v, %v", names, err)
		} else if refuse(names[0]) {
			<-all // so that they fail together
			w.WriteHeader(503)
		}
	}))
	defer s.Close()
	d := deliver(t, s.URL, func(o *DeliveryOptions, b *bounds) { b.inFlight = 4 })
	for i := range 50 {
		d.Put(batch(t, fmt.Sprint(i)))
	}
	same(t, "counts", [2]Counts{{Delivered: 50}}, d.Close())
	again := 0
	for _, n := range tries {
		if n > 1 {
			again++
		}
	}
	if len(tries) != 4 || again != 1 {
		t.Errorf("tries %v", tries)
	}
	if s := d.saidAll(); strings.Count(s, "trying again") != 1 || strings.Count(s, "answers again") != 1 {
		t.Errorf("said %s", s)
	}
}

func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	short := func(o *DeliveryOptions, b *bounds) {
		o.Spool, o.Deadline = dir, 100*time.Millisecond
	}
	d := deliver(t, nobody, short)
	for i := range 3 {
		d.Put(batch(t, fmt.Sprint("a", i)))
	}
	if other, err := newDelivery(d.opt, defaultBounds); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("a second delivery with the same spool: %v %v", other, err)
	}
	same(t, "counts", [2]Counts{{Spooled: 3}}, d.Close())
	files, _ := os.ReadDir(dir)
	same(t, "files", 3, len(files))
	for _, f := range files {
		st, _ := f.Info()
		same(t, "mode", os.FileMode(0o600), st.Mode())
	}
	if st, _ := os.Stat(dir); st.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", st.Mode())
	}

	// What a killed process was writing, and what is not ours.
	os.WriteFile(dir+"/00000000000000ff-1.traces.tmp", []byte("half"), 0o600)
	os.WriteFile(dir+"/README", []byte("mine"), 0o600)
	os.Symlink("/etc/passwd", dir+"/00000000000000fe-1.traces")

	v := startReceiver(t, nil)
	d = deliver(t, v.URL, spoolIn(dir))
	d.Put(batch(t, "b"))
	same(t, "counts", [2]Counts{{Delivered: 4}}, d.Close())
	same(t, "taken", "a0 a1 a2 b", v.took())
	files, _ = os.ReadDir(dir)
	same(t, "files left", 2, len(files))

	// Log records that were left are sent, even when this run has none.
	d = deliver(t, nobody, short)
	d.Put(Batch{Logs, 5, batch(t, "l").Body})
	d.Put(batch(t, "c"))
	d.Put(batch(t, "damaged"))
	same(t, "counts", [2]Counts{{Spooled: 2}, {Spooled: 5}}, d.Close())
	files, _ = os.ReadDir(dir)
	os.Truncate(filepath.Join(dir, files[2].Name()), 0)
	d = deliver(t, v.URL, spoolIn(dir))
	same(t, "counts", [2]Counts{{Delivered: 1, Expired: 1}, {Delivered: 5}}, d.Close())
}

func TestSpoolBounds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	b := batch(t, "a")
	d := deliver(t, nobody, func(o *DeliveryOptions, bs *bounds) {
		o.Spool, o.Deadline = dir, 100*time.Millisecond
		bs.disk = int64(5 * len(b.Body))
	})
	for range 8 {
		d.Put(b)
	}
	same(t, "counts", [2]Counts{{Spooled: 5, Dropped: 3}}, d.Close())
	files, _ := os.ReadDir(dir)
	for _, f := range files[:2] {
		old := time.Now().Add(-49 * time.Hour)
		os.Chtimes(filepath.Join(dir, f.Name()), old, old)
	}
	v := startReceiver(t, nil)
	d = deliver(t, v.URL, spoolIn(dir))
	same(t, "counts", [2]Counts{{Delivered: 3, Expired: 2}}, d.Close())
	same(t, "taken", "a a a", v.took())
}

func TestSpoolRefused(t *testing.T) {
	open := t.TempDir()
	os.Chmod(open, 0o755)
	link := filepath.Join(t.TempDir(), "link")
	os.Mkdir(link+".dir", 0o700)
	os.Symlink(link+".dir", link)
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	for name, dir := range map[string]string{"open to others": open, "a link": link, "a file": file, "nowhere": file + "/x"} {
		if _, err := newQueue(dir, defaultBounds, nil); err == nil {
			t.Errorf("a spool that is %s is taken", name)
		}
	}
}

// A disk that is full: batches are kept in memory, and come out in order.
func TestSpoolFull(t *testing.T) {
	dir := smallDisk(t, 64<<10)
	names := strings.Repeat("x", 4000)
	var put []string
	d := deliver(t, nobody, func(o *DeliveryOptions, b *bounds) { o.Spool, o.Deadline = dir+"/spool", 100*time.Millisecond })
	for i := range 40 {
		put = append(put, fmt.Sprint(i, names))
		d.Put(batch(t, put[i]))
	}
	counts := d.Close()[Traces]
	same(t, "kept", uint64(40), counts.Spooled+counts.Undelivered)
	if counts.Spooled == 0 || counts.Undelivered == 0 || !strings.Contains(d.saidAll(), "no space left on device") {
		t.Errorf("%+v, %s", counts, d.saidAll())
	}
	v := startReceiver(t, nil)
	d = deliver(t, v.URL, spoolIn(dir+"/spool"))
	for i := range 40 {
		d.Put(batch(t, fmt.Sprint("second", i, names)))
	}
	same(t, "counts", [2]Counts{{Delivered: counts.Spooled + 40}}, d.Close())
	for i := uint64(0); i < counts.Spooled; i++ {
		same(t, "order", put[i], v.names[i])
	}
	for i := range 40 {
		same(t, "order", fmt.Sprint("second", i, names), v.names[int(counts.Spooled)+i])
	}
}

// grpcReceiver answers by the name of the first span.
type grpcReceiver struct {
	ptraceotlp.UnimplementedGRPCServer
	mu     sync.Mutex
	names  []string
	header metadata.MD
	answer func(n int) error
	tries  int
}

func (g *grpcReceiver) Export(ctx context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.header, _ = metadata.FromIncomingContext(ctx)
	g.tries++
	res := ptraceotlp.NewExportResponse()
	if err := g.answer(g.tries - 1); err != nil {
		return res, err
	}
	b, _ := r.MarshalProto()
	names, _ := namesOf(b, false)
	g.names = append(g.names, names...)
	return res, nil
}

func TestGRPCAnswers(t *testing.T) {
	retryInfo, err := status.New(codes.ResourceExhausted, "full").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		first error
		want  Counts
		least time.Duration
	}{
		"good":                {nil, Counts{Delivered: 2}, 0},
		"unavailable":         {status.Error(codes.Unavailable, "x"), Counts{Delivered: 2}, firstWait / 2},
		"aborted":             {status.Error(codes.Aborted, "x"), Counts{Delivered: 2}, firstWait / 2},
		"full":                {status.Error(codes.ResourceExhausted, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
		"full for a while":    {retryInfo.Err(), Counts{Delivered: 2}, time.Second},
		"invalid":             {status.Error(codes.InvalidArgument, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
		"not authenticated":   {status.Error(codes.Unauthenticated, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
		"nothing implemented": {status.Error(codes.Unimplemented, "x"), Counts{Delivered: 1, Rejected: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := &grpcReceiver{answer: func(n int) error {
				if n == 0 {
					return test.first
				}
				return nil
			}}
			s := grpc.NewServer()
			ptraceotlp.RegisterGRPCServer(s, g)
			go s.Serve(l)
			defer s.Stop()
			d := deliver(t, "", func(o *DeliveryOptions, _ *bounds) {
				o.Agent = "viv-test"
				o.Endpoint = func(s Signal) (*Endpoint, error) {
					env := map[string]string{
						"OTEL_EXPORTER_OTLP_ENDPOINT":    l.Addr().String(),
						"OTEL_EXPORTER_OTLP_INSECURE":    "TRUE",
						"OTEL_EXPORTER_OTLP_HEADERS":     "X-Key=a%20b",
						"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
					}
					return NewEndpoint(s, "", GRPC, func(k string) string { return env[k] })
				}
			})
			begun := time.Now()
			d.Put(batch(t, "a"))
			d.Put(batch(t, "b"))
			same(t, "counts", [2]Counts{test.want}, d.Close())
			if took := time.Since(begun); took < test.least {
				t.Errorf("it took %v, want %v at least", took, test.least)
			}
			same(t, "header", []string{"a b"}, g.header.Get("x-key"))
			if a := g.header.Get("user-agent"); len(a) != 1 || !strings.HasPrefix(a[0], "viv-test ") {
				t.Errorf("agent %q", a)
			}
		})
	}
}

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
