package otlp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	short := func(o *DeliveryOptions, b *bounds) {
		o.Spool, o.Deadline = dir, 100*time.Millisecond
	}
	d := startDelivery(t, nobody, short)
	for i := range 3 {
		d.Put(testBatch(t, fmt.Sprint("a", i)))
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
	d = startDelivery(t, v.URL, spoolIn(dir))
	d.Put(testBatch(t, "b"))
	same(t, "counts", [2]Counts{{Delivered: 4}}, d.Close())
	same(t, "taken", "a0 a1 a2 b", v.took())
	files, _ = os.ReadDir(dir)
	same(t, "files left", 2, len(files))

	// Log records that were left are sent, even when this run has none.
	d = startDelivery(t, nobody, short)
	d.Put(logBatch(t, 5))
	d.Put(testBatch(t, "c"))
	d.Put(testBatch(t, "damaged"))
	same(t, "counts", [2]Counts{{Spooled: 2}, {Spooled: 5}}, d.Close())
	files, _ = os.ReadDir(dir)
	os.Truncate(filepath.Join(dir, files[2].Name()), 0)
	d = startDelivery(t, v.URL, spoolIn(dir))
	same(t, "counts", [2]Counts{{Delivered: 1, Expired: 1}, {Delivered: 5}}, d.Close())
}

func TestSpoolBounds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	b := testBatch(t, "a")
	d := startDelivery(t, nobody, func(o *DeliveryOptions, bs *bounds) {
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
	d = startDelivery(t, v.URL, spoolIn(dir))
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
	d := startDelivery(t, nobody, func(o *DeliveryOptions, b *bounds) { o.Spool, o.Deadline = dir+"/spool", 100*time.Millisecond })
	for i := range 40 {
		put = append(put, fmt.Sprint(i, names))
		d.Put(testBatch(t, put[i]))
	}
	counts := d.Close()[Traces]
	same(t, "kept", uint64(40), counts.Spooled+counts.Undelivered)
	if counts.Spooled == 0 || counts.Undelivered == 0 || !strings.Contains(d.warnings(), "no space left on device") {
		t.Errorf("%+v, %s", counts, d.warnings())
	}
	v := startReceiver(t, nil)
	d = startDelivery(t, v.URL, spoolIn(dir+"/spool"))
	for i := range 40 {
		d.Put(testBatch(t, fmt.Sprint("second", i, names)))
	}
	same(t, "counts", [2]Counts{{Delivered: counts.Spooled + 40}}, d.Close())
	for i := uint64(0); i < counts.Spooled; i++ {
		same(t, "order", put[i], v.names[i])
	}
	for i := range 40 {
		same(t, "order", fmt.Sprint("second", i, names), v.names[int(counts.Spooled)+i])
	}
}
