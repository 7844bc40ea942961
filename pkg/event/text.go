package event

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"
)

const hexLower = "0123456789abcdef"

// AppendText appends what ev says, as viv-tree shows it behind the arrow: for
// an event of a vivarium-raw capture what vivarium itself prints; for a live
// one the same from its typed fields, then the fields that vivarium does not
// have as ` key=value` in catalogue order, then ` outcome=unknown`,
// ` truncated=true` and ` error=E` where they apply. The text is harmless on a
// terminal whatever the event holds, and empty for an unknown event without a
// payload.
func AppendText(b []byte, ev *Event) []byte {
	at := len(b)
	k, raw := ev.Kind, len(ev.Origin) == PayloadSize
	switch {
	case k != nil:
		b = k.text(b, ev)
	case raw:
		b = AppendQuote(b, cString(ev.Origin))
	}
	if raw {
		return b
	}
	if k != nil {
		for _, x := range k.extra {
			v := ev.Fields[x.field]
			if v.Type == None || x.cut && !ev.Truncated {
				continue
			}
			b = append(appendKey(b, at, k.Fields[x.field].Name), '=')
			if x.show != nil {
				b = x.show(b, v)
			} else {
				b = appendValue(b, v)
			}
		}
	}
	if ev.OutcomeUnknown {
		b = append(appendKey(b, at, "outcome"), "=unknown"...)
	}
	if ev.Truncated {
		b = append(appendKey(b, at, "truncated"), "=true"...)
	}
	if len(ev.Error) > 0 {
		b = appendWord(append(appendKey(b, at, "error"), '='), ev.Error)
	}
	return b
}

// extra is a field that vivarium's text does not have.
type extra struct {
	field int                            // index in Kind.Fields
	show  func(b []byte, v Value) []byte // nil: by the value's type
	cut   bool                           // shown only when a value was cut
}

func appendKey(b []byte, at int, name string) []byte {
	if len(b) > at {
		b = append(b, ' ')
	}
	return append(b, name...)
}

func appendValue(b []byte, v Value) []byte {
	switch v.Type {
	case Uint:
		return strconv.AppendUint(b, v.Num, 10)
	case Int:
		return strconv.AppendInt(b, int64(v.Num), 10)
	case Bool:
		return strconv.AppendBool(b, v.Num != 0)
	case Text:
		return appendWord(b, v.Text)
	case List:
		return appendList(b, v.List)
	}
	return b
}

func appendList(b []byte, list [][]byte) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = AppendQuote(b, s)
	}
	return append(b, ']')
}

func showQuoted(b []byte, v Value) []byte { return AppendQuote(b, v.Text) }

func showSpanID(b []byte, v Value) []byte {
	for i := 60; i >= 0; i -= 4 {
		b = append(b, hexLower[v.Num>>i&15])
	}
	return b
}

// The texts, one function per kind or for several alike. A field's index is its
// place in the catalogue.

func (ev *Event) quote(b []byte, key string, field int) []byte {
	return AppendQuote(append(b, key...), ev.Fields[field].Text)
}

func (ev *Event) dec(b []byte, key string, field int) []byte {
	return strconv.AppendUint(append(b, key...), ev.Fields[field].Num, 10)
}

func (ev *Event) hex(b []byte, key string, field int) []byte {
	return appendHex(append(append(b, key...), "0x"...), ev.Fields[field].Num, hexLower)
}

// dump shows a payload that cannot be read as its kind's.
func dump(b []byte, ev *Event) []byte { return AppendQuote(b, ev.Origin) }

func textPath(b []byte, ev *Event) []byte { return ev.quote(b, "", 0) }

func textConnect(b []byte, ev *Event) []byte {
	family, addr, port := ev.Fields[0].Num, ev.Fields[1].Text, ev.Fields[2].Num
	if len(ev.Origin) == PayloadSize {
		port = uint64(binary.BigEndian.Uint16(ev.Origin[2:]))
	}
	switch {
	case family == afInet && len(addr) > 0:
		b = append(AppendSafe(b, addr), ':')
		b = strconv.AppendUint(b, port, 10)
		return append(b, " (AF_INET)"...)
	case family == afInet6 && len(addr) > 0:
		b = append(b, '[')
		if len(ev.Origin) == PayloadSize {
			b = appendGroups(b, ev.Origin[4:20])
		} else if a, err := netip.ParseAddr(unsafe.String(&addr[0], len(addr))); err == nil && a.Zone() == "" {
			// The string lives no longer than the call, and spares an allocation per event.
			g := a.As16()
			b = appendGroups(b, g[:])
		} else {
			b = AppendSafe(b, addr)
		}
		b = strconv.AppendUint(append(b, "]:"...), port, 10)
		return append(b, " (AF_INET6)"...)
	}
	b = appendNamed(b, "family=", family, families[family])
	return strconv.AppendUint(append(b, " port="...), port, 10)
}

const (
	afInet  = 2
	afInet6 = 10
)

// appendGroups appends an IPv6 address as eight groups, never shortened.
func appendGroups(b, addr []byte) []byte {
	for i := 0; i < 16; i += 2 {
		if i > 0 {
			b = append(b, ':')
		}
		b = appendHex(b, uint64(binary.BigEndian.Uint16(addr[i:])), hexLower)
	}
	return b
}

func appendNamed(b []byte, key string, v uint64, name string) []byte {
	if name == "" {
		name = "UNKNOWN"
	}
	b = strconv.AppendUint(append(b, key...), v, 10)
	b = append(append(b, '('), name...)
	return append(b, ')')
}

func textSocket(b []byte, ev *Event) []byte {
	f, t, p := ev.Fields[0].Num, ev.Fields[1].Num, ev.Fields[2].Num
	b = appendNamed(b, "family=", f, families[f])
	b = appendNamed(b, " type=", t, sockTypes[t])
	return appendNamed(b, " protocol=", p, protocols[p])
}

func textDNS(b []byte, ev *Event) []byte {
	if name := ev.Fields[0].Text; len(name) > 0 {
		return appendFolded(b, name)
	}
	if len(ev.Origin) == PayloadSize {
		return dump(b, ev)
	}
	return append(b, '.')
}

func textFork(b []byte, ev *Event) []byte {
	if p := ev.Origin; len(p) == PayloadSize {
		b = strconv.AppendUint(append(b, "child_pid="...), uint64(binary.LittleEndian.Uint32(p)), 10)
		return strconv.AppendUint(append(b, " child_tid="...), uint64(binary.LittleEndian.Uint32(p[4:])), 10)
	}
	return ev.dec(ev.dec(b, "child_pid=", 0), " child_tid=", 1)
}

func textExec(b []byte, ev *Event) []byte {
	path, argv := ev.Fields[0].Text, ev.Fields[1].List
	if len(path) == 0 && len(argv) == 0 && len(ev.Origin) == PayloadSize {
		return dump(b, ev)
	}
	b = ev.quote(b, "filename=", 0)
	return appendList(append(b, " argv="...), argv)
}

func textExit(b []byte, ev *Event) []byte {
	code, signal := ev.Fields[0], ev.Fields[1]
	switch {
	case signal.Num != 0:
		b = append(b, "signal="...)
		if name := SignalName(int64(signal.Num)); name != "" {
			return append(b, name...)
		}
		return strconv.AppendInt(b, int64(signal.Num), 10)
	case code.Type != None:
		return strconv.AppendInt(append(b, "code="...), int64(code.Num), 10)
	}
	return append(b, '"', '"')
}

func textPtrace(b []byte, ev *Event) []byte { return ev.hex(b, "mode=", 0) }

func textMount(b []byte, ev *Event) []byte {
	return ev.quote(ev.quote(ev.hex(b, "flags=", 0), " dev_name=", 1), " fs_type=", 2)
}

func textReadFile(b []byte, ev *Event) []byte {
	return ev.dec(ev.dec(b, "id=", 0), " contents=", 1)
}

func textKill(b []byte, ev *Event) []byte {
	sig := int64(ev.Fields[0].Num)
	b = strconv.AppendInt(append(b, "sig="...), sig, 10)
	if name := SignalName(sig); name != "" {
		b = append(append(b, " signame="...), name...)
	}
	return b
}

func textSetid(b []byte, ev *Event) []byte {
	b = append(ev.hex(b, "flags=", 0), " kinds=["...)
	at := len(b)
	for i, name := range [...]string{"LSM_SETID_ID", "LSM_SETID_RE", "LSM_SETID_RES", "LSM_SETID_FS"} {
		if ev.Fields[0].Num&(1<<i) != 0 {
			if len(b) > at {
				b = append(b, ", "...)
			}
			b = append(b, name...)
		}
	}
	if len(b) == at {
		b = append(b, "UNKNOWN"...)
	}
	return append(b, ']')
}

func textCapable(b []byte, ev *Event) []byte {
	c := ev.Fields[0].Num
	return ev.hex(appendNamed(b, "cap=", c, CapName(c)), " opts=", 2)
}

func textBprm(b []byte, ev *Event) []byte {
	return ev.quote(ev.dec(b, "has_file=", 0), " file=", 1)
}

func textSymlink(b []byte, ev *Event) []byte {
	return ev.quote(ev.quote(b, "target=", 0), " link_name=", 1)
}

func textHardlink(b []byte, ev *Event) []byte {
	return ev.quote(ev.quote(b, "old_path=", 0), " new_name=", 1)
}

func textRename(b []byte, ev *Event) []byte {
	return ev.quote(ev.quote(b, "old_name=", 0), " new_name=", 1)
}

func textUnlink(b []byte, ev *Event) []byte {
	if p := ev.Origin; len(p) == PayloadSize {
		b = AppendQuote(append(b, "filename="...), cString(p[:128]))
		if dir := cString(p[128:]); len(dir) > 0 {
			b = AppendQuote(append(b, " parent_dir="...), dir)
		}
		return b
	}
	return ev.quote(b, "filename=", 0)
}

func textChmod(b []byte, ev *Event) []byte {
	b = strconv.AppendUint(append(b, "mode=0o"...), ev.Fields[0].Num, 8)
	return ev.quote(b, " path=", 1)
}

func textGetdents(b []byte, ev *Event) []byte {
	return ev.dec(ev.dec(b, "fd=", 0), " count=", 1)
}

func textTLS(b []byte, ev *Event) []byte {
	if s := ev.Fields[2].Text; len(s) > 0 {
		return AppendSafe(b, s)
	}
	if ev.Fields[0].Num == 0 {
		return append(b, "data_len=0"...)
	}
	return append(ev.dec(b, "len=", 0), " <no-capture>"...)
}

func textEnv(b []byte, ev *Event) []byte {
	op, key := ev.Fields[0].Text, ev.Fields[1]
	if len(op) == 0 && len(ev.Origin) == PayloadSize {
		return dump(b, ev)
	}
	b = append(b, "op="...)
	at := len(b)
	b = foldRuns(AppendSafe(b, op), at)
	if n := len(b); n > at && b[n-1] == ' ' {
		b = b[:n-1]
	}
	if key.Type == None {
		return b
	}
	return AppendQuote(append(b, " key="...), key.Text)
}

func textSpan(b []byte, ev *Event) []byte {
	return AppendPlace(AppendSafe(b, ev.Fields[0].Text), ev.Fields[1].Text, int64(ev.Fields[2].Num))
}

func textRaise(b []byte, ev *Event) []byte {
	b = append(b, "error="...)
	if class := ev.Fields[0].Text; len(class) > 0 {
		b = AppendSafe(b, class)
	} else {
		b = append(b, '?')
	}
	if len(ev.Fields[1].Text) > 0 {
		b = ev.quote(b, " message=", 1)
	}
	return AppendPlace(b, ev.Fields[2].Text, int64(ev.Fields[3].Num))
}

// AppendPlace appends ` at=FILE:LINE`, FILE being the file's last part, and
// nothing without a file; a line of 0 or less is not shown.
func AppendPlace(b, file []byte, line int64) []byte {
	if len(file) == 0 {
		return b
	}
	b = AppendSafe(append(b, " at="...), Basename(file))
	if line > 0 {
		b = strconv.AppendInt(append(b, ':'), line, 10)
	}
	return b
}
