package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
)

// The errors of AppendDNSName.
var (
	ErrNameCut     = errors.New("the DNS name extends beyond the end of the message")
	ErrNameInvalid = errors.New("the DNS name is compressed or has a label of more than 63 bytes")
)

// AppendDNSName appends the name at the beginning of a DNS question to b, with dots
// between its labels and none at the end, and returns the bytes after the name. If the
// name is invalid (ErrNameInvalid) or incomplete (ErrNameCut), it appends the labels
// before the error and returns no rest.
func AppendDNSName(b, question []byte) (_, rest []byte, err error) {
	at := len(b)
	for len(question) > 0 {
		n := int(question[0])
		switch {
		case n == 0:
			return b, question[1:], nil
		case n > 63:
			return b, nil, ErrNameInvalid
		case n >= len(question):
			return b, nil, ErrNameCut
		}
		if len(b) > at {
			b = append(b, '.')
		}
		b = append(b, question[1:1+n]...)
		question = question[1+n:]
	}
	return b, nil, ErrNameCut
}

const (
	dnsHeader = 12  // bytes, RFC 1035 section 4.1.1
	dnsMax    = 512 // bytes of a message that a record holds: DNS_MAX in bpf/hooks/net.h

	sockStream = 1 // SOCK_STREAM
)

// deriveDNS sets qname and qtype from the sent message: text 0 of a record; number 0 is
// the type of the socket. If the message is not a question, or is cut, they stay absent:
// data to port 53 is worth reporting anyway. ev stays truncated only if the question is
// incomplete.
func deriveDNS(ev *Event, raw *Raw) {
	msg := raw.Text[0]
	if len(msg) == 0 {
		return
	}
	cut := ev.Truncated
	ev.Truncated = false
	if raw.Num[0] == sockStream {
		msg = streamMessage(msg)
	}
	if len(msg) < dnsHeader || msg[2]&0x80 != 0 || binary.BigEndian.Uint16(msg[4:]) == 0 {
		return
	}
	at := len(raw.Buf)
	name, rest, err := AppendDNSName(raw.Buf, msg[dnsHeader:])
	if err != nil {
		ev.Truncated = cut && err == ErrNameCut
		return
	}
	if len(name) == at {
		name = append(name, '.') // the root
	}
	raw.Buf = name
	ev.setText(DNSReqQName, raw.since(at))
	if len(rest) < 2 {
		ev.Truncated = cut
		return
	}
	at = len(raw.Buf)
	raw.Buf = AppendQType(raw.Buf, binary.BigEndian.Uint16(rest))
	ev.setText(DNSReqQType, raw.since(at))
}

// streamMessage returns the DNS message in data that was written to a TCP connection;
// nil: there is none. A message is preceded by its length, which may have been written
// before, and the data can be any part of a message.
func streamMessage(b []byte) []byte {
	size := -1
	if len(b) >= 2 {
		size = int(binary.BigEndian.Uint16(b))
	}
	switch {
	case size != len(b)-2 && startsQuestion(b):
		return b
	case size >= 0 && (size <= len(b)-2 || len(b) == dnsMax) && startsQuestion(b[2:]):
		return b[2:]
	}
	return nil
}

// startsQuestion reports whether msg can be the beginning of a question: a standard query
// for one name, with nothing else except options and a signature at its end.
func startsQuestion(msg []byte) bool {
	return len(msg) >= dnsHeader && msg[2]&0xf8 == 0 && msg[3]&0x4f == 0 &&
		string(msg[4:11]) == "\x00\x01\x00\x00\x00\x00\x00" && msg[11] <= 2
}

// qtypes has the names of the DNS types in IANA's registry "Resource Record (RR) TYPEs",
// except 255, which it calls *.
var qtypes = map[uint16]string{
	1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL", 11: "WKS",
	12: "PTR", 13: "HINFO", 14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 19: "X25", 20: "ISDN", 21: "RT",
	22: "NSAP", 23: "NSAP-PTR", 24: "SIG", 25: "KEY", 26: "PX", 27: "GPOS", 28: "AAAA", 29: "LOC", 30: "NXT",
	31: "EID", 32: "NIMLOC", 33: "SRV", 34: "ATMA", 35: "NAPTR", 36: "KX", 37: "CERT", 38: "A6", 39: "DNAME",
	40: "SINK", 41: "OPT", 42: "APL", 43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY",
	49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 56: "NINFO", 57: "RKEY",
	58: "TALINK", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB", 65: "HTTPS",
	66: "DSYNC", 67: "HHIT", 68: "BRID", 99: "SPF", 100: "UINFO", 101: "UID", 102: "GID", 103: "UNSPEC", 104: "NID",
	105: "L32", 106: "L64", 107: "LP", 108: "EUI48", 109: "EUI64", 128: "NXNAME", 249: "TKEY", 250: "TSIG",
	251: "IXFR", 252: "AXFR", 253: "MAILB", 254: "MAILA", 255: "ANY", 256: "URI", 257: "CAA", 258: "AVC", 259: "DOA",
	260: "AMTRELAY", 261: "RESINFO", 262: "WALLET", 263: "CLA", 264: "IPN", 32768: "TA", 32769: "DLV",
}

var qtypeNumbers = func() map[string]uint16 {
	m := make(map[string]uint16, len(qtypes))
	for n, s := range qtypes {
		m[s] = n
	}
	return m
}()

// AppendQType appends the name of a DNS type: A, AAAA, ..., or TYPEn (RFC 3597) for one
// without a name.
func AppendQType(b []byte, t uint16) []byte {
	if s := qtypes[t]; s != "" {
		return append(b, s...)
	}
	return strconv.AppendUint(append(b, "TYPE"...), uint64(t), 10)
}

// ParseQType is the reverse of AppendQType. It returns 0 if the text is not a type.
func ParseQType(text []byte) uint16 {
	if t, ok := qtypeNumbers[string(text)]; ok {
		return t
	}
	digits, ok := bytes.CutPrefix(text, []byte("TYPE"))
	if !ok {
		return 0
	}
	t, err := strconv.ParseUint(string(digits), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(t)
}
