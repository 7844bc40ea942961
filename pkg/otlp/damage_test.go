package otlp

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// spoolOf makes a spool with these batches, and returns its directory and the
// names of the files.
func spoolOf(t *testing.T, batches ...Batch) (dir string, files []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "spool")
	d := startDelivery(t, nobody, func(o *DeliveryOptions, _ *bounds) { o.Spool, o.Deadline = dir, 10*time.Millisecond })
	for _, b := range batches {
		d.Put(b)
	}
	d.Close()
	return dir, names(t, dir)
}

// names are the files of a directory.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// A file with a batch's name that is no batch is counted, kept, and not sent;
// what is beside it is sent.
func TestSpoolDamaged(t *testing.T) {
	good := testBatch(t, "x", "y").Body
	random := make([]byte, 100)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	write := func(b []byte) func(string) error {
		return func(name string) error { return os.WriteFile(name, b, 0o600) }
	}
	for name, test := range map[string]struct {
		make func(name string) error
		why  string
	}{
		"empty":         {write(nil), "it holds 0"},
		"random":        {write(random), "it "},
		"zeros":         {write(make([]byte, 4096)), "it is not a valid OTLP request"},
		"text":          {write([]byte("root:*:19000:0:99999:7:::\n")), "it is not a valid OTLP request"},
		"cut":           {write(good[:len(good)-1]), "it is not a valid OTLP request"},
		"half":          {write(good[:len(good)/2]), "it holds 1"},
		"longer":        {write(append(slices.Clone(good), 0)), "it is not a valid OTLP request"},
		"twice":         {write(append(slices.Clone(good), good...)), "it holds 4"},
		"one too few":   {write(testBatch(t, "x").Body), "it holds 1"},
		"the other's":   {write(logBatch(t, 2).Body), "it is not a valid OTLP request"},
		"1 TB of zeros": {func(n string) error { write(nil)(n); return os.Truncate(n, 1<<40) }, "it has 1099511627776 bytes"},
		"64 MiB and 1":  {func(n string) error { write(nil)(n); return os.Truncate(n, maxFile+1) }, "it has 67108865 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, files := spoolOf(t, testBatch(t, "a"), testBatch(t, "b"))
			const bad = "0000000000000001-2.traces"
			same(t, "files", []string{"0000000000000000-1.traces", "0000000000000001-1.traces"}, files)
			os.Rename(dir+"/"+files[1], dir+"/0000000000000002-1.traces")
			if err := test.make(dir + "/" + bad); err != nil {
				t.Skip(err) // a file system without large files
			}
			before, err := os.Stat(dir + "/" + bad)
			if err != nil {
				t.Fatal(err)
			}
			v := startReceiver(t, nil)
			d := startDelivery(t, v.URL, spoolIn(dir))
			d.Put(testBatch(t, "c"))
			counts := d.Close()
			same(t, "counts", [2]Counts{{Delivered: 3, Expired: 2}}, counts)
			same(t, "taken", "a b c", v.took())
			same(t, "files left", []string{bad + ".damaged"}, names(t, dir))
			if after, err := os.Stat(dir + "/" + bad + ".damaged"); err != nil || !os.SameFile(before, after) {
				t.Errorf("it was not kept: %v", err)
			}
			said := d.warnings()
			if !strings.HasPrefix(said, "spool file "+bad+" does not hold 2 spans: "+test.why) || !strings.HasSuffix(said, "; it is not sent; it was renamed to "+bad+".damaged") {
				t.Errorf("said %q", said)
			}
			if err := d.Err(counts); err == nil || !strings.Contains(err.Error(), "2 too old or damaged in the spool") {
				t.Errorf("error %v", err)
			}
			// The next run has nothing to do, and says nothing.
			d = startDelivery(t, v.URL, spoolIn(dir))
			same(t, "counts of the next", [2]Counts{}, d.Close())
			same(t, "said by the next", "", d.warnings())
		})
	}
}

// What is no regular file is left alone, and said.
func TestSpoolForeign(t *testing.T) {
	for name, make := range map[string]func(name string) error{
		"a FIFO":               func(n string) error { return syscall.Mkfifo(n, 0o600) },
		"a link to a file":     func(n string) error { return os.Symlink("/etc/passwd", n) },
		"a link to a batch":    func(n string) error { return os.Symlink("0000000000000000-1.traces", n) },
		"a link to nothing":    func(n string) error { return os.Symlink("nothing", n) },
		"a directory":          func(n string) error { return os.Mkdir(n, 0o700) },
		"a socket":             func(n string) error { return socket(n) },
		"a device":             func(n string) error { return syscall.Mknod(n, syscall.S_IFCHR|0o600, 1<<8|5) }, // /dev/zero
		"an unfinished link":   func(n string) error { return os.Symlink("/etc/passwd", n+".tmp") },
		"an unfinished device": func(n string) error { return syscall.Mknod(n+".tmp", syscall.S_IFCHR|0o600, 1<<8|5) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := spoolOf(t, testBatch(t, "a"))
			const bad = "0000000000000001-2.traces"
			if err := make(dir + "/" + bad); err != nil {
				t.Skip(err)
			}
			v := startReceiver(t, nil)
			d := startDelivery(t, v.URL, spoolIn(dir))
			same(t, "counts", [2]Counts{{Delivered: 1}}, d.Close())
			same(t, "taken", "a", v.took())
			left := names(t, dir)
			if len(left) != 1 || !strings.HasPrefix(left[0], bad) {
				t.Errorf("left are %v", left)
			}
			if s := d.warnings(); !strings.Contains(s, bad) || !strings.Contains(s, "is not a regular file") {
				t.Errorf("said %q", s)
			}
		})
	}
}

func socket(name string) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Bind(fd, &syscall.SockaddrUnix{Name: name})
}

// A file that is exchanged, cut or made longer after it was listed.
func TestSpoolExchanged(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, name string){
		"a FIFO":       func(t *testing.T, n string) { os.Remove(n); syscall.Mkfifo(n, 0o600) },
		"a link":       func(t *testing.T, n string) { os.Remove(n); os.Symlink("/dev/zero", n) },
		"it is longer": func(t *testing.T, n string) { os.WriteFile(n, testBatch(t, "a", "b").Body, 0o600) },
		"it is 1 TB":   func(t *testing.T, n string) { os.Truncate(n, 1<<40) },
		"it is empty":  func(t *testing.T, n string) { os.Truncate(n, 0) },
		"it is gone":   func(t *testing.T, n string) { os.Remove(n) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, files := spoolOf(t, testBatch(t, "a"))
			q, err := newQueue(dir, defaultBounds, func(string, ...any) {})
			if err != nil {
				t.Fatal(err)
			}
			defer q.spool.close()
			e, ok := q.take(t.Context(), Traces)
			if !ok {
				t.Fatal("nothing is there")
			}
			change(t, dir+"/"+files[0])
			if b, ok := q.read(e); ok {
				t.Errorf("it is taken for a batch: %d bytes", len(b.Body))
			}
			q.done(e)
			same(t, "bytes in the spool", int64(0), q.disk)
		})
	}
}

// Names that viv-otlp never gives are no batches'.
func TestSpoolNames(t *testing.T) {
	for _, name := range []string{"0000000000000001--5.traces", "0000000000000001-0.traces", "0000000000000001-8193.traces", "0000000000000001-99999999999.traces",
		"7fffffffffffffff-1.traces", "ffffffffffffffff-1.traces", "1-1.traces", "000000000000000A-1.traces", "0000000000000001-01.traces",
		"0000000000000001-1.metrics", "0000000000000001-1", "-1.traces", ".traces", "0000000000000001-1.traces.damaged"} {
		if e, ok := parseEntry(name); ok {
			t.Errorf("%s is taken for %+v", name, e)
		}
	}
	for _, name := range []string{"0000000000000001-1.traces", "00000000000000ff-8192.logs", "3fffffffffffffff-1.traces"} {
		if e, ok := parseEntry(name); !ok || e.file() != name {
			t.Errorf("%s is taken for %+v", name, e)
		}
	}
}

// Whatever a converter makes is a batch, and what differs from it in the
// structure is none.
func TestCheck(t *testing.T) {
	s := newScript()
	m := s.method(3, "A#b")
	s.open(m)
	m.Raised, m.LinkTraceID, m.LinkSpanID = true, trace, 2
	s.close(m, 5)
	for _, logs := range []bool{false, true} {
		var batches []Batch
		convertAll(t, s.finish(9), Options{EventsAsLogs: logs}, func(b Batch) error { batches = append(batches, b); return nil })
		for _, b := range batches {
			if err := b.check(); err != nil {
				t.Errorf("%v: %v", b.Signal, err)
			}
			for n := range b.Body {
				if cut := (Batch{b.Signal, b.Items, b.Body[:n]}); cut.check() == nil {
					t.Fatalf("the first %d of %d bytes are taken for a batch", n, len(b.Body))
				}
			}
		}
	}
	deep := []byte{}
	for range 100 {
		deep = appendBytes(nil, 5, appendBytes(nil, 1, deep)) // AnyValue in ArrayValue in AnyValue
	}
	body := appendBytes(nil, 1, appendBytes(nil, 1, appendBytes(nil, 1, appendBytes(nil, 2, deep))))
	if err := (Batch{Traces, 0, body}).check(); err == nil {
		t.Error("values that are 100 deep are taken")
	}
	big := Batch{Traces, 0, bytes.Repeat([]byte{10, 0}, 1<<20)}
	if n := testing.AllocsPerRun(1, func() { big.check() }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// What is in a spool file is a batch that a receiver can read, or is not sent.
func FuzzCheck(f *testing.F) {
	s := newScript()
	m := s.method(3, "A#b")
	s.close(m, 5)
	convertAll(f, s.finish(9), Options{}, func(b Batch) error { f.Add(b.Body, b.Items); return nil })
	f.Fuzz(func(t *testing.T, body []byte, items int) {
		b := Batch{Traces, items, body}
		if b.check() != nil {
			return
		}
		got, err := namesOf(body, false)
		if err == nil && len(got) != items {
			t.Errorf("it has %d spans, not %d", len(got), items)
		}
	})
}
