package span

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"vivarium/pkg/stream"
	"vivarium/pkg/vivraw"
)

// render writes what came out as the scenarios do.
func render(t testing.TB, data []byte) string {
	var out strings.Builder
	labels := map[uint64]string{}
	traces := map[[16]byte]string{}
	used := map[string]bool{}
	unique := func(s string) string {
		for used[s] {
			s += "'"
		}
		used[s] = true
		return s
	}
	label := func(id uint64) string {
		if l, ok := labels[id]; ok {
			return l
		}
		return "-"
	}
	opened := map[uint64]uint64{}
	r := stream.NewReader(bytes.NewReader(data), vivraw.Format)
	for {
		rec, err := r.Next()
		if err != nil {
			return strings.TrimSpace(out.String())
		}
		switch rec.Type {
		case stream.TypeSession:
		case stream.TypeEvent:
			ev, _ := rec.Event()
			fmt.Fprintf(&out, "%d %s %s\n", ev.TID, ev.Name, label(ev.SpanID))
		case stream.TypeSpanOpen, stream.TypeSpan:
			s, err := rec.Span()
			if err != nil {
				t.Fatal(err)
			}
			mark := "-"
			if rec.Type == stream.TypeSpanOpen {
				mark = "+"
				switch s.Kind {
				case stream.SpanSession:
					labels[s.SpanID] = unique("S")
					traces[s.TraceID] = ""
				case stream.SpanThread:
					labels[s.SpanID] = unique("t" + strconv.Itoa(int(s.TID)))
				default:
					labels[s.SpanID] = unique(s.Name)
				}
				if _, ok := traces[s.TraceID]; !ok {
					traces[s.TraceID] = unique("trace")
				}
				opened[s.SpanID] = s.ParentSpanID
			}
			out.WriteString(mark + label(s.SpanID))
			if mark == "+" && s.Kind != stream.SpanSession {
				out.WriteString(" <" + label(s.ParentSpanID))
			}
			fmt.Fprintf(&out, " %d", s.StartKtimeNS)
			if mark == "-" {
				fmt.Fprintf(&out, "..%d", s.EndKtimeNS)
				if opened[s.SpanID] != s.ParentSpanID {
					out.WriteString(" <" + label(s.ParentSpanID))
				}
			}
			for _, flag := range []struct {
				set  bool
				text string
			}{
				{s.Dangling, "dangling"}, {s.Raised, "raised"}, {s.Lossy, "lossy"},
				{traces[s.TraceID] != "", traces[s.TraceID]},
				{s.LinkSpanID != 0, "link " + label(s.LinkSpanID)},
			} {
				if flag.set {
					out.WriteString(" " + flag.text)
				}
			}
			out.WriteString("\n")
		case stream.TypeLost:
			out.WriteString("lost\n")
		case stream.TypeClock:
			out.WriteString("clock\n")
		case stream.TypeEnd:
			out.WriteString("end\n")
		default:
			out.WriteString("raw\n")
		}
	}
}
