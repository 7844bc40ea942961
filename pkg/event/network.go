package event

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"
)

// Fields of the events of the network.
const (
	SockConnectFamily = iota
	SockConnectAddr
	SockConnectPort
	SockConnectPath
)
const (
	OddSocketFamily = iota
	OddSocketType
	OddSocketProtocol
)
const (
	DNSReqQName = iota
	DNSReqQType
	DNSReqAddr
)

var network = []Kind{
	{ID: SockConnect, Name: "sock_connect", Label: "LSM", Doc: "A socket was connected.", Fields: []Field{
		SockConnectFamily: {"family", Uint, Num0, "address family (AF_*)", 2},
		SockConnectAddr:   {"addr", Text, Addr0, "IP address in text form; absent for other families", "192.0.2.7"},
		SockConnectPort:   {"port", Uint, Num1, "port; absent for families without one", 443},
		SockConnectPath:   {"path", Text, Text1, "AF_UNIX: the socket's path, an abstract name with a leading @", nil},
	}, text: textConnect, extra: []extra{{field: SockConnectPath, show: showQuoted}}, derive: deriveConnect},
	{ID: OddSocket, Name: "odd_socket", Label: "LSM", Doc: "A socket that is not a plain TCP or UDP one was made.", Fields: []Field{
		OddSocketFamily:   {"family", Uint, Num0, "address family (AF_*)", 2},
		OddSocketType:     {"socktype", Uint, Num1, "socket type (SOCK_*) without its flags", 3},
		OddSocketProtocol: {"protocol", Uint, Num2, "protocol number", 1},
	}, text: textSocket},
	{ID: DNSReq, Name: "dns_req", Label: "TP", Doc: "A DNS question was sent to port 53.", Fields: []Field{
		DNSReqQName: {"qname", Text, Derived, "the name asked for, without the final dot", "www.example.org"},
		DNSReqQType: {"qtype", Text, Derived, "the question's type (A, AAAA, ...; TYPEn)", "AAAA"},
		DNSReqAddr:  {"addr", Text, Addr1, "the server's IP address", "192.0.2.7"},
	}, text: textDNS, extra: []extra{{field: DNSReqQType}, {field: DNSReqAddr}}, derive: deriveDNS},
}

// The address families (AF_*) whose events have an IP address.
const (
	FamilyInet  = 2
	FamilyInet6 = 10
)

func textConnect(b []byte, ev *Event) []byte {
	family, addr, port := ev.Fields[SockConnectFamily].Num, ev.Fields[SockConnectAddr].Text, ev.Fields[SockConnectPort].Num
	switch {
	case family == FamilyInet && len(addr) > 0:
		b = append(ev.unquoted(b, addr), ':')
		b = strconv.AppendUint(b, port, 10)
		return append(b, " (AF_INET)"...)
	case family == FamilyInet6 && len(addr) > 0:
		b = append(b, '[')
		if a, err := netip.ParseAddr(unsafe.String(&addr[0], len(addr))); err == nil && a.Zone() == "" {
			if a.Is4In6() && !ev.isCaptured() {
				b = append(b, "::ffff:"...) // IPv4-mapped addresses always look like this
				b = a.Unmap().AppendTo(b)
				b = strconv.AppendUint(append(b, "]:"...), port, 10)
				return append(b, " (AF_INET6)"...)
			}
			// The string lives no longer than the call, and spares an allocation per event.
			g := a.As16()
			b = appendGroups(b, g[:])
		} else {
			b = ev.unquoted(b, addr)
		}
		b = strconv.AppendUint(append(b, "]:"...), port, 10)
		return append(b, " (AF_INET6)"...)
	}
	b = AppendFamily(append(b, "family="...), family)
	return strconv.AppendUint(append(b, " port="...), port, 10)
}

// AppendFamily appends an address family (AF_*) as its number and name.
func AppendFamily(b []byte, family uint64) []byte {
	return appendNamed(b, "", family, families[family])
}

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

// deriveConnect converts a sun_path to text: an abstract name (unix(7)) gets a leading @,
// and a path ends before its NUL.
func deriveConnect(ev *Event, _ *Raw) {
	path := &ev.Fields[SockConnectPath]
	switch {
	case len(path.Text) == 0:
	case path.Text[0] == 0:
		path.Text[0] = '@'
	default:
		path.Text = CString(path.Text)
	}
}

func textSocket(b []byte, ev *Event) []byte {
	f, t, p := ev.Fields[OddSocketFamily].Num, ev.Fields[OddSocketType].Num, ev.Fields[OddSocketProtocol].Num
	b = appendNamed(b, "family=", f, families[f])
	b = appendNamed(b, " type=", t, sockTypes[t])
	return appendNamed(b, " protocol=", p, protocols[p])
}

func textDNS(b []byte, ev *Event) []byte {
	if name := ev.Fields[DNSReqQName].Text; len(name) > 0 {
		return ev.folded(b, name)
	}
	return append(b, '.')
}
