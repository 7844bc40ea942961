package event

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"
)

// Fields of the events of the network.
const (
	SockConnectFamily = iota
	SockConnectAddr
	SockConnectPort
	SockConnectPath
	SockConnectProto
	SockConnectPending
	SockConnectSock
)
const (
	SockOutcomeAddr = iota
	SockOutcomePort
	SockOutcomeAfter
	SockOutcomeSock
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
		SockConnectFamily:  {"family", Uint, Num0, "address family (AF_*)", 2},
		SockConnectAddr:    {"addr", Text, Addr0, "IP address in text form; absent for other families", "192.0.2.7"},
		SockConnectPort:    {"port", Uint, Num1, "port; absent for families without one", 443},
		SockConnectPath:    {"path", Text, Text1, "AF_UNIX: the socket's whole path, an abstract name with a leading @", nil},
		SockConnectProto:   {"proto", Text, Derived, "what the socket speaks (tcp, udp, unix, ...)", "tcp"},
		SockConnectPending: {"pending", Bool, Derived, "the call does not wait for the connection: what becomes of it is not known yet", nil},
		SockConnectSock:    {"sock", Uint, Num3, "the kernel's cookie of the socket, the same in its sock_outcome", 4097},
	}, text: textConnect, extra: []extra{
		{field: SockConnectPath, show: showQuoted}, {field: SockConnectProto}, {field: SockConnectPending},
	}, derive: deriveConnect},
	{ID: SockOutcome, Name: "sock_outcome", Label: "TP", Doc: "A connection that its connect did not wait for was made, or failed.", Fields: []Field{
		SockOutcomeAddr:  {"addr", Text, Addr1, "the peer's IP address", "192.0.2.7"},
		SockOutcomePort:  {"port", Uint, Num1, "the peer's port", 443},
		SockOutcomeAfter: {"after_ns", Uint, Num2, "time since the connection was begun, ns", 1500000},
		SockOutcomeSock:  {"sock", Uint, Num0, "the kernel's cookie of the socket, the same in its sock_connect", 4097},
	}, text: textOutcome, extra: []extra{{field: SockOutcomeAfter}}},
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

const sunPath = 108 // bytes of the kernel's sun_path

func textConnect(b []byte, ev *Event) []byte {
	family, addr, port := ev.Fields[SockConnectFamily].Num, ev.Fields[SockConnectAddr].Text, ev.Fields[SockConnectPort].Num
	switch {
	case family == FamilyInet && len(addr) > 0:
		b = append(ev.unquoted(b, addr), ':')
		b = strconv.AppendUint(b, port, 10)
		return append(b, " (AF_INET)"...)
	case family == FamilyInet6 && len(addr) > 0:
		// The string lives no longer than the call, and spares an allocation per event.
		a, err := netip.ParseAddr(unsafe.String(&addr[0], len(addr)))
		if a.Is4() { // an IPv4 host, by a socket for IPv6
			b = append(ev.unquoted(b, addr), ':')
			b = strconv.AppendUint(b, port, 10)
			return append(b, " (AF_INET6)"...)
		}
		b = append(b, '[')
		if err == nil && a.Zone() == "" {
			if a.Is4In6() && !ev.isCaptured() {
				b = append(b, "::ffff:"...) // IPv4-mapped addresses always look like this
				b = a.Unmap().AppendTo(b)
				b = strconv.AppendUint(append(b, "]:"...), port, 10)
				return append(b, " (AF_INET6)"...)
			}
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

func textOutcome(b []byte, ev *Event) []byte {
	addr := ev.Fields[SockOutcomeAddr].Text
	if bytes.IndexByte(addr, ':') >= 0 {
		b = append(ev.unquoted(append(b, '['), addr), ']')
	} else {
		b = ev.unquoted(b, addr)
	}
	return strconv.AppendUint(append(b, ':'), ev.Fields[SockOutcomePort].Num, 10)
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

// deriveConnect makes a sun_path the text that people know: an abstract name
// with @ in front (unix(7)), of a sun_path that was given whole without the NULs at its
// end; a path without what follows its NUL. A record's
// number 2 is the socket's protocol, and above it 16 bits of its type and its family.
func deriveConnect(ev *Event, raw *Raw) {
	path := &ev.Fields[SockConnectPath]
	switch {
	case len(path.Text) == 0:
	case path.Text[0] == 0:
		path.Text[0] = '@'
		if len(path.Text) == sunPath {
			path.Text = bytes.TrimRight(path.Text, "\x00")
		}
	default:
		path.Text = CString(path.Text)
	}
	if n := raw.Num[2]; n != 0 {
		ev.setName(SockConnectProto, protoName(n>>32, n&0xffff), raw)
	}
	if string(ev.Error) == "EINPROGRESS" {
		ev.Error = nil
		ev.Fields[SockConnectPending] = Value{Type: Bool, Num: 1}
	}
}

// protoName is what a socket of that family and protocol speaks; "": not known.
func protoName(family, protocol uint64) string {
	if family == FamilyInet || family == FamilyInet6 {
		return ipProtos[protocol]
	}
	return familyProtos[family]
}

var (
	ipProtos     = lowerNames(protocols, "IPPROTO_")
	familyProtos = lowerNames(families, "AF_")
)

func lowerNames(names map[uint64]string, prefix string) map[uint64]string {
	lower := make(map[uint64]string, len(names))
	for n, name := range names {
		lower[n] = strings.ToLower(strings.TrimPrefix(name, prefix))
	}
	return lower
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
