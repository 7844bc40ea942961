package wire

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"syscall"
	"unsafe"

	"vivarium/bpf"
	"vivarium/pkg/event"
)

// headSize is the size of an event's record without numbers and texts, bytes.
const headSize = int(unsafe.Offsetof(bpf.VivRecord{}.Num))

// ErrShort says that a record is shorter than it says.
var ErrShort = errors.New("record is shorter than it says")

// Decode reads a record. What m then holds aliases raw or m's own storage: it
// is valid until the next Decode. Of Event, TraceID is left alone.
func (m *Message) Decode(raw []byte) error {
	head, err := read[bpf.VivHead](raw)
	if err != nil {
		return err
	}
	m.Type, m.ID, m.Lost, m.StackPointer = Event, 0, uint64(head.Lost), head.Sp
	m.Function, m.Undecided, m.InMethod, m.Data = Function{}, false, false, nil
	m.OtherRoot, m.RootID, m.RootPath = false, 0, nil
	ev := &m.Event
	trace := ev.TraceID
	ev.Reset()
	ev.TraceID = trace
	ev.KtimeNS = head.Ktime
	ev.PID, ev.TID, ev.UID, ev.GID = head.Pid, head.Tid, head.Uid, head.Gid
	ev.SpanID, ev.ParentSpanID = head.Span, head.Parent
	const comm = unsafe.Offsetof(head.Comm)
	ev.Comm = event.CString(raw[comm : comm+unsafe.Sizeof(head.Comm)])
	switch bpf.VivControl(head.Kind) {
	case bpf.VivControlVIV_MARKER:
		return m.markerRecord(raw)
	case bpf.VivControlVIV_FUNCTION:
		r, err := read[bpf.VivFunctionRecord](raw)
		m.function(r)
		return err
	case bpf.VivControlVIV_BLIND:
		r, err := read[bpf.VivBlindRecord](raw)
		m.Type, m.Cause = Blind, fmt.Sprintf("%s of process %d", blindNames[bpf.VivBlind(r.What)], head.Pid)
		return err
	case bpf.VivControlVIV_LIBRARY:
		r, err := read[bpf.VivLibraryRecord](raw)
		m.Type, m.Changed = Library, LibraryChange{r.Pid, r.Parent, r.Exec != 0}
		return err
	case bpf.VivControlVIV_TLS:
		r, err := read[bpf.VivTlsRecord](raw)
		if err != nil {
			return err
		}
		what, ok := tlsTypes[bpf.VivCall(r.Call)]
		if !ok {
			return fmt.Errorf("record of a TLS connection with unknown call %d", r.Call)
		}
		m.Type, m.Conn = what, r.Conn
		return nil
	case bpf.VivControlVIV_ROOT:
		return m.rootRecord(raw)
	case bpf.VivControlVIV_METHOD_JUMP:
		m.Type = MethodJump
		return nil
	case bpf.VivControlVIV_ANSWERABLE:
		m.Type = Answerable
		return nil
	}
	if event.ID(head.Kind) >= event.NumKinds {
		return fmt.Errorf("record of unknown kind %d", head.Kind)
	}
	return m.event(raw, event.ID(head.Kind))
}

// read copies a struct of the BPF programs from the start of a record.
func read[T any](raw []byte) (v T, err error) {
	whole := unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))
	if len(raw) < len(whole) {
		return v, ErrShort
	}
	copy(whole, raw)
	return v, nil
}

// split reads a record that has numbers and texts.
func split(raw []byte) (r bpf.VivRecord, texts [2][]byte, err error) {
	if len(raw) < headSize {
		return r, texts, ErrShort
	}
	whole := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	copy(whole, raw[:headSize])
	size := headSize + bits.Len8(r.Head.Nums)*int(unsafe.Sizeof(r.Num[0]))
	if size > len(whole) || len(raw) < size {
		return r, texts, ErrShort
	}
	copy(whole[headSize:], raw[headSize:size])
	rest := raw[size:]
	for i, n := range r.Len {
		if int(n) > len(rest) {
			return r, texts, ErrShort
		}
		texts[i], rest = rest[:n:n], rest[n:]
	}
	return r, texts, nil
}

// event reads the record of an event of the catalogue.
func (m *Message) event(raw []byte, id event.ID) error {
	r, texts, err := split(raw)
	if err != nil {
		return err
	}
	ev := &m.Event
	m.ID, ev.Kind = id, &event.Kinds[id]
	has := func(f bpf.VivFlag) bool { return r.Head.Flags&uint8(f) != 0 }
	ev.OutcomeUnknown = has(bpf.VivFlagVIV_UNKNOWN)
	ev.Truncated = has(bpf.VivFlagVIV_TRUNCATED)
	ev.Deleted = has(bpf.VivFlagVIV_DELETED)
	m.Undecided, m.InMethod = has(bpf.VivFlagVIV_UNDECIDED), has(bpf.VivFlagVIV_IN_METHOD)
	if r.Ret < 0 {
		ev.Error = errnoName(syscall.Errno(-int64(r.Ret)))
	}
	m.OtherRoot, m.RootID = r.Head.Nums&(1<<len(r.Num)) != 0, r.Root
	m.raw.Num, m.raw.Text, m.raw.Call, m.raw.Buf = r.Num, texts, "", m.raw.Buf[:0]
	for i := range ev.Kind.Fields {
		f := &ev.Kind.Fields[i]
		v := &ev.Fields[i]
		switch w := f.Wire; w {
		case event.Num0, event.Num1, event.Num2, event.Num3:
			n := w - event.Num0
			if r.Head.Nums&(1<<n) != 0 {
				v.Type, v.Num = f.Type, r.Num[n]
			}
		case event.Text0, event.Text1:
			if t := texts[w-event.Text0]; len(t) > 0 {
				v.Type, v.Text = event.Text, t
			}
		case event.Addr0, event.Addr1:
			if a, ok := netip.AddrFromSlice(texts[w-event.Addr0]); ok {
				v.Type, v.Text = event.Text, m.compose(a.Unmap().AppendTo)
			}
		case event.Args0, event.Args1:
			v.Type, v.List = event.List, splitArgs(v.List, texts[w-event.Args0])
		}
	}
	switch id {
	case event.EnvCaccess:
		if n := r.Num[0]; n < uint64(len(envFunctions)) {
			m.raw.Call = envFunctions[n]
		}
	case event.SSLWrite:
		m.Data = texts[0]
	case event.SpanStart, event.SpanStop, event.SpanRaise:
		m.source(SourceUSDT)
	}
	ev.Derive(&m.raw)
	if has(bpf.VivFlagVIV_PSEUDO) {
		m.pseudoPath(r.Num[3])
	} else if has(bpf.VivFlagVIV_UNREACHABLE) {
		m.unreachablePath(event.Text0)
	}
	if has(bpf.VivFlagVIV_UNREACHABLE_1) {
		m.unreachablePath(event.Text1)
	}
	return nil
}

// Next makes m's Event the next one that its record says: a DNS message, or what is
// written to a DNS server at once, can have several questions. It reports false when
// there is none.
func (m *Message) Next() bool {
	if m.Type != Event || m.ID != event.DNSReq {
		return false
	}
	m.Event.Hidden = false
	return m.raw.NextQuestion(&m.Event)
}

// function makes the event of a function that was entered or left. Its name
// whoever attached the probe knows.
func (m *Message) function(r bpf.VivFunctionRecord) {
	m.ID = event.SpanStart
	if r.Left != 0 {
		m.ID = event.SpanStop
	}
	m.Event.Kind = &event.Kinds[m.ID]
	m.Function = Function{uint64(r.Site) + 1, r.StackFrom, r.StackTo}
	m.source(SourceFunction)
}

// source says where the span event in m comes from.
func (m *Message) source(source []byte) {
	field := event.SpanSource
	if m.ID == event.SpanRaise {
		field = event.SpanRaiseSource
	}
	m.Event.Fields[field] = event.Value{Type: event.Text, Text: source}
}

// tlsTypes are what VIV_TLS records say, by enum call.
var tlsTypes = map[bpf.VivCall]Type{
	bpf.VivCallVIV_CALL_TLS_END:    TLSEnd,
	bpf.VivCallVIV_CALL_TLS_CORK:   TLSCork,
	bpf.VivCallVIV_CALL_TLS_UNCORK: TLSUncork,
}

var blindNames = map[bpf.VivBlind]string{
	bpf.VivBlindVIV_BLIND_COMPAT:   "unseen 32-bit system calls",
	bpf.VivBlindVIV_BLIND_IO_URING: "unseen io_uring operations",
	bpf.VivBlindVIV_BLIND_NAME:     "methods whose names were not in memory",
}

// envFunctions are the functions of env_caccess, by enum call.
var envFunctions = [...]string{
	bpf.VivCallVIV_CALL_GETENV:        "getenv",
	bpf.VivCallVIV_CALL_SECURE_GETENV: "secure_getenv",
	bpf.VivCallVIV_CALL_SETENV:        "setenv",
	bpf.VivCallVIV_CALL_UNSETENV:      "unsetenv",
	bpf.VivCallVIV_CALL_PUTENV:        "putenv",
	bpf.VivCallVIV_CALL_CLEARENV:      "clearenv",
}

// compose appends to m's storage and returns what was appended.
func (m *Message) compose(appendTo func([]byte) []byte) []byte {
	n := len(m.raw.Buf)
	m.raw.Buf = appendTo(m.raw.Buf)
	return m.raw.Buf[n:len(m.raw.Buf):len(m.raw.Buf)]
}
