package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"golang.org/x/sys/unix"
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
	v.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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

// A receiver that takes connections and says nothing for a minute. The pipe does
// not stand still before the bound is reached. It is the first of these tests
// because it takes longest.
func TestReceiverHangs(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	read := make(chan struct{}) // closed when the first half was read
	minute := time.After(time.Minute)
	patience := time.AfterFunc(5*time.Minute, func() {
		t.Error("the pipe stood still before the bound was reached")
		close(read)
	})
	hung := make(chan struct{})
	go func() {
		<-minute
		<-read
		close(hung)
	}()
	f.answer = func(n int, w http.ResponseWriter, r *http.Request, ids []string) bool {
		select {
		case <-hung:
			return false
		case <-r.Context().Done():
			return true
		}
	}
	f.start(t)
	v := startViv(t, []string{"OTEL_EXPORTER_OTLP_TIMEOUT=10000"}, "http://"+f.addr)
	s := faultStream()
	v.in.Write(s[:len(s)/2])
	if patience.Stop() {
		close(read)
	}
	v.in.Write(s[len(s)/2:])
	// On a busy machine an answer may come too late when the minute is over, too.
	f.all(t, v.end(), &v.msg, faultSpans)
	if said := "no answer within 10s: trying again"; !strings.Contains(v.msg.String(), said) {
		t.Errorf("said %q", &v.msg)
	}
}

func TestReceiverComesLater(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	v := startViv(t, nil, "http://"+f.addr)
	v.in.Write(faultStream())
	v.msg.wait(t, "connection refused: trying again")
	f.start(t)
	f.all(t, v.end(), &v.msg, 0)
}

// A receiver that dies ten times, before or after it took what it was sent.
func TestReceiverDies(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	die := make(chan bool)
	f.answer = func(n int, w http.ResponseWriter, r *http.Request, ids []string) bool {
		select {
		case after := <-die:
			if after {
				f.take(ids)
			}
			f.kill()
			go func() {
				time.Sleep(100 * time.Millisecond)
				f.start(t)
			}()
			return true
		default:
			return false
		}
	}
	f.start(t)
	v := startViv(t, nil, "http://"+f.addr)
	s := faultStream()
	for i := range 10 {
		v.in.Write(s[i*len(s)/11 : (i+1)*len(s)/11])
		die <- i%2 == 0
	}
	v.in.Write(s[10*len(s)/11:])
	f.all(t, v.end(), &v.msg, 10*inFlight*batchSpans)
}

// inFlight is how many requests there are at a time.
const inFlight = 4

// A real Collector that comes later, and is ended and started again ten times,
// each time when it has written something.
func TestCollectorRestarts(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			c := &collector{grpc: freePort(t), http: freePort(t), dir: t.TempDir()}
			addr := map[string]string{"http/protobuf": c.http, "grpc": c.grpc}[protocol]
			v := startViv(t, nil, "--protocol", protocol, "http://"+addr)
			s := faultStream()
			file, wrote := c.dir+"/traces.jsonl", int64(0)
			for i := range 10 {
				v.in.Write(s[i*len(s)/11 : (i+1)*len(s)/11])
				c.start(t, collectorConfig)
				until(t, func() bool { return sizeOf(file) > wrote }, v.msg.String)
				c.stop()
				wrote = sizeOf(file)
			}
			v.in.Write(s[10*len(s)/11:])
			c.start(t, collectorConfig)
			status := v.end()
			c.stop()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ids := map[string]bool{}
			all := regexp.MustCompile(`"spanId":"([0-9a-f]{16})"`).FindAllSubmatch(b, -1)
			for _, id := range all {
				ids[string(id[1])] = true
			}
			if len(ids) != faultSpans || len(all)-len(ids) > 10*inFlight*batchSpans || status != 0 {
				t.Errorf("%d of %d spans written, %d repeated, status %d, %s", len(ids), faultSpans, len(all)-len(ids), status, &v.msg)
			}
		})
	}
}

func sizeOf(file string) int64 {
	st, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return st.Size()
}

func TestReceiverAnswers(t *testing.T) {
	t.Parallel()
	every := func(n, of int) bool { return n%of == of-1 }
	status := func(of, code int, header ...string) func(int, http.ResponseWriter, *http.Request, []string) bool {
		return func(n int, w http.ResponseWriter, r *http.Request, _ []string) bool {
			if !every(n, of) {
				return false
			}
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			return true
		}
	}
	partial := ptraceotlp.NewExportResponse()
	partial.PartialSuccess().SetRejectedSpans(7)
	partialBody, _ := partial.MarshalProto()
	for name, test := range map[string]struct {
		answer  func(int, http.ResponseWriter, *http.Request, []string) bool
		refuses bool // what it does not take is lost
		repeats int  // as many may be
		env     []string
	}{
		"429":      {status(20, 429, "Retry-After", "1"), false, 0, nil},
		"503":      {status(20, 503, "Retry-After", "1"), false, 0, nil},
		"400":      {status(10, 400), true, 0, nil},
		"redirect": {status(10, 308, "Location", "/v1/traces"), true, 0, nil},
		"413": {func(n int, w http.ResponseWriter, r *http.Request, _ []string) bool {
			if r.ContentLength > 300_000 {
				w.WriteHeader(413)
			}
			return r.ContentLength > 300_000
		}, false, 0, nil},
		"half": {func(n int, w http.ResponseWriter, r *http.Request, _ []string) bool {
			if every(n, 5) {
				w.Header().Set("Content-Length", "1000")
				w.Write([]byte{10, 100})
			}
			return false
		}, false, 0, nil},
		"nothing": {func(n int, w http.ResponseWriter, r *http.Request, _ []string) bool {
			if every(n, 20) {
				<-r.Context().Done()
			}
			return every(n, 20)
			// On a busy machine another answer may come too late as well.
		}, false, faultSpans, []string{"OTEL_EXPORTER_OTLP_TIMEOUT=5000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			lost := 0
			f.answer = func(n int, w http.ResponseWriter, r *http.Request, ids []string) bool {
				refused := test.answer(n, w, r, ids)
				if refused && test.refuses {
					f.mu.Lock()
					lost += len(ids)
					f.mu.Unlock()
				}
				return refused
			}
			f.start(t)
			v := startViv(t, test.env, "http://"+f.addr)
			v.in.Write(faultStream())
			status := v.end()
			if !test.refuses {
				f.all(t, status, &v.msg, test.repeats)
				return
			}
			spans, repeats := f.counts()
			said := fmt.Sprintf(": %d rejected by the receiver\n", lost)
			if spans+lost != faultSpans || repeats > 0 || status != 3 || lost == 0 || !strings.Contains(v.msg.String(), said) {
				t.Errorf("%d spans delivered, %d refused, status %d, %s", spans, lost, status, &v.msg)
			}
		})
	}
	t.Run("partial success", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		lost := 0
		f.answer = func(n int, w http.ResponseWriter, r *http.Request, ids []string) bool {
			if !every(n, 10) {
				return false
			}
			f.take(ids[7:])
			f.mu.Lock()
			lost += 7
			f.mu.Unlock()
			w.Write(partialBody)
			return true
		}
		f.start(t)
		v := startViv(t, nil, "http://"+f.addr)
		v.in.Write(faultStream())
		status := v.end()
		spans, repeats := f.counts()
		said := fmt.Sprintf(": %d rejected by the receiver\n", lost)
		if spans+lost != faultSpans || repeats > 0 || status != 3 || !strings.Contains(v.msg.String(), said) {
			t.Errorf("%d spans delivered, %d rejected, status %d, %s", spans, lost, status, &v.msg)
		}
	})
}

// A spool on a disk that is full.
func TestSpoolFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	disk := t.TempDir()
	if err := syscall.Mount("viv-test", disk, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, 0) })
	f := newFaulty(t)
	v := startViv(t, nil, "--spool", disk+"/spool", "http://"+f.addr)
	v.in.Write(faultStream())
	v.msg.wait(t, "no space left on device")
	f.start(t)
	f.all(t, v.end(), &v.msg, 0)
}

// Two processes on one spool: the second is refused, the first does not mind.
func TestSpoolTwice(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	dir := filepath.Join(t.TempDir(), "spool")
	v := startViv(t, nil, "--spool", dir, "http://"+f.addr)
	s := faultStream()
	v.in.Write(s[:len(s)/2])
	second := startViv(t, nil, "--spool", dir, "http://"+f.addr)
	if status := second.end(); status != 1 || !strings.Contains(second.msg.String(), "another process uses it") {
		t.Errorf("status %d, %s", status, &second.msg)
	}
	f.start(t)
	v.in.Write(s[len(s)/2:])
	f.all(t, v.end(), &v.msg, 0)
}

// viv-otlp is killed again and again at random moments, with one spool. Each
// time it loses at most the batch that was open, and all of them together
// repeat at most one batch for each kill.
func TestKilled(t *testing.T) {
	t.Parallel()
	const rounds = 20
	f := newFaulty(t)
	var busy atomic.Bool
	f.answer = func(n int, w http.ResponseWriter, r *http.Request, ids []string) bool {
		if n%7 == 3 || busy.Load() { // so that some batches wait
			w.WriteHeader(503)
			return true
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		return false
	}
	f.start(t)
	dir := filepath.Join(t.TempDir(), "spool")
	const each = faultSpans / rounds
	for round := range rounds {
		w := newTestWriter()
		w.frame(w.SpanOpen, 0)
		for i := range each {
			w.method(round*each+i, 0)
		}
		// In some rounds nothing is taken, and then every batch is closed.
		closed := round%5 == 0
		busy.Store(closed)
		left := spooled(t, dir)
		v := startViv(t, nil, "--spool", dir, "http://"+f.addr)
		v.in.Write(w.bytes())
		until(t, func() bool { // it has read all
			unread, err := unix.IoctlGetInt(int(v.in.(*os.File).Fd()), unix.TIOCINQ)
			return err == nil && unread == 0
		}, v.msg.String)
		if closed {
			until(t, func() bool { return spooled(t, dir) >= left+each }, v.msg.String)
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		v.Process.Kill()
		v.Wait()
	}
	busy.Store(false)
	v := startViv(t, nil, "--spool", dir, "http://"+f.addr)
	if status := v.end(); status != 0 {
		t.Errorf("status %d, %s", status, &v.msg)
	}
	for round := range rounds {
		got := 0
		for i := range each {
			if f.taken(fmt.Sprintf("%016x", 100+round*each+i)) > 0 {
				if got != i {
					t.Fatalf("round %d: span %d was delivered, span %d was not", round, i, got)
				}
				got++
			}
		}
		if lost := each - got; lost > batchSpans || round%5 == 0 && lost > 0 {
			t.Errorf("round %d: %d spans lost", round, lost)
		}
	}
	if _, repeats := f.counts(); repeats > rounds*batchSpans {
		t.Errorf("%d spans repeated", repeats)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d files left in the spool, %v", len(left), err)
	}
}

// spooled is how many spans are in a spool.
func spooled(t *testing.T, dir string) (spans int) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.traces")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(f)[17:], "%d.traces", &n); err != nil {
			t.Fatal(f, err)
		}
		spans += n
	}
	return spans
}
