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
	dnsHeader = 12 // bytes, RFC 1035 section 4.1.1
	// dnsMost bounds the questions of one record.
	dnsMost = 64

	sockStream = 1 // SOCK_STREAM
)

// dnsQuestions is what is left of a record's questions: of the message msg and, on
// a stream, of those behind it.
type dnsQuestions struct {
	msg    []byte
	at     int    // of the next question in msg
	left   int    // questions in msg
	rest   []byte // of a stream, behind msg
	stream bool
	cut    bool // more was sent than the record holds
	unseen int  // bytes that were sent of a stream, and that the record does not hold
	more   bool // of these some are behind msg
	count  int
}

// deriveDNS fills qname and qtype from what was sent: a record's text 0; its
// number 0 is the socket's type, its number 1 how many bytes were sent, if that is
// known. What is no question, or a cut one, leaves them out: it went to port 53 all
// the same, and that is worth seeing. ev stays truncated only if the question does
// not end in what is there of the message. Raw.NextQuestion has the other questions.
func deriveDNS(ev *Event, raw *Raw) {
	q := &raw.dns
	*q = dnsQuestions{stream: raw.Num[0] == sockStream, cut: ev.Truncated}
	data := raw.Text[0]
	if len(data) == 0 {
		return
	}
	ev.Truncated = false
	if q.stream {
		q.unseen = max(int(raw.Num[1])-len(data), 0)
		q.beginStream(data)
	} else {
		q.begin(data)
	}
	q.read(ev, raw)
}

// NextQuestion makes ev, a dns_req that Derive has completed, the next one of the same
// record. It reports false when there is none.
func (raw *Raw) NextQuestion(ev *Event) bool {
	q := &raw.dns
	ev.Fields[DNSReqQName], ev.Fields[DNSReqQType] = Value{}, Value{}
	ev.Truncated = false
	for q.left == 0 && len(q.rest) > 0 {
		q.beginStream(q.rest)
	}
	if q.left == 0 && q.more || q.left > 0 && q.count == dnsMost {
		*q = dnsQuestions{}
		ev.Truncated = true
		return true
	}
	return q.read(ev, raw) || ev.Truncated
}

func (q *dnsQuestions) begin(msg []byte) {
	q.msg, q.at, q.left = msg, dnsHeader, 0
	if len(msg) >= dnsHeader && msg[2]&0x80 == 0 {
		q.left = int(binary.BigEndian.Uint16(msg[4:]))
	}
}

// beginStream takes up the message in what was written to a TCP connection. A
// message begins there with its length, unless that was written before; and what is
// written may be any part of it.
func (q *dnsQuestions) beginStream(b []byte) {
	size := -1
	if len(b) >= 2 {
		size = int(binary.BigEndian.Uint16(b))
	}
	end := len(b)
	switch {
	case size != len(b)-2 && startsQuestion(b):
		q.begin(b)
		end = q.end()
	case size >= 0 && (size <= len(b)-2 || q.cut) && startsQuestion(b[2:]):
		end = 2 + size
		q.begin(b[2:min(end, len(b))])
	default:
		q.begin(nil)
	}
	q.rest = b[min(end, len(b)):]
	q.more = q.unseen > max(end-len(b), 0)
}

// end is where a message ends whose length is not known.
func (q *dnsQuestions) end() int {
	at := dnsHeader
	for range q.left {
		_, next, err := appendQuestion(nil, q.msg, at)
		if err != nil {
			return len(q.msg)
		}
		at = next + 4
	}
	for range q.msg[11] { // options and a signature: a name, 8 bytes, a length and so many bytes
		_, next, err := appendQuestion(nil, q.msg, at)
		if err != nil || next+10 > len(q.msg) {
			return len(q.msg)
		}
		at = next + 10 + int(binary.BigEndian.Uint16(q.msg[next+8:]))
	}
	return min(at, len(q.msg))
}

// read fills the event from the next question, and reports whether there is one.
func (q *dnsQuestions) read(ev *Event, raw *Raw) bool {
	if q.left == 0 {
		return false
	}
	q.left--
	q.count++
	at := len(raw.Buf)
	name, next, err := appendQuestion(raw.Buf, q.msg, q.at)
	if err != nil {
		ev.Truncated = q.cut && err == ErrNameCut
		q.left, q.rest = 0, nil
		return false
	}
	if len(name) == at {
		name = append(name, '.') // the root
	}
	raw.Buf = name
	ev.setText(DNSReqQName, raw.since(at))
	if len(q.msg) < next+2 {
		ev.Truncated = q.cut
		q.left, q.rest = 0, nil
		return true
	}
	at = len(raw.Buf)
	raw.Buf = AppendQType(raw.Buf, binary.BigEndian.Uint16(q.msg[next:]))
	ev.setText(DNSReqQType, raw.since(at))
	q.at = next + 4
	return true
}

// appendQuestion appends the name of the question at a place of a message, as
// AppendDNSName does, also one that points to a name in front of it (RFC 1035
// section 4.1.4), and returns the place behind it.
func appendQuestion(b, msg []byte, at int) (_ []byte, next int, err error) {
	from, start := len(b), at
	for at < len(msg) {
		n := int(msg[at])
		switch {
		case n == 0:
			return b, max(next, at+1), nil
		case n >= 0xc0 && at+1 < len(msg):
			to := n&0x3f<<8 | int(msg[at+1])
			if to < dnsHeader || to >= start {
				return b, 0, ErrNameInvalid
			}
			if next == 0 {
				next = at + 2
			}
			at, start = to, to
			continue
		case n >= 0xc0:
			return b, 0, ErrNameCut
		case n > 63 || next > 0 && len(b)-from > 255: // as long as a name can be
			return b, 0, ErrNameInvalid
		case at+1+n >= len(msg):
			return b, 0, ErrNameCut
		}
		if len(b) > from {
			b = append(b, '.')
		}
		b = append(b, msg[at+1:at+1+n]...)
		at += 1 + n
	}
	return b, 0, ErrNameCut
}

// startsQuestion reports whether msg can be the beginning of a question: a standard query
// with nothing else except options and a signature at its end.
func startsQuestion(msg []byte) bool {
	return len(msg) >= dnsHeader && msg[2]&0xf8 == 0 && msg[3]&0x4f == 0 &&
		msg[4] == 0 && msg[5] >= 1 && string(msg[6:11]) == "\x00\x00\x00\x00\x00" && msg[11] <= 2
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
