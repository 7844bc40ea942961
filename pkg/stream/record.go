// Package stream reads and writes viv's event stream: msgpack maps, one per
// record, one after another, with no framing around them.
package stream

import "math"

// Type is what a record is.
type Type uint8

// The record types. Unknown is any other map: filters pass it, sinks ignore it.
const (
	Unknown Type = iota
	TypeSession
	TypeEvent
	TypeLost
	TypeClock
	TypeSpanOpen
	TypeSpan
	TypeEnd
)

// Version is the stream's version, the `version` of a session record.
const Version = 1

// Session begins a stream: what is watched, where its clock is anchored and
// what is not recorded.
type Session struct {
	Version      uint64 // of the stream format
	StartUnixNS  int64  // ns since 1970
	StartKtimeNS uint64 // CLOCK_MONOTONIC, ns, of the same moment
	TraceID      [16]byte
	ParentSpanID uint64   // span of a joined trace; 0: none
	Targets      []uint32 // process ids
	MainTID      uint32
	ObserverPID  uint32
	Command      []string  // argv, masked; empty with -p
	Processes    []Process // what the watched processes ran at the start; empty with a command
	Host         Host
	Hooks        map[string]string // event -> the hook it comes from
	Missing      map[string]string // event -> why it is not seen
	Masked       bool              // secrets are masked
	ProbeVersion string
	Origin       []byte // of a session of another Format
	Policy       Policy // of that Format, if the Reader was given it
}

// Process is what a process ran when the session began.
type Process struct {
	PID  uint32   `msgpack:"pid"`
	Path string   `msgpack:"path"` // of its executable; empty: unknown
	Argv []string `msgpack:"argv"` // masked, and cut after some KB; nil: unknown
}

// Host says where the session was recorded.
type Host struct {
	Name   string `msgpack:"name"`
	OS     string `msgpack:"os"`
	Kernel string `msgpack:"kernel"`
	Arch   string `msgpack:"arch"`
	BootID string `msgpack:"boot_id"`
}

// AddCounts is a + b, or the largest number there is when that is larger.
func AddCounts(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// Lost says that events were lost at this place of the stream.
type Lost struct {
	KtimeNS uint64
	Count   uint64 // events
	Cause   string
}

// Clock is a fresh anchor of wall time: the two clocks at one moment, ns.
type Clock struct {
	UnixNS  int64
	KtimeNS uint64
}

// SpanKind is what a span stands for.
type SpanKind string

// The kinds of spans.
const (
	SpanSession SpanKind = "session"
	SpanThread  SpanKind = "thread"
	SpanMethod  SpanKind = "method"
)

// Span is a span_open record, and with its last four fields a span record. The
// span record is the final word: the name of a thread that changed it, and the
// parent of one whose fork was seen late, may differ from span_open's.
type Span struct {
	SpanID       uint64
	ParentSpanID uint64 // 0: none
	TraceID      [16]byte
	Kind         SpanKind
	Source       string // usdt, marker or uprobe; methods only
	Name         string
	PID, TID     uint32
	StartKtimeNS uint64
	File         string
	Line         int64 // 0: unknown

	// A top-level method span that has a trace of its own (viv-spans
	// --trace-per method) has no parent and names here the thread span that it
	// would hang under, in the session's trace: keys link_trace_id and
	// link_span_id, absent when zero.
	LinkTraceID [16]byte
	LinkSpanID  uint64

	EndKtimeNS uint64
	Dangling   bool // was still open when its thread or the session ended
	Raised     bool // an exception passed through it
	Lossy      bool // events were lost during it
}

// End closes a session.
type End struct {
	StopUnixNS  int64
	StopKtimeNS uint64
	Events      uint64 // event records written
	Lost        uint64 // events lost
	Reason      string // exited, signal, duration, target gone, ...
	ExitCode    int64  // of the command or target; with HasExit only
	HasExit     bool
	Alive       uint64 // descendants still running
	Cut         bool   // what this session was read from was cut short
	Origin      []byte // of a session of another Format
}
