package stream

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
)

// TestSplice compares with the same done to a decoded map.
func TestSplice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for i := range 2000 {
		ev := randEvent(rnd)
		m := eventMap(ev)
		m["of_tomorrow"] = uint64(5)
		rec := parsed(t, foreignMap(m, rnd))
		var set []Set
		for _, key := range []string{"span_id", "thread_span_id", "hidden", "error", "payload", "a_new_one"} {
			switch rnd.IntN(5) {
			case 0:
				n := rnd.Uint64()
				set, m[key] = append(set, SetUint(key, n)), n
			case 1:
				set, m[key] = append(set, SetBool(key, true)), true
			case 2:
				text := randText(rnd)
				set, m[key] = append(set, SetText(key, text)), text
			case 3:
				set = append(set, Unset(key))
				delete(m, key)
			}
		}
		b := build(t, func(w *Writer) { w.Splice(rec, set...) })
		parsed(t, b)
		var got map[string]any
		if err := msgpack.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for k, v := range m {
			if n, ok := v.(int64); ok && n >= 0 {
				m[k] = uint64(n)
			}
		}
		if d := cmp.Diff(m, plain(got), sameBytes); d != "" {
			t.Fatalf("record %d: %s", i, d)
		}
	}
}

// TestSpliceTouchesNothingElse: floats, extensions, strange keys and strange
// encodings stay as they are, byte for byte.
func TestSpliceTouchesNothingElse(t *testing.T) {
	body := "\xa4type\xa3new" + "\x01\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18" + "\xa1x\xd6\xff\x00\x00\x00\x00" +
		"\xc0\xc7\x03\x05abc" + "\xd9\x01y\xcd\x00\x01" + "\x92\x01\x02\x81\xc2\xc3"
	rec := parsed(t, []byte("\x86"+body))
	for _, test := range []struct {
		set  []Set
		want string
	}{
		{nil, "\xde\x00\x06" + body},
		{[]Set{SetBool("hidden", true)}, "\xde\x00\x07" + body + "\xa6hidden\xc3"},
		{[]Set{SetBool("hidden", false), Unset("z")}, "\xde\x00\x07" + body + "\xa6hidden\xc2"},
		{[]Set{SetUint("y", 2)}, "\xde\x00\x06" + strings.Replace(body, "\xd9\x01y\xcd\x00\x01", "\xa1y\xcf\x00\x00\x00\x00\x00\x00\x00\x02", 1)},
		{[]Set{Unset("x")}, "\xde\x00\x05" + strings.Replace(body, "\xa1x\xd6\xff\x00\x00\x00\x00", "", 1)},
	} {
		if got := build(t, func(w *Writer) { w.Splice(rec, test.set...) }); string(got) != test.want {
			t.Errorf("%+v: %q, want %q", test.set, got, test.want)
		}
	}
	twice := parsed(t, []byte("\x83\xa1a\x01\xa1b\x02\xa1a\x03"))
	if got := build(t, func(w *Writer) { w.Splice(twice, SetBool("a", true)) }); string(got) != "\xde\x00\x02\xa1a\xc3\xa1b\x02" {
		t.Errorf("a key that is there twice: %q", got)
	}
}
