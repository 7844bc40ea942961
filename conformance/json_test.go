package conformance

import (
	"encoding/json"
	"fmt"
	"math/big"
)

// A node is what viv-tree --format json prints for a line.
type node struct {
	Type, Event, Name, Label, Severity, Comm string
	PID, TID                                 uint32
	Ktime                                    uint64 `json:"ktime_ns"`
	Start                                    uint64 `json:"start_ktime_ns"`
	End                                      uint64 `json:"end_ktime_ns"`
	Offset                                   *int64 `json:"offset_ns"`
	ChildPID                                 uint32 `json:"child_pid"`
	ChildTID                                 uint32 `json:"child_tid"`
	Text                                     *string
	Payload                                  *struct{ Base64 []byte }
	Raised                                   bool
	Line                                     int
	Children                                 []*node
}

type document struct {
	Session struct {
		Type  string
		Start uint64 `json:"start_ktime_ns"`
		Unix  int64  `json:"start_unix_ns"`
	}
	End struct {
		Type string
		Stop uint64 `json:"stop_ktime_ns"`
	}
	Tree []*node
}

// attach gives the lines of a tree their nodes.
// It returns when the session began and ended, ktime.
func attach(lines []*line, doc []byte) (start, stop uint64, err error) {
	var d document
	if err := json.Unmarshal(doc, &d); err != nil {
		return 0, 0, err
	}
	if d.Session.Type != "session" || d.End.Type != "end" {
		return 0, 0, fmt.Errorf("session %q, end %q", d.Session.Type, d.End.Type)
	}
	kinds := map[string]string{"process": "proc", "span": "span", "no_span": "gap", "event": "event", "lost": "loss"}
	for len(lines) > 0 && lines[0].kind == "header" {
		lines = lines[1:]
	}
	var walk func(nodes []*node, up *line) error
	walk = func(nodes []*node, up *line) error {
		for _, n := range nodes {
			if len(lines) == 0 {
				return fmt.Errorf("no line for %+v", n)
			}
			l := lines[0]
			if lines = lines[1:]; l.kind != kinds[n.Type] || l.up != up {
				return fmt.Errorf("%s beside %+v", l.text, n)
			}
			l.node = n
			if l.kind == "gap" {
				l.start = int64(n.Start)
			}
			if err := walk(n.Children, l); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(d.Tree, nil); err != nil {
		return 0, 0, err
	}
	if len(lines) > 0 {
		return 0, 0, fmt.Errorf("no node for %s", lines[0].text)
	}
	return d.Session.Start, d.End.Stop, nil
}

// duration prints ns as vivarium does: one decimal, half to even (Q54).
func duration(ns int64) string {
	unit, suffix := int64(100), "us"
	if ns >= 1e6 {
		unit, suffix = 100_000, "ms"
	}
	n, rest := ns/unit, ns%unit
	if rest*2 > unit || rest*2 == unit && n%2 == 1 || ns == 50 {
		n++
	}
	return new(big.Rat).SetFrac64(n, 10).FloatString(1) + suffix
}
