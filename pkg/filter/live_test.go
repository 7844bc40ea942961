package filter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"

	"vivarium/pkg/event"
)

// live makes a random event as a probe may have seen it, small enough for a capture.
func live(rng *rand.Rand, id event.ID) *event.Event {
	ev := &event.Event{
		Kind: &event.Kinds[id], Name: []byte(event.Kinds[id].Name), KtimeNS: rng.Uint64N(1 << 50), PID: rng.Uint32(), TID: rng.Uint32(), UID: rng.Uint32(), GID: rng.Uint32(),
		Comm: text(rng, 16), SpanID: rng.Uint64() | 1, ParentSpanID: rng.Uint64(),
	}
	binary.BigEndian.PutUint64(ev.TraceID[:], rng.Uint64())
	binary.BigEndian.PutUint64(ev.TraceID[8:], rng.Uint64())
	for i, f := range ev.Kind.Fields {
		v := &ev.Fields[i]
		v.Type = f.Type
		switch f.Type {
		case event.Uint, event.Int, event.Bool:
			v.Num = rng.Uint64N(2)
			switch f.Name {
			case "child_span_id":
				v.Num = rng.Uint64()
			case "fd", "count", "flags", "mode", "child_pid", "child_tid", "opts", "line":
				v.Num = 1 + rng.Uint64N(1<<15)
			case "cap":
				v.Num = rng.Uint64N(41)
			case "sig":
				v.Num = 1 + rng.Uint64N(15)
			case "family":
				v.Num = []uint64{2, 10}[rng.IntN(2)]
			case "port":
				v.Num = rng.Uint64N(1 << 16)
			}
		case event.Text:
			v.Text = text(rng, 60)
			switch f.Name {
			case "sig_name", "cap_name", "id_name":
				*v = event.Value{} // Derive makes them
			case "addr":
				v.Text = []byte("192.168.0.1")
				if ev.Fields[0].Num == 10 {
					v.Text = []byte("2001:db8::1")
				}
			case "qname":
				v.Text = []byte("a" + strconv.Itoa(rng.IntN(100)) + ".example.org")
			case "qtype":
				v.Text = []byte([]string{"A", "AAAA", "MX", "TYPE999"}[rng.IntN(4)])
			case "op":
				v.Text = []byte("getenv")
			case "data":
				ev.Fields[1].Num = uint64(len(v.Text))
			}
			if id == event.FileUnlink {
				v.Text = fmt.Appendf(nil, "dir/%d", rng.IntN(100)) // it keeps one directory
			}
		case event.List:
			for range 1 + rng.IntN(3) {
				v.List = append(v.List, text(rng, 60))
			}
		}
	}
	ev.Derive(&event.Raw{})
	return ev
}

// text is random, not empty, and has no NUL; some of it is not UTF-8.
func text(rng *rand.Rand, max int) []byte {
	b := make([]byte, 1+rng.IntN(max))
	for i := range b {
		b[i] = byte(1 + rng.IntN(0x7f))
		if rng.IntN(40) == 0 {
			b[i] = byte(0x80 + rng.IntN(0x80))
		}
	}
	return b
}
