package tree

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/stream"
)

// chain is a stream of n processes, each the child of the one before.
func chain(n uint32) *script {
	s := newScript(1)
	for pid := uint32(1); pid < n; pid++ {
		s.fork(pid, pid, pid+1, pid+1)
	}
	return s.open(n, n, "/last").end()
}

// nested is a stream of n methods, each called by the one before.
func nested(n int) *script {
	s := newScript(1)
	for range n {
		s.start(1, 1, "m")
	}
	return s.open(1, 1, "/last").end()
}

// TestDepth: each line is drawn or counted, at whatever depth, and the output
// grows with the stream.
func TestDepth(t *testing.T) {
	for name, c := range map[string]struct {
		raw   []byte
		lines int // below the four of the header
	}{
		"at the limit":   {chain(maxDepth / 2).bytes(), maxDepth + 1},
		"a line deeper":  {nested(maxDepth).bytes(), maxDepth + 2},
		"forks":          {chain(3000).bytes(), 2*3000 + 1},
		"more forks":     {chain(12000).bytes(), 2*12000 + 1},
		"nested methods": {nested(200).bytes(), 202},
	} {
		b := withSpans(t, c.raw)
		text := drawn(t, b)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")[4:]
		got := len(lines)
		for _, m := range regexp.MustCompile(`(?m)^[│├└─ ]*└─ \.\.\. (\d+) deeper$`).FindAllStringSubmatch(text, -1) {
			n, _ := strconv.Atoi(m[1])
			got += n - 1
		}
		if got != c.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", name, got, c.lines, lines[len(lines)-1])
		}
		var doc bytes.Buffer
		if _, err := DrawJSON(&doc, stream.NewReader(bytes.NewReader(b))); err != io.EOF {
			t.Fatal(err)
		}
		if !json.Valid(doc.Bytes()) {
			t.Errorf("%s: not JSON", name)
		}
		for form, size := range map[string]int{"tree": len(text), "json": doc.Len()} {
			if size > 5*len(b) {
				t.Errorf("%s: %d bytes of %s from %d", name, size, form, len(b))
			}
		}
		if deep := strings.Contains(text, " deeper\n"); deep != strings.Contains(doc.String(), `,"deeper":`) || deep != (c.lines > maxDepth+1) {
			t.Errorf("%s: deeper: %v", name, deep)
		}
	}
}
