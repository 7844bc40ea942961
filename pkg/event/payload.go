package event

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// PayloadSize is the size of the payload of a vivarium-raw record, bytes.
const PayloadSize = 256

const (
	tlsHeader  = 8                       // bytes of an ssl_write payload before the data
	tlsCapture = PayloadSize - tlsHeader // the most data that a payload takes
)

// slot is the place of a field in a payload: a text of at most size bytes,
// ended by a NUL if it is shorter, or a little-endian number of 1, 2, 4 or 8.
type slot struct {
	field, at, size int
}

// layout is where the fields of a kind lie in a payload.
type layout struct {
	slots  []slot
	decode func(ev *Event, payload []byte) // the fields that no slot tells, after the slots
	encode func(ev *Event, payload []byte) // the reverse
}

var layouts = [NumKinds]layout{
	PathOpen:       {slots: []slot{{PathOpenPath, 0, 256}}},
	MmapExec:       {slots: []slot{{MmapExecPath, 0, 256}}},
	Dlopen:         {slots: []slot{{DlopenPath, 0, 256}}},
	SockConnect:    {slots: []slot{{SockConnectFamily, 0, 2}}, decode: decodeConnect, encode: encodeConnect},
	OddSocket:      {slots: []slot{{OddSocketFamily, 0, 2}, {OddSocketType, 2, 2}, {OddSocketProtocol, 4, 2}}},
	DNSReq:         {decode: decodeDNS, encode: encodeDNS},
	ProcFork:       {slots: []slot{{ProcForkChildSpanID, 8, 8}}, decode: decodeFork, encode: encodeFork},
	ProcExec:       {slots: []slot{{ProcExecPath, 0, 64}}, decode: decodeExec, encode: encodeExec},
	PtraceCheck:    {slots: []slot{{PtraceCheckMode, 0, 4}}},
	SbMount:        {slots: []slot{{SbMountFlags, 0, 8}, {SbMountDev, 8, 120}, {SbMountFstype, 128, 120}}},
	KernelReadFile: {slots: []slot{{KernelReadFileID, 0, 4}, {KernelReadFileContents, 4, 4}}},
	TaskKill:       {slots: []slot{{TaskKillSig, 0, 4}}},
	SetidChange:    {slots: []slot{{SetidChangeFlags, 0, 4}}},
	CapableCheck:   {slots: []slot{{CapableCheckCap, 0, 4}, {CapableCheckOpts, 4, 4}}},
	BprmCreds:      {slots: []slot{{BprmCredsHasFile, 0, 1}, {BprmCredsPath, 1, 255}}},
	FileSymlink:    {slots: []slot{{FileSymlinkTarget, 0, 128}, {FileSymlinkPath, 128, 128}}},
	FileHardlink:   {slots: []slot{{FileHardlinkOldPath, 0, 128}, {FileHardlinkPath, 128, 128}}},
	FileRename:     {slots: []slot{{FileRenameOldPath, 0, 128}, {FileRenamePath, 128, 128}}},
	FileUnlink:     {decode: decodeUnlink, encode: encodeUnlink},
	FileChmod:      {slots: []slot{{FileChmodMode, 0, 2}, {FileChmodPath, 2, 254}}},
	FileGetdents:   {slots: []slot{{FileGetdentsFD, 0, 4}, {FileGetdentsCount, 4, 4}}},
	SSLWrite:       {slots: []slot{{SSLWriteLen, 0, 4}}, decode: decodeTLS, encode: encodeTLS},
	EnvCaccess:     {slots: []slot{{EnvCaccessOp, 0, 16}, {EnvCaccessKey, 16, 240}}, decode: decodeEnv},
	SpanStart:      {slots: spanSlots, decode: decodeSpan},
	SpanStop:       {slots: spanSlots, decode: decodeSpan},
	SpanRaise: {slots: []slot{{SpanRaiseError, 0, 80}, {SpanRaiseMessage, 80, 80}, {SpanRaiseFile, 160, 80}, {SpanRaiseLine, 240, 8}},
		decode: decodeRaise},
}

var spanSlots = []slot{{SpanName, 0, 128}, {SpanFile, 128, 120}, {SpanLine, 248, 8}}

// Import fills ev's own fields from the payload of a vivarium-raw record,
// which they alias where they can. Fields that a payload does not have stay
// as they are; a payload of another size than PayloadSize is left alone. What
// is derived from them is Event.Derive's business, the summary of an ssl_write
// the one of httpsummary.Decoder.
func (k *Kind) Import(ev *Event, payload []byte) {
	if k == nil || len(payload) != PayloadSize {
		return
	}
	l := &layouts[k.ID]
	for _, s := range l.slots {
		v, f := &ev.Fields[s.field], payload[s.at:s.at+s.size]
		*v = Value{Type: k.Fields[s.field].Type, List: v.List}
		if v.Type == Text {
			v.Text = cString(f)
			continue
		}
		switch s.size {
		case 1:
			v.Num = uint64(f[0])
		case 2:
			v.Num = uint64(binary.LittleEndian.Uint16(f))
		case 4:
			v.Num = uint64(binary.LittleEndian.Uint32(f))
			if v.Type == Int {
				v.Num = uint64(int64(int32(v.Num)))
			}
		case 8:
			v.Num = binary.LittleEndian.Uint64(f)
		}
	}
	if l.decode != nil {
		l.decode(ev, payload)
	}
}

// Export writes ev as the payload of a vivarium-raw record, which must be
// PayloadSize bytes: the one that it came with, else one made from its fields,
// as far as a payload can hold them; texts that do not fit are cut.
func (k *Kind) Export(ev *Event, payload []byte) {
	if len(payload) != PayloadSize {
		return
	}
	if len(ev.Origin) == PayloadSize {
		copy(payload, ev.Origin)
		return
	}
	clear(payload)
	if k == nil {
		return
	}
	l := &layouts[k.ID]
	for _, s := range l.slots {
		v, f := ev.Fields[s.field], payload[s.at:s.at+s.size]
		if v.Type == Text {
			copy(f, v.Text)
			continue
		}
		for i := range f {
			f[i] = byte(v.Num >> (8 * i))
		}
	}
	if l.encode != nil {
		l.encode(ev, payload)
	}
}

// cString returns s up to its first NUL.
func cString(s []byte) []byte {
	if i := bytes.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}

func putText(v *Value, text []byte) { v.Type, v.Text = Text, text }

func putUint(v *Value, n uint64) { v.Type, v.Num = Uint, n }

func decodeConnect(ev *Event, p []byte) {
	port := uint64(binary.BigEndian.Uint16(p[2:]))
	switch ev.Fields[SockConnectFamily].Num {
	case afInet:
		putText(&ev.Fields[SockConnectAddr], netip.AddrFrom4([4]byte(p[4:8])).AppendTo(nil))
		putUint(&ev.Fields[SockConnectPort], port)
	case afInet6:
		putText(&ev.Fields[SockConnectAddr], netip.AddrFrom16([16]byte(p[4:20])).AppendTo(nil))
		putUint(&ev.Fields[SockConnectPort], port)
	}
}

func encodeConnect(ev *Event, p []byte) {
	binary.BigEndian.PutUint16(p[2:], uint16(ev.Fields[SockConnectPort].Num))
	if a, err := netip.ParseAddr(string(ev.Fields[SockConnectAddr].Text)); err == nil {
		copy(p[4:20], a.AsSlice())
	}
}

// dnsCapture is how much of a question vivarium captures, bytes.
const dnsCapture = 64

func decodeDNS(ev *Event, p []byte) {
	name, rest, err := AppendDNSName(nil, p)
	if len(name) == 0 {
		return
	}
	putText(&ev.Fields[DNSReqQName], bytes.TrimRight(name, "\x00")) // what was not captured of its last label
	if end := PayloadSize - len(rest); err == nil && end+4 <= dnsCapture && binary.BigEndian.Uint16(rest[2:]) != 0 {
		putText(&ev.Fields[DNSReqQType], AppendQType(nil, binary.BigEndian.Uint16(rest)))
	}
}

func encodeDNS(ev *Event, p []byte) {
	name := ev.Fields[DNSReqQName].Text
	for len(name) > 0 && len(p) > 1 {
		label, rest, _ := bytes.Cut(name, []byte{'.'})
		if len(label) == 0 || len(label) > 63 {
			return
		}
		p[0] = byte(len(label))
		n := copy(p[1:], label)
		p, name = p[1+n:], rest
	}
	qtype := ParseQType(ev.Fields[DNSReqQType].Text)
	if qtype != 0 && len(p) >= 5 {
		binary.BigEndian.PutUint16(p[1:], qtype)
		p[4] = 1 // class IN
	}
}

// A fork's payload has the child's id (that of its first thread) at 0 and its
// span id at 8; what vivarium shows as child_tid, at 4, its kernel side leaves
// 0. A payload that is written here has the child's thread id there, and
// behind the span id the process id, which vivarium does not look at.
const forkPID = 16

func decodeFork(ev *Event, p []byte) {
	id := uint64(binary.LittleEndian.Uint32(p))
	pid := uint64(binary.LittleEndian.Uint32(p[forkPID:]))
	if pid == 0 || uint64(binary.LittleEndian.Uint32(p[4:])) != id {
		pid = id // a later record may tell that it is a thread
	}
	putUint(&ev.Fields[ProcForkChildPID], pid)
	putUint(&ev.Fields[ProcForkChildTID], id)
}

func encodeFork(ev *Event, p []byte) {
	tid := uint32(ev.Fields[ProcForkChildTID].Num)
	if tid == 0 {
		tid = uint32(ev.Fields[ProcForkChildPID].Num)
	}
	binary.LittleEndian.PutUint32(p, tid)
	binary.LittleEndian.PutUint32(p[4:], tid)
	binary.LittleEndian.PutUint32(p[forkPID:], uint32(ev.Fields[ProcForkChildPID].Num))
}

// An exec's payload has room for the file and three arguments. Empty arguments
// behind the last one that is not are not told from none.
const execSlot, execArgs = 64, 3

func decodeExec(ev *Event, p []byte) {
	n := execArgs
	for n > 0 && p[n*execSlot] == 0 {
		n--
	}
	v := &ev.Fields[ProcExecArgv]
	v.Type, v.List = List, v.List[:0]
	for i := 1; i <= n; i++ {
		v.List = append(v.List, cString(p[i*execSlot:(i+1)*execSlot]))
	}
}

func encodeExec(ev *Event, p []byte) {
	for i, arg := range ev.Fields[ProcExecArgv].List {
		if i == execArgs {
			break
		}
		copy(p[(i+1)*execSlot:(i+2)*execSlot], cString(arg))
	}
}

// A removal's payload has the file's name and its directory's, not the path.
func decodeUnlink(ev *Event, p []byte) {
	path := cString(p[:128])
	if dir := cString(p[128:]); len(dir) > 0 {
		path = bytes.Join([][]byte{dir, path}, []byte{'/'})
	}
	putText(&ev.Fields[FileUnlinkPath], path)
}

func encodeUnlink(ev *Event, p []byte) {
	dir, name := []byte(nil), ev.Fields[FileUnlinkPath].Text
	if i := bytes.LastIndexByte(name, '/'); i >= 0 {
		dir, name = Basename(name[:i]), name[i+1:]
	}
	copy(p[:128], name)
	copy(p[128:], dir)
}

func decodeTLS(ev *Event, p []byte) {
	n := min(binary.LittleEndian.Uint32(p[4:]), tlsCapture)
	putUint(&ev.Fields[SSLWriteCaptured], uint64(n))
	putText(&ev.Fields[SSLWriteData], p[tlsHeader:tlsHeader+n])
}

func encodeTLS(ev *Event, p []byte) {
	binary.LittleEndian.PutUint32(p[4:], uint32(copy(p[tlsHeader:], ev.Fields[SSLWriteData].Text)))
}

// An environment event never carries a value: putenv's argument is cut at its
// first "=". A function without a variable has no key.
func decodeEnv(ev *Event, p []byte) {
	key := &ev.Fields[EnvCaccessKey]
	if len(key.Text) == 0 {
		*key = Value{}
		return
	}
	if string(ev.Fields[EnvCaccessOp].Text) == "putenv" {
		key.Text, _, _ = bytes.Cut(key.Text, []byte{'='})
	}
}

// Captures know no other source of spans than USDT probes.
func decodeSpan(ev *Event, _ []byte) { putText(&ev.Fields[SpanSource], sourceUSDT) }

func decodeRaise(ev *Event, _ []byte) { putText(&ev.Fields[SpanRaiseSource], sourceUSDT) }

var sourceUSDT = []byte("usdt")
