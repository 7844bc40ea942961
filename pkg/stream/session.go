package stream

// Version is the stream's version, the `version` of a session record.
const Version = 1

// Session begins a stream: what is watched, where its clock is anchored and
// what is not recorded. Its key `format` is always `viv`.
type Session struct {
	Version      uint64            `msgpack:"version"`                  // of the stream format
	StartUnixNS  int64             `msgpack:"start_unix_ns"`            // ns since 1970
	StartKtimeNS uint64            `msgpack:"start_ktime_ns"`           // CLOCK_MONOTONIC, ns, of the same moment
	TraceID      TraceID           `msgpack:"trace_id,omitempty"`       // of the session's spans
	ParentSpanID uint64            `msgpack:"parent_span_id,omitempty"` // span of a joined trace; 0: none
	Targets      []uint32          `msgpack:"targets,omitempty"`        // process ids
	MainTID      uint32            `msgpack:"main_tid,omitempty"`
	ObserverPID  uint32            `msgpack:"observer_pid,omitempty"`
	Command      []string          `msgpack:"command,omitempty"`   // argv, masked; empty with -p
	Processes    []Process         `msgpack:"processes,omitempty"` // what the watched processes ran at the start; empty with a command
	Host         Host              `msgpack:"host,omitempty"`
	Hooks        map[string]string `msgpack:"hooks,omitempty"`   // event -> the hook it comes from
	Missing      map[string]string `msgpack:"missing,omitempty"` // event -> why it is not seen
	Masked       bool              `msgpack:"masked"`            // secrets are masked
	ProbeVersion string            `msgpack:"probe_version,omitempty"`
	Origin       []byte            `msgpack:"header,omitempty"` // of a session of another Format
	Policy       Policy            `msgpack:"-"`                // of that Format, if the Reader was given it
}

// TraceID is the id of a trace; all zero: none.
type TraceID [16]byte

// IsZero reports whether there is no trace.
func (id TraceID) IsZero() bool { return id == TraceID{} }

// Process describes what a process was running when the session began.
type Process struct {
	PID  uint32   `msgpack:"pid"`
	Path string   `msgpack:"path"` // of its executable; empty: unknown
	Argv []string `msgpack:"argv"` // masked and limited to some KiB; nil: unknown
}

// Host describes the machine on which the session was recorded.
type Host struct {
	Name   string `msgpack:"name"`
	OS     string `msgpack:"os"`
	Kernel string `msgpack:"kernel"`
	Arch   string `msgpack:"arch"`
	BootID string `msgpack:"boot_id"`
}

// IsZero reports whether the host is unknown.
func (h Host) IsZero() bool { return h == Host{} }

// Clock has the values of both clocks at one moment, ns. Wall-clock times of later
// events are computed from it.
type Clock struct {
	UnixNS  int64  `msgpack:"unix_ns"`
	KtimeNS uint64 `msgpack:"ktime_ns"`
}

// End closes a session.
type End struct {
	StopUnixNS  int64  `msgpack:"stop_unix_ns"`
	StopKtimeNS uint64 `msgpack:"stop_ktime_ns"`
	Events      uint64 `msgpack:"events"`          // event records written
	Lost        uint64 `msgpack:"lost"`            // events lost
	Reason      string `msgpack:"reason"`          // exited, signal, duration, target gone, ...
	ExitCode    int64  `msgpack:"exit_code"`       // of the command or target; with HasExit only
	HasExit     bool   `msgpack:"-"`               // exit_code is there
	Alive       uint64 `msgpack:"alive,omitempty"` // descendants still running
	Cut         bool   `msgpack:"cut,omitempty"`   // what this session was read from was cut short
	Origin      []byte `msgpack:"tail,omitempty"`  // of a session of another Format
}
