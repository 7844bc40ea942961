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

// Import fills ev's own fields from the payload of a vivarium-raw record,
// which they alias where they can. Fields that a payload does not have stay
// as they are; a payload of another size than PayloadSize is left alone. The
// summary of an ssl_write is the TLSDecoder's business.
func (k *Kind) Import(ev *Event, payload []byte) {
	if k == nil || len(payload) != PayloadSize {
		return
	}
	for _, s := range k.slots {
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
	if k.decode != nil {
		k.decode(ev, payload)
	}
	ev.Derive()
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
	for _, s := range k.slots {
		v, f := ev.Fields[s.field], payload[s.at:s.at+s.size]
		if v.Type == Text {
			copy(f, v.Text)
			continue
		}
		for i := range f {
			f[i] = byte(v.Num >> (8 * i))
		}
	}
	if k.encode != nil {
		k.encode(ev, payload)
	}
}

// Derive fills the fields that are names of numbers: sig_name, cap_name and
// id_name. A number without a name leaves its field absent.
func (ev *Event) Derive() {
	switch ev.Kind {
	case &Kinds[TaskKill]:
		ev.setName(1, SignalName(int64(ev.Fields[0].Num)))
	case &Kinds[CapableCheck]:
		ev.setName(1, CapName(ev.Fields[0].Num))
	case &Kinds[KernelReadFile]:
		if id := ev.Fields[0].Num; id < uint64(len(readIDs)) {
			ev.setName(3, readIDs[id])
		}
	}
}

func (ev *Event) setName(field int, name string) {
	if name == "" {
		return
	}
	v := &ev.Fields[field]
	v.Type, v.Text = Text, append(v.Text[:0:0], name...)
}

// cString returns s up to its first NUL.
func cString(s []byte) []byte {
	if i := bytes.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}

func (ev *Event) setText(field int, s []byte) { ev.Fields[field].Type, ev.Fields[field].Text = Text, s }

func (ev *Event) setUint(field int, n uint64) { ev.Fields[field].Type, ev.Fields[field].Num = Uint, n }

func decodeConnect(ev *Event, p []byte) {
	port := uint64(binary.BigEndian.Uint16(p[2:]))
	switch ev.Fields[0].Num {
	case afInet:
		ev.setText(1, netip.AddrFrom4([4]byte(p[4:8])).AppendTo(nil))
		ev.setUint(2, port)
	case afInet6:
		ev.setText(1, netip.AddrFrom16([16]byte(p[4:20])).AppendTo(nil))
		ev.setUint(2, port)
	}
}

func encodeConnect(ev *Event, p []byte) {
	binary.BigEndian.PutUint16(p[2:], uint16(ev.Fields[2].Num))
	if a, err := netip.ParseAddr(string(ev.Fields[1].Text)); err == nil {
		copy(p[4:20], a.AsSlice())
	}
}

// DNSName reads the name at the start of a DNS question and returns it with
// dots between its labels and none at the end, and what follows it: nil if the
// name runs past the end, is compressed or has a label over 63 bytes. The name
// is appended to b.
func DNSName(b, question []byte) (name, rest []byte) {
	at := len(b)
	for len(question) > 0 {
		n := int(question[0])
		if n == 0 {
			return b, question[1:]
		}
		if n > 63 || n >= len(question) {
			return b, nil
		}
		if len(b) > at {
			b = append(b, '.')
		}
		b = append(b, question[1:1+n]...)
		question = question[1+n:]
	}
	return b, nil
}

// dnsCapture is how much of a question vivarium captures, bytes.
const dnsCapture = 64

func decodeDNS(ev *Event, p []byte) {
	name, rest := DNSName(nil, p)
	if len(name) == 0 {
		return
	}
	ev.setText(0, bytes.TrimRight(name, "\x00")) // what was not captured of its last label
	if end := PayloadSize - len(rest); rest != nil && end+4 <= dnsCapture && binary.BigEndian.Uint16(rest[2:]) != 0 {
		ev.setText(1, AppendQType(nil, binary.BigEndian.Uint16(rest)))
	}
}

func encodeDNS(ev *Event, p []byte) {
	name := ev.Fields[0].Text
	for len(name) > 0 && len(p) > 1 {
		label, rest, _ := bytes.Cut(name, []byte{'.'})
		if len(label) == 0 || len(label) > 63 {
			return
		}
		p[0] = byte(len(label))
		n := copy(p[1:], label)
		p, name = p[1+n:], rest
	}
	qtype := qtypeNumbers[string(ev.Fields[1].Text)]
	if t := ev.Fields[1].Text; qtype == 0 && bytes.HasPrefix(t, []byte("TYPE")) {
		for _, c := range t[4:] {
			qtype = qtype*10 + uint16(c-'0')
		}
	}
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
	ev.setUint(0, pid)
	ev.setUint(1, id)
}

func encodeFork(ev *Event, p []byte) {
	tid := uint32(ev.Fields[1].Num)
	if tid == 0 {
		tid = uint32(ev.Fields[0].Num)
	}
	binary.LittleEndian.PutUint32(p, tid)
	binary.LittleEndian.PutUint32(p[4:], tid)
	binary.LittleEndian.PutUint32(p[forkPID:], uint32(ev.Fields[0].Num))
}

// An exec's payload has room for the file and three arguments. Empty arguments
// behind the last one that is not are not told from none.
const execSlot, execArgs = 64, 3

func decodeExec(ev *Event, p []byte) {
	n := execArgs
	for n > 0 && p[n*execSlot] == 0 {
		n--
	}
	v := &ev.Fields[1]
	v.Type, v.List = List, v.List[:0]
	for i := 1; i <= n; i++ {
		v.List = append(v.List, cString(p[i*execSlot:(i+1)*execSlot]))
	}
}

func encodeExec(ev *Event, p []byte) {
	for i, arg := range ev.Fields[1].List {
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
	ev.setText(0, path)
}

func encodeUnlink(ev *Event, p []byte) {
	dir, name := []byte(nil), ev.Fields[0].Text
	if i := bytes.LastIndexByte(name, '/'); i >= 0 {
		dir, name = Basename(name[:i]), name[i+1:]
	}
	copy(p[:128], name)
	copy(p[128:], dir)
}

func decodeTLS(ev *Event, p []byte) {
	n := min(binary.LittleEndian.Uint32(p[4:]), tlsCapture)
	ev.setUint(1, uint64(n))
	ev.setText(4, p[tlsHeader:tlsHeader+n])
}

func encodeTLS(ev *Event, p []byte) {
	binary.LittleEndian.PutUint32(p[4:], uint32(copy(p[tlsHeader:], ev.Fields[4].Text)))
}

// An environment event never carries a value: putenv's argument is cut at its
// first "=". A function without a variable has no key.
func decodeEnv(ev *Event, p []byte) {
	key := &ev.Fields[1]
	if len(key.Text) == 0 {
		*key = Value{}
		return
	}
	if string(ev.Fields[0].Text) == "putenv" {
		key.Text, _, _ = bytes.Cut(key.Text, []byte{'='})
	}
}

// Captures know no other source of spans than USDT probes.
func decodeSpan(ev *Event, _ []byte) {
	source := len(ev.Kind.Fields) - 1
	ev.setText(source, []byte("usdt"))
}
