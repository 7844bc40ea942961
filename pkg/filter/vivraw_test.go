package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"vivarium/pkg/event"
	"vivarium/pkg/span"
	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"

	"github.com/google/go-cmp/cmp"
)

// convert writes in anew through a sink.
func convert(t testing.TB, in []byte, to func(io.Writer) Sink) []byte {
	t.Helper()
	var out bytes.Buffer
	err := Run(stream.NewReader(bytes.NewReader(in), vivraw.Format), New(selection(t, Options{Encoding: true})), to(&out))
	if err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
		t.Fatal(err)
	}
	return out.Bytes()
}

// capturing is a Sink that writes a capture.
func capturing(w io.Writer) Sink { return vivraw.NewWriter(w) }

// capture writes a vivarium-raw capture as any program may have left it.
func capture(rng *rand.Rand) []byte {
	n := rng.IntN(40)
	cut := rng.IntN(4) == 0
	count := n
	if cut {
		count += 1 + rng.IntN(3)
	}
	keys := []string{
		`"observer_pid":100`, `"main_tid":100`, `"session_start_iso":"2026-06-26T00:00:00.000Z"`, `"session_start_ktime":1000`,
		`"session_stop_iso":"2026-06-26T00:00:01.000Z"`, `"session_stop_ktime":900000`, `"x":{"y":[1, 2.50,null]}`,
	}
	keys = keys[:rng.IntN(len(keys)+1)]
	keys = append(keys, `"format":"vivarium-raw"`, `"version":2`, `"event_struct_size":352`, fmt.Sprintf(`"event_count": %d`, count))
	rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	b := []byte("{" + strings.Join(keys, []string{",", " , ", ",\t"}[rng.IntN(3)]) + "}\n")
	ktime := uint64(1000)
	for range n {
		rec := make([]byte, 352)
		for i := range rec {
			if rng.IntN(3) == 0 {
				rec[i] = byte(rng.Uint32())
			}
		}
		ktime += rng.Uint64N(100)
		at := ktime
		if rng.IntN(4) == 0 {
			at -= rng.Uint64N(300) // as several processors deliver
		}
		binary.LittleEndian.PutUint64(rec, at)
		binary.LittleEndian.PutUint32(rec[8:], 100+rng.Uint32N(3))
		binary.LittleEndian.PutUint32(rec[12:], 100+rng.Uint32N(5))
		if rng.IntN(8) > 0 {
			copy(rec[72:88], event.Kinds[rng.IntN(int(event.NumKinds))].Name+"\x00")
		}
		if rng.IntN(2) == 0 {
			copy(rec[56:72], "ruby\x00")
		}
		if rng.IntN(6) > 0 {
			clear(rec[344:])
		} else {
			binary.LittleEndian.PutUint64(rec[344:], 1+rng.Uint64N(9))
		}
		b = append(b, rec...)
	}
	if cut {
		b = append(b, make([]byte, 1+rng.IntN(351))...)
	}
	return b
}

// TestCaptureIsTheSame holds that vivraw -> msgpack -> vivraw is the identity,
// also through viv-spans.
func TestCaptureIsTheSame(t *testing.T) {
	for seed := range uint64(200) {
		in := capture(rand.New(rand.NewPCG(seed, 2)))
		if out := convert(t, in, capturing); !bytes.Equal(in, out) {
			t.Fatalf("seed %d, at once: %d bytes for %d", seed, len(out), len(in))
		}
		mid := convert(t, in, Msgpack)
		if out := convert(t, mid, capturing); !bytes.Equal(in, out) {
			t.Fatalf("seed %d: %d bytes for %d", seed, len(out), len(in))
		}
		var spans bytes.Buffer
		b := span.New(stream.NewWriter(&spans), seed%2 == 0)
		if err := b.Run(stream.NewReader(bytes.NewReader(mid), vivraw.Format)); err != io.EOF && !errors.Is(err, stream.ErrIncomplete) {
			t.Fatal(err)
		}
		if out := convert(t, spans.Bytes(), capturing); !bytes.Equal(in, out) {
			t.Fatalf("seed %d, through viv-spans: %d bytes for %d", seed, len(out), len(in))
		}
	}
}

// carried are the own fields that a capture has a place for.
var carried = map[event.ID]string{
	event.PathOpen: "path", event.MmapExec: "path", event.Dlopen: "path",
	event.SockConnect: "family addr port", event.OddSocket: "family socktype protocol", event.DNSReq: "qname qtype",
	event.ProcFork: "child_pid child_tid child_span_id", event.ProcExec: "path argv", event.ProcExit: "",
	event.PtraceCheck: "mode", event.SbMount: "flags dev fstype", event.KernelReadFile: "id contents id_name",
	event.TaskKill: "sig sig_name", event.SetidChange: "flags", event.CapableCheck: "cap cap_name opts",
	event.BprmCreds: "has_file path", event.FileSymlink: "target path", event.FileHardlink: "old_path path",
	event.FileRename: "old_path path", event.FileUnlink: "path", event.FileChmod: "mode path", event.FileGetdents: "fd count",
	event.SSLWrite: "len captured data", event.EnvCaccess: "op key",
	event.SpanStart: "name file line", event.SpanStop: "name file line", event.SpanRaise: "error message file line",
}

// TestCaptureCarries holds that msgpack -> vivraw -> msgpack keeps what a
// capture has a place for.
func TestCaptureCarries(t *testing.T) {
	if len(carried) != 27 {
		t.Fatalf("%d kinds of vivarium's 27", len(carried))
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for range 30 {
		p := newTape()
		p.session()
		var want []*event.Event
		lost := uint64(0)
		for id := range event.NumKinds {
			if _, ok := carried[id]; !ok {
				continue // a capture cannot hold it
			}
			ev := live(rng, id)
			ev.KtimeNS = p.now()
			want = append(want, ev)
			if rng.IntN(5) == 0 {
				must(p.w.Lost(&stream.Lost{KtimeNS: p.now(), Count: 7, Cause: "ring"}))
				lost += 7
			}
			must(p.w.Event(ev))
		}
		p.end()
		back := convert(t, convert(t, p.Bytes(), capturing), Msgpack)
		r := stream.NewReader(bytes.NewReader(back), vivraw.Format)
		n := 0
		for {
			rec, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch rec.Type {
			case stream.TypeSession:
				s, _ := rec.Session()
				if s.StartKtimeNS != 1010 || s.MainTID != 100 || s.ObserverPID != 100 || s.StartUnixNS != 1e18 {
					t.Errorf("%+v", s)
				}
			case stream.TypeEnd:
				e, _ := rec.End()
				if e.StopKtimeNS != p.ktime {
					t.Errorf("%+v", e)
				}
			case stream.TypeEvent:
				got, _ := rec.Event()
				w := want[n]
				n++
				fields := func(ev *event.Event) map[string]string {
					m := map[string]string{"comm": string(ev.Comm), "name": string(ev.Name), "ids": fmt.Sprint(
						ev.KtimeNS, ev.PID, ev.TID, ev.UID, ev.GID, ev.TraceID, ev.SpanID, ev.ParentSpanID)}
					for _, f := range strings.Fields(carried[w.Kind.ID]) {
						v := ev.Get(f)
						m["."+f] = fmt.Sprintf("%v %d %q %q", v.Type, v.Num, v.Text, v.List)
					}
					return m
				}
				if d := cmp.Diff(fields(w), fields(got)); d != "" {
					t.Fatalf("%s: %s", w.Name, d)
				}
			}
		}
		if n != len(want) || r.Lost() != lost {
			t.Errorf("%d events, %d lost", n, r.Lost())
		}
	}
}
