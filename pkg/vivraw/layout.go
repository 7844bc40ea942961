package vivraw

import "vivarium/pkg/event"

// slot is the position of a field in a payload: a text of at most size bytes, with a NUL
// if it is shorter, or a little-endian number of 1, 2, 4 or 8 bytes.
type slot struct {
	field, at, size int
}

// layout has the positions of a kind's fields in a payload.
type layout struct {
	slots  []slot
	decode func(ev *event.Event, payload []byte) // reads the fields without a slot, after the slots
	encode func(ev *event.Event, payload []byte) // the reverse
}

// layouts has a row for each kind of event of vivarium. Other kinds cannot be written.
var layouts = [event.NumKinds]*layout{
	event.PathOpen:       {slots: []slot{{event.PathOpenPath, 0, 256}}},
	event.MmapExec:       {slots: []slot{{event.MmapExecPath, 0, 256}}},
	event.Dlopen:         {slots: []slot{{event.DlopenPath, 0, 256}}},
	event.SockConnect:    {slots: []slot{{event.SockConnectFamily, 0, 2}}, decode: decodeConnect, encode: encodeConnect},
	event.OddSocket:      {slots: []slot{{event.OddSocketFamily, 0, 2}, {event.OddSocketType, 2, 2}, {event.OddSocketProtocol, 4, 2}}},
	event.DNSReq:         {decode: decodeDNS, encode: encodeDNS},
	event.ProcFork:       {slots: []slot{{event.ProcForkChildSpanID, 8, 8}}, decode: decodeFork, encode: encodeFork},
	event.ProcExec:       {slots: []slot{{event.ProcExecPath, 0, 64}}, decode: decodeExec, encode: encodeExec},
	event.ProcExit:       {},
	event.PtraceCheck:    {slots: []slot{{event.PtraceCheckMode, 0, 4}}},
	event.SbMount:        {slots: []slot{{event.SbMountFlags, 0, 8}, {event.SbMountDev, 8, 120}, {event.SbMountFstype, 128, 120}}},
	event.KernelReadFile: {slots: []slot{{event.KernelReadFileID, 0, 4}, {event.KernelReadFileContents, 4, 4}}},
	event.TaskKill:       {slots: []slot{{event.TaskKillSig, 0, 4}}},
	event.SetidChange:    {slots: []slot{{event.SetidChangeFlags, 0, 4}}},
	event.CapableCheck:   {slots: []slot{{event.CapableCheckCap, 0, 4}, {event.CapableCheckOpts, 4, 4}}},
	event.BprmCreds:      {slots: []slot{{event.BprmCredsHasFile, 0, 1}, {event.BprmCredsPath, 1, 255}}},
	event.FileSymlink:    {slots: []slot{{event.FileSymlinkTarget, 0, 128}, {event.FileSymlinkPath, 128, 128}}},
	event.FileHardlink:   {slots: []slot{{event.FileHardlinkOldPath, 0, 128}, {event.FileHardlinkPath, 128, 128}}},
	event.FileRename:     {slots: []slot{{event.FileRenameOldPath, 0, 128}, {event.FileRenamePath, 128, 128}}},
	event.FileUnlink:     {decode: decodeUnlink, encode: encodeUnlink},
	event.FileChmod:      {slots: []slot{{event.FileChmodMode, 0, 2}, {event.FileChmodPath, 2, 254}}},
	event.FileGetdents:   {slots: []slot{{event.FileGetdentsFD, 0, 4}, {event.FileGetdentsCount, 4, 4}}},
	event.SSLWrite:       {slots: []slot{{event.SSLWriteLen, 0, 4}}, decode: decodeTLS, encode: encodeTLS},
	event.EnvCaccess:     {slots: []slot{{event.EnvCaccessOp, 0, 16}, {event.EnvCaccessKey, 16, 240}}, decode: decodeEnv},
	event.SpanStart:      {slots: spanSlots, decode: decodeSpan},
	event.SpanStop:       {slots: spanSlots, decode: decodeSpan},
	event.SpanRaise: {slots: []slot{{event.SpanRaiseError, 0, 80}, {event.SpanRaiseMessage, 80, 80}, {event.SpanRaiseFile, 160, 80}, {event.SpanRaiseLine, 240, 8}},
		decode: decodeRaise},
}

var spanSlots = []slot{{event.SpanName, 0, 128}, {event.SpanFile, 128, 120}, {event.SpanLine, 248, 8}}

// layoutOf returns the layout of a kind; nil if it has none or k is nil.
func layoutOf(k *event.Kind) *layout {
	if k == nil {
		return nil
	}
	return layouts[k.ID]
}

// read sets the fields of ev from a payload, which they may alias. Fields that a payload
// does not have stay unchanged. Event.Derive computes the derived fields, and
// httpsummary.Decoder the summary of an ssl_write.
func (l *layout) read(ev *event.Event, payload []byte) {
	for _, s := range l.slots {
		v, f := &ev.Fields[s.field], payload[s.at:s.at+s.size]
		*v = event.Value{Type: ev.Kind.Fields[s.field].Type, List: v.List}
		if v.Type == event.Text {
			v.Text = event.CString(f)
			continue
		}
		switch s.size {
		case 1:
			v.Num = uint64(f[0])
		case 2:
			v.Num = uint64(le.Uint16(f))
		case 4:
			v.Num = uint64(le.Uint32(f))
			if v.Type == event.Int {
				v.Num = uint64(int64(int32(v.Num)))
			}
		case 8:
			v.Num = le.Uint64(f)
		}
	}
	if l.decode != nil {
		l.decode(ev, payload)
	}
}

// write writes the fields of ev that a payload can hold. Texts that do not fit are cut.
// payload must be zero.
func (l *layout) write(ev *event.Event, payload []byte) {
	for _, s := range l.slots {
		v, f := ev.Fields[s.field], payload[s.at:s.at+s.size]
		if v.Type == event.Text {
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
