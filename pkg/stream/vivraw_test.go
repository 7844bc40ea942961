package stream

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func rawRoundTrip(t *testing.T, raw []byte) []byte {
	r := NewReader(bytes.NewReader(raw))
	var mid bytes.Buffer
	w := NewWriter(&mid)
	for {
		rec, err := r.Next()
		if err != nil {
			if err != io.EOF {
				t.Log(err)
			}
			break
		}
		w.Raw(rec.Raw)
	}
	w.Flush()
	var out bytes.Buffer
	rw := NewRawWriter(&out)
	r = NewReader(&mid)
	for {
		rec, err := r.Next()
		if err != nil {
			if err != io.EOF {
				t.Log(err)
			}
			break
		}
		if err := rw.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := rw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestX(t *testing.T) {
	files, _ := filepath.Glob("/work/shared/conformance/*.vivraw")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if got := rawRoundTrip(t, b); !bytes.Equal(got, b) {
			t.Errorf("%s differs: %d for %d", f, len(got), len(b))
		}
	}
}
