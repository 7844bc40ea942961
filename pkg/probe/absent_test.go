package probe

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"vivarium/pkg/event"
	"vivarium/pkg/event/eventtest"

	"golang.org/x/sys/unix"
)

// absentText is what of the text of testdata's absent.c is in memory.
const absentText = "viv://start/"

// absentEvents are the events of the calls of absent.c, and the opens beside them.
func absentEvents() map[event.ID]bool {
	return events(event.PathOpen, event.EnvCaccess, event.Dlopen, event.SSLWrite, event.SpanStart)
}

// needUserfaultfd skips a test where no page can be made to wait.
func needUserfaultfd(t *testing.T) {
	t.Helper()
	needRoot(t)
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		t.Skipf("userfaultfd: %v", errno)
	}
	unix.Close(int(fd))
}

// opensAndOthers counts the opens of absent.c and shows all else of its process.
func opensAndOthers(s *seen, d string) (opens int, others []string) {
	for _, ev := range s.events {
		switch {
		case ev.Hidden:
		case ev.Kind == &event.Kinds[event.PathOpen] && strings.HasPrefix(string(ev.Get("path").Text), d):
			opens++
		case ev.Kind != &event.Kinds[event.PathOpen] && !strings.HasPrefix(string(ev.Get("key").Text), "LD_"): // of the C library
			others = append(others, eventtest.Show(ev))
		}
	}
	return opens, others
}

// TestAbsentMemory: a call whose text is in a page that never comes holds up
// nothing, and is reported without it.
func TestAbsentMemory(t *testing.T) {
	needUserfaultfd(t)
	const write = `ssl_write len=20 captured=0 summary="len=20 <no-capture>" conn=1 truncated`
	for what, want := range map[string][]string{
		"getenv":             {"env_caccess op=getenv truncated"},
		"setenv":             {"env_caccess op=setenv truncated"},
		"putenv":             {"env_caccess op=putenv truncated"},
		"dlopen":             {"dlopen truncated"},
		"dlmopen":            {"dlopen truncated", "dlopen truncated"},
		"SSL_write":          {write},
		"gnutls_record_send": {write},
		"usdt name":          {"span_start file=/srv/f.rb line=7 source=usdt truncated"},
		"usdt file":          {"span_start name=Class#m line=7 source=usdt truncated"},
		"usdt memory":        {"span_start name=Class#m file=/srv/f.rb line=0 source=usdt"},
		"marker":             nil,
	} {
		t.Run(what, func(t *testing.T) {
			d := tempDir(t)
			begin := time.Now()
			s := record(t, Options{Events: absentEvents(), Spans: spansFrom(t, "vivarium_usdt")}, program(t, "absent"), d, what, "500")
			opens, others := opensAndOthers(s, d)
			if opens != 50 {
				t.Errorf("%d opens beside it, want 50", opens)
			}
			for i, text := range others {
				// Linux before 6.16 takes a thread's memory away before it says that it ends.
				text = strings.Replace(text, " key="+absentText, "", 1)
				text = strings.Replace(text, " path="+absentText, "", 1)
				text = strings.Replace(text, "captured=12", "captured=0", 1)
				others[i] = strings.Replace(text, "binary len=20 (captured 12/20B)", "len=20 <no-capture>", 1)
			}
			compare(t, others, want)
			noSecret(t, s)
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("the recording took %v", took)
			}
		})
	}
}

// TestAbsentMemoryEnds: while a call waits for its page, two recordings of the
// process end at once, one by its time and one by a signal, and say what did not
// come.
func TestAbsentMemoryEnds(t *testing.T) {
	needUserfaultfd(t)
	for _, what := range []string{"getenv", "dlopen", "SSL_write", "usdt name"} {
		t.Run(what, func(t *testing.T) {
			d := tempDir(t)
			r := start(t, program(t, "absent"), d, what, "60000", "wait")
			opt := Options{Events: absentEvents(), Spans: spansFrom(t, "vivarium_usdt"), PIDs: []int{r.pid}}
			first := newProbe(t, opt)
			opt.Duration = 500 * time.Millisecond
			second := newProbe(t, opt)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			outs := [2]*os.File{tempFile(t), tempFile(t)}
			var results [2]Result
			var errs [2]error
			begin := time.Now()
			r.stdin.Close()
			time.AfterFunc(500*time.Millisecond, stop)
			var wg sync.WaitGroup
			wg.Go(func() { results[0], errs[0] = first.Record(ctx, outs[0]) })
			wg.Go(func() { results[1], errs[1] = second.Record(t.Context(), outs[1]) })
			wg.Wait()
			took := time.Since(begin)
			if took > 8*time.Second {
				t.Errorf("they took %v to end", took)
			}
			for i, reason := range []string{"signal", "duration"} {
				if errs[i] != nil {
					t.Fatal(errs[i])
				}
				raw, err := os.ReadFile(outs[i].Name())
				if err != nil {
					t.Fatal(err)
				}
				s := readBack(t, raw)
				if s.end.Reason != reason {
					t.Errorf("recording %d ended with %q, want %q", i, s.end.Reason, reason)
				}
				if opens, _ := opensAndOthers(s, d); opens < 10 {
					t.Errorf("recording %d has %d opens beside the call", i, opens)
				}
				var lost []string
				for _, l := range s.lost {
					lost = append(lost, l.Cause)
				}
				want := []string{"the text of a library call was not in memory, and its thread did nothing more"}
				if what == "usdt name" { // its thread goes on
					want = nil
				}
				compare(t, lost, want)
				if n := results[i].Withheld; n != uint64(len(want)) {
					t.Errorf("recording %d: %d withheld, want %d", i, n, len(want))
				}
			}
		})
	}
}

// TestLateText: what is not in memory at a call, but is when the library has read
// it, is in its event, at its place: a page of a file that nobody has touched yet.
func TestLateText(t *testing.T) {
	s := record(t, Options{Events: events(event.EnvCaccess, event.PathOpen)}, program(t, "untouched"), tempDir(t))
	compare(t, own(s), []string{
		"env_caccess op=getenv key=VIV_0", "env_caccess op=getenv key=VIV_1", "env_caccess op=getenv key=VIV_2",
		"env_caccess op=putenv key=VIV_PUT", "env_caccess op=getenv key=VIV_LAST",
	})
	noSecret(t, s)
}
