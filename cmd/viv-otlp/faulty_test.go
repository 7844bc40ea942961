package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// What happens to deliveries when receivers, networks and disks fail. Each test
// has 100,000 spans and accounts for every one of them.
const faultSpans = 100_000

var faultStream = sync.OnceValue(func() []byte { return testStream(faultSpans-2, 0) })

// faulty is a receiver that fails as a test wants it to.
type faulty struct {
	addr   string
	answer func(n int, w http.ResponseWriter, r *http.Request, spans []string) bool // true: they are not taken
	size   *int64                                                                   // sums up the bodies; they are not read

	mu     sync.Mutex
	server *http.Server
	took   map[string]int // how often a span was taken, by its id
	tries  int
}

func newFaulty(t *testing.T) *faulty {
	f := &faulty{addr: freePort(t), took: map[string]int{}}
	t.Cleanup(f.kill)
	return f
}

func (f *faulty) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		t.Error(err)
		return
	}
	f.mu.Lock()
	f.server = &http.Server{Handler: f}
	f.mu.Unlock()
	go f.server.Serve(l)
}

// kill closes the socket and all connections at once.
func (f *faulty) kill() {
	f.mu.Lock()
	s := f.server
	f.server = nil
	f.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if f.size != nil {
		atomic.AddInt64(f.size, int64(len(body)))
		return
	}
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var ids []string
	for _, rs := range req.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				ids = append(ids, s.SpanID().String())
			}
		}
	}
	f.mu.Lock()
	n := f.tries
	f.tries++
	f.mu.Unlock()
	if f.answer != nil && f.answer(n, w, r, ids) {
		return
	}
	f.take(ids)
}

func (f *faulty) take(ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.took[id]++
	}
}

// counts are the number of spans that were taken, and how many times one was
// taken again.
func (f *faulty) counts() (spans, repeats int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.took {
		repeats += n - 1
	}
	return len(f.took), repeats
}

// taken is how often a span was taken.
func (f *faulty) taken(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.took[id]
}

// viv is a running viv-otlp.
type viv struct {
	*exec.Cmd
	in  io.WriteCloser
	msg said
}

// said is what a running program has said so far.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// wait waits until it says something with that text in it.
func (s *said) wait(t *testing.T, text string) {
	t.Helper()
	until(t, func() bool { return strings.Contains(s.String(), text) }, func() string { return fmt.Sprintf("said %q and not %q", s, text) })
}

// until waits for what comes on any machine, and fails when it did not.
func until(t *testing.T, ok func() bool, why func() string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(why())
		}
	}
}

// unhurried makes viv-otlp wait longer for an answer than any machine needs to
// run a test: what is repeated or lost is not so because this one is busy.
const unhurried = "OTEL_EXPORTER_OTLP_TIMEOUT=600000"

func startViv(t *testing.T, env []string, args ...string) *viv {
	t.Helper()
	v := &viv{Cmd: exec.Command("viv-otlp", append([]string{"--deadline=10m"}, args...)...)}
	v.Env = append(append(os.Environ(), quickExit, unhurried), env...)
	v.Stderr = &v.msg
	killWithParent(v.Cmd)
	var err error
	if v.in, err = v.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Process.Kill(); v.Wait() })
	return v
}

// end closes stdin and waits for the exit status.
func (v *viv) end() int {
	v.in.Close()
	v.Wait()
	return v.ProcessState.ExitCode()
}

// all checks that every span was delivered, and none more than may be.
func (f *faulty) all(t *testing.T, status int, msg *said, mayRepeat int) {
	t.Helper()
	spans, repeats := f.counts()
	if spans != faultSpans || repeats > mayRepeat || status != 0 {
		t.Errorf("%d of %d spans delivered, %d repeated, status %d, %s", spans, faultSpans, repeats, status, msg)
	}
}

const batchSpans = 2000 // more than a batch of the tests' spans has

// inFlight is how many requests there are at a time.
const inFlight = 4
