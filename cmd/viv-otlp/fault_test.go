package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

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
