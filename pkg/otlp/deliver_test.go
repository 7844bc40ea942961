package otlp

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestDeadline(t *testing.T) {
	begun := time.Now()
	d := startDelivery(t, nobody, func(o *DeliveryOptions, b *bounds) { o.Deadline = 300 * time.Millisecond })
	d.Put(testBatch(t, "a", "b"))
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
	b := testBatch(t, "a", "b")
	d := startDelivery(t, nobody, func(o *DeliveryOptions, bs *bounds) {
		o.Deadline = time.Second
		bs.memory = int64(10*len(b.Body) + 1)
	})
	patience := func(p time.Duration) {
		d.queue.mu.Lock()
		defer d.queue.mu.Unlock()
		d.queue.fullTimeout, d.queue.progress = p, time.Now()
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
	b := testBatch(t, "a")
	v := startReceiver(t, func(int, http.ResponseWriter, *http.Request, []string) bool {
		time.Sleep(10 * time.Millisecond)
		return false
	})
	d := startDelivery(t, v.URL, func(o *DeliveryOptions, bs *bounds) { bs.memory = int64(3 * len(b.Body)) })
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
	d := startDelivery(t, s.URL, func(o *DeliveryOptions, b *bounds) { b.inFlight = 4 })
	for i := range 50 {
		d.Put(testBatch(t, fmt.Sprint(i)))
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
	if s := d.warnings(); strings.Count(s, "trying again") != 1 || strings.Count(s, "answers again") != 1 {
		t.Errorf("said %s", s)
	}
}
