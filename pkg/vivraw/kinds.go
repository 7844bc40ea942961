package vivraw

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"vivarium/pkg/event"
)

// This file reads and writes the parts of payloads that are not in slots.

func putText(v *event.Value, text []byte) { v.Type, v.Text = event.Text, text }

func putUint(v *event.Value, n uint64) { v.Type, v.Num = event.Uint, n }

func decodeConnect(ev *event.Event, p []byte) {
	port := uint64(binary.BigEndian.Uint16(p[2:]))
	switch ev.Fields[event.SockConnectFamily].Num {
	case event.FamilyInet:
		putText(&ev.Fields[event.SockConnectAddr], netip.AddrFrom4([4]byte(p[4:8])).AppendTo(nil))
		putUint(&ev.Fields[event.SockConnectPort], port)
	case event.FamilyInet6:
		putText(&ev.Fields[event.SockConnectAddr], netip.AddrFrom16([16]byte(p[4:20])).AppendTo(nil))
		putUint(&ev.Fields[event.SockConnectPort], port)
	}
}

func encodeConnect(ev *event.Event, p []byte) {
	binary.BigEndian.PutUint16(p[2:], uint16(ev.Fields[event.SockConnectPort].Num))
	if a, err := netip.ParseAddr(string(ev.Fields[event.SockConnectAddr].Text)); err == nil {
		copy(p[4:20], a.AsSlice())
	}
}

// dnsCapture is the number of bytes of a question that vivarium captures.
const dnsCapture = 64

func decodeDNS(ev *event.Event, p []byte) {
	name, rest, err := event.AppendDNSName(nil, p)
	if len(name) == 0 {
		return
	}
	putText(&ev.Fields[event.DNSReqQName], bytes.TrimRight(name, "\x00")) // the missing part of its last label
	if end := PayloadSize - len(rest); err == nil && end+4 <= dnsCapture && binary.BigEndian.Uint16(rest[2:]) != 0 {
		putText(&ev.Fields[event.DNSReqQType], event.AppendQType(nil, binary.BigEndian.Uint16(rest)))
	}
}

func encodeDNS(ev *event.Event, p []byte) {
	name := ev.Fields[event.DNSReqQName].Text
	for len(name) > 0 && len(p) > 1 {
		label, rest, _ := bytes.Cut(name, []byte{'.'})
		if len(label) == 0 || len(label) > 63 {
			return
		}
		p[0] = byte(len(label))
		n := copy(p[1:], label)
		p, name = p[1+n:], rest
	}
	qtype := event.ParseQType(ev.Fields[event.DNSReqQType].Text)
	if qtype != 0 && len(p) >= 5 {
		binary.BigEndian.PutUint16(p[1:], qtype)
		p[4] = 1 // class IN
	}
}

// The payload of a fork has the child's id (of its first thread) at 0 and its span id at
// 8. vivarium's kernel side leaves 0 at 4, which vivarium shows as child_tid. A payload
// that is written here has the child's thread id at 4, and its process id after the span
// id, which vivarium ignores.
const forkPID = 16

func decodeFork(ev *event.Event, p []byte) {
	id := uint64(le.Uint32(p))
	pid := uint64(le.Uint32(p[forkPID:]))
	if pid == 0 || uint64(le.Uint32(p[4:])) != id {
		pid = id // later records show whether it is a thread
	}
	putUint(&ev.Fields[event.ProcForkChildPID], pid)
	putUint(&ev.Fields[event.ProcForkChildTID], id)
}

func encodeFork(ev *event.Event, p []byte) {
	tid := uint32(ev.Fields[event.ProcForkChildTID].Num)
	if tid == 0 {
		tid = uint32(ev.Fields[event.ProcForkChildPID].Num)
	}
	le.PutUint32(p, tid)
	le.PutUint32(p[4:], tid)
	le.PutUint32(p[forkPID:], uint32(ev.Fields[event.ProcForkChildPID].Num))
}

// The payload of an exec has space for the file and three arguments. Empty arguments at
// the end cannot be distinguished from missing ones.
const execSlot, execArgs = 64, 3

func decodeExec(ev *event.Event, p []byte) {
	n := execArgs
	for n > 0 && p[n*execSlot] == 0 {
		n--
	}
	v := &ev.Fields[event.ProcExecArgv]
	v.Type, v.List = event.List, v.List[:0]
	for i := 1; i <= n; i++ {
		v.List = append(v.List, event.CString(p[i*execSlot:(i+1)*execSlot]))
	}
}

func encodeExec(ev *event.Event, p []byte) {
	for i, arg := range ev.Fields[event.ProcExecArgv].List {
		if i == execArgs {
			break
		}
		copy(p[(i+1)*execSlot:(i+2)*execSlot], event.CString(arg))
	}
}

// The payload of a file_unlink has the name of the file and, at unlinkDir, the name of
// its directory, but not the path.
const unlinkDir = 128

func decodeUnlink(ev *event.Event, p []byte) {
	path := event.CString(p[:unlinkDir])
	if dir := event.CString(p[unlinkDir:]); len(dir) > 0 {
		path = bytes.Join([][]byte{dir, path}, []byte{'/'})
	}
	putText(&ev.Fields[event.FileUnlinkPath], path)
}

func encodeUnlink(ev *event.Event, p []byte) {
	dir, name := []byte(nil), ev.Fields[event.FileUnlinkPath].Text
	if i := bytes.LastIndexByte(name, '/'); i >= 0 {
		dir, name = event.Basename(name[:i]), name[i+1:]
	}
	copy(p[:unlinkDir], name)
	copy(p[unlinkDir:], dir)
}

const (
	tlsHeader  = 8                       // bytes of an ssl_write payload before the data
	tlsCapture = PayloadSize - tlsHeader // maximum size of the data
)

func decodeTLS(ev *event.Event, p []byte) {
	n := min(le.Uint32(p[4:]), tlsCapture)
	putUint(&ev.Fields[event.SSLWriteCaptured], uint64(n))
	putText(&ev.Fields[event.SSLWriteData], p[tlsHeader:tlsHeader+n])
}

func encodeTLS(ev *event.Event, p []byte) {
	le.PutUint32(p[4:], uint32(copy(p[tlsHeader:], ev.Fields[event.SSLWriteData].Text)))
}

// An environment event never carries a value: putenv's argument is cut at its
// first "=". A function without a variable has no key.
func decodeEnv(ev *event.Event, p []byte) {
	key := &ev.Fields[event.EnvCaccessKey]
	if len(key.Text) == 0 {
		*key = event.Value{}
		return
	}
	if string(ev.Fields[event.EnvCaccessOp].Text) == "putenv" {
		key.Text, _, _ = bytes.Cut(key.Text, []byte{'='})
	}
}

// All spans of captures come from USDT probes.
func decodeSpan(ev *event.Event, _ []byte) { putText(&ev.Fields[event.SpanSource], sourceUSDT) }

func decodeRaise(ev *event.Event, _ []byte) { putText(&ev.Fields[event.SpanRaiseSource], sourceUSDT) }

var sourceUSDT = []byte(event.SourceUSDT)
