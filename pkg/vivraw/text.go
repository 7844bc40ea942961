package vivraw

import (
	"encoding/binary"
	"strconv"

	"vivarium/pkg/event"
)

// AppendText appends the text that vivarium prints for an event of a capture. It reads
// the payload if the text depends on bytes that belong to no field. The text is as safe
// for a terminal as that of event.AppendText, which it uses for an event without a
// payload.
func AppendText(b []byte, ev *event.Event) []byte {
	p := ev.Origin
	if len(p) != PayloadSize {
		return event.AppendText(b, ev)
	}
	if ev.Kind == nil {
		return event.AppendQuote(b, event.CString(p))
	}
	switch ev.Kind.ID {
	case event.SockConnect:
		if len(ev.Fields[event.SockConnectAddr].Text) == 0 {
			b = event.AppendFamily(append(b, "family="...), ev.Fields[event.SockConnectFamily].Num)
			return strconv.AppendUint(append(b, " port="...), uint64(binary.BigEndian.Uint16(p[2:])), 10)
		}
	case event.DNSReq:
		if len(ev.Fields[event.DNSReqQName].Text) == 0 {
			return event.AppendQuote(b, p)
		}
	case event.ProcFork:
		b = strconv.AppendUint(append(b, "child_pid="...), uint64(le.Uint32(p)), 10)
		return strconv.AppendUint(append(b, " child_tid="...), uint64(le.Uint32(p[4:])), 10)
	case event.ProcExec:
		if len(ev.Fields[event.ProcExecPath].Text) == 0 && len(ev.Fields[event.ProcExecArgv].List) == 0 {
			return event.AppendQuote(b, p)
		}
	case event.FileUnlink:
		b = event.AppendQuote(append(b, "filename="...), event.CString(p[:unlinkDir]))
		if dir := event.CString(p[unlinkDir:]); len(dir) > 0 {
			b = event.AppendQuote(append(b, " parent_dir="...), dir)
		}
		return b
	case event.EnvCaccess:
		if len(ev.Fields[event.EnvCaccessOp].Text) == 0 {
			return event.AppendQuote(b, p)
		}
	}
	return event.AppendBaseText(b, ev)
}
