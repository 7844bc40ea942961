package span

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

// FuzzRecords makes records of few threads and few ids from the input, four
// bytes each, in any order, and holds what comes out to its promises.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 3, 1, 1, 1, 4, 1, 2, 2, 0, 2, 2, 2})
	f.Add(bytes.Repeat([]byte{1, 1, 1, 1, 4, 2, 3, 0, 5, 3, 0, 0, 6, 1, 2, 3}, 10))
	f.Fuzz(func(t *testing.T, data []byte) {
		var in bytes.Buffer
		w := stream.NewWriter(&in)
		session := func(x byte) {
			s := stream.Session{Version: stream.Version, StartKtimeNS: 10, MainTID: uint32(x & 7), Targets: []uint32{uint32(x >> 4)}}
			if x&8 != 0 {
				s.Origin = []byte(`{"session_stop_ktime":100}`)
			}
			w.Session(&s)
		}
		session(0)
		ktime, events := uint64(16), 0
		// As in a real stream, a span id is a task's for good.
		var ids [8]uint64
		moved := false // also into other processes, with what ids it pleases
		last := uint64(100)
		fresh := func(tid byte) uint64 {
			last++
			ids[tid&7] = last
			return last
		}
		for i := range ids {
			fresh(byte(i))
		}
		id := func(tid, how byte) uint64 {
			switch how & 7 {
			case 0:
				return 0
			case 1:
				return fresh(tid)
			}
			return ids[tid&7]
		}
		for ; len(data) >= 4; data = data[4:] {
			op, tid, x, y := data[0], data[1], data[2], data[3]
			ktime += 16
			ev := event.Event{KtimeNS: ktime, PID: uint32(tid & 3), TID: uint32(tid & 7), TraceID: [16]byte{1}}
			ev.SpanID = id(tid, y>>2)
			ev.ParentSpanID = ids[x&7]
			name := event.Value{Type: event.Text, Text: []byte{"ab\x00\xff"[x&3]}[:x>>2&1]}
			number := event.Value{Type: event.Uint, Num: uint64(x & 7)}
			switch op % 16 {
			case 0, 1, 2, 3:
				ev.Kind, ev.Fields[0] = &event.Kinds[event.SpanStart], name
			case 4, 5:
				ev.Kind, ev.Fields[0] = &event.Kinds[event.SpanStop], name
			case 6, 7:
				ev.Kind, ev.Fields[0] = &event.Kinds[event.ProcFork], number
				ev.Fields[2] = event.Value{Type: event.Uint, Num: fresh(x)}
			case 8:
				ev.Kind = &event.Kinds[event.ProcExit]
			case 9:
				ev.Kind, ev.Fields[3] = &event.Kinds[event.ProcExec], number
				ev.SpanID = ids[x&7] // its task's, whatever its tid is now
				fresh(x)
				ids[tid&7] = ev.SpanID
				moved = true
			case 10:
				ev.Kind = &event.Kinds[event.SpanRaise]
			case 11:
				ev.KtimeNS -= 24 // out of order
				ev.Name = []byte("new")
			case 12:
				w.Lost(&stream.Lost{Count: 1, KtimeNS: ktime})
				continue
			case 13:
				if x == 1 {
					w.End(&stream.End{StopKtimeNS: uint64(y)})
				} else if x == 2 {
					session(y)
				} else {
					w.Raw([]byte("\x80"))
				}
				continue
			default:
				ev.Kind = &event.Kinds[event.PathOpen]
			}
			w.Event(&ev)
			events++
		}
		w.Flush()

		max := bounds{open: 8, perThread: 4, text: 4, forked: 3, ended: 8, walk: 4}
		var out bytes.Buffer
		b := New(stream.NewWriter(&out), len(data)&1 != 0)
		b.max = max
		b.names["x"] = "x"
		err := b.Run(stream.NewReader(bytes.NewReader(in.Bytes()), vivraw.Format))
		if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
			t.Fatal(err)
		}
		if len(b.byTID) != 0 || len(b.bySpanID) != 0 || b.openText != 0 {
			t.Errorf("kept at the end: %d tids, %d ids, %d bytes of text", len(b.byTID), len(b.bySpanID), b.openText)
		}
		if err := check(out.Bytes(), max, !moved); err != nil {
			t.Log(dump(in.Bytes()))
			t.Error(err)
		}
	})
}

// FuzzStream gives the program any bytes.
func FuzzStream(f *testing.F) {
	for _, s := range scenarios {
		f.Add(encode(f, s.in))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := New(stream.NewWriter(io.Discard), false)
		b.Run(stream.NewReader(bytes.NewReader(data), vivraw.Format))
	})
}

// dump shows the events of a stream to a person.
func dump(data []byte) string {
	var s strings.Builder
	r := stream.NewReader(bytes.NewReader(data), vivraw.Format)
	for {
		rec, err := r.Next()
		if err != nil {
			return s.String()
		}
		if ev, err := rec.Event(); err == nil {
			fmt.Fprintf(&s, "\n%d %d/%d#%d^%d %s", ev.KtimeNS, ev.PID, ev.TID, ev.SpanID, ev.ParentSpanID, ev.Name)
			for _, f := range ev.Fields {
				if f.Type != event.None {
					fmt.Fprintf(&s, " %d%q", f.Num, f.Text)
				}
			}
		} else {
			fmt.Fprintf(&s, "\nrecord of type %d", rec.Type)
		}
	}
}
