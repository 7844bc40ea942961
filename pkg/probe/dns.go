package probe

import (
	"encoding/binary"
	"strings"

	"vivarium/pkg/event"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsHeader = 12  // bytes, RFC 1035 section 4.1.1
	dnsMax    = 512 // bytes of a message that a record holds: DNS_MAX in bpf/net.h
)

// question fills qname and qtype of a dns_req from the message that was sent.
// A message that is no question, or a cut one, leaves them out: it went to
// port 53 all the same, and that is worth seeing. ev stays truncated only if
// the question does not end in what is there of the message.
func (d *decoder) question(ev *event.Event, msg []byte, stream bool) {
	cut := ev.Truncated
	ev.Truncated = false
	// Over TCP a message begins with its length, unless that was written before;
	// and what is written may be any part of it.
	if stream {
		size := -1
		if len(msg) >= 2 {
			size = int(binary.BigEndian.Uint16(msg))
		}
		switch {
		case size != len(msg)-2 && plausible(msg):
		case size >= 0 && (size <= len(msg)-2 || len(msg) == dnsMax) && plausible(msg[2:]):
			msg = msg[2:]
		default:
			return
		}
	}
	if len(msg) < dnsHeader || msg[2]&0x80 != 0 || binary.BigEndian.Uint16(msg[4:]) == 0 {
		return
	}
	rest := msg[dnsHeader:]
	start := len(d.text)
	for {
		if len(rest) == 0 {
			d.text = d.text[:start]
			ev.Truncated = cut
			return
		}
		n := int(rest[0])
		if n == 0 {
			rest = rest[1:]
			break
		}
		if n > 63 || len(rest) < 1+n {
			d.text = d.text[:start]
			ev.Truncated = cut && n <= 63
			return
		}
		if len(d.text) > start {
			d.text = append(d.text, '.')
		}
		d.text = append(d.text, rest[1:1+n]...)
		rest = rest[1+n:]
	}
	if len(d.text) == start {
		d.text = append(d.text, '.') // the root
	}
	ev.Fields[0] = event.Value{Type: event.Text, Text: d.text[start:len(d.text):len(d.text)]}
	ev.Truncated = cut && len(rest) < 2
	if len(rest) >= 2 {
		ev.Fields[1] = event.Value{Type: event.Text, Text: qtypeName(dnsmessage.Type(binary.BigEndian.Uint16(rest)))}
	}
}

// plausible says whether a question can begin like this: a standard query for
// one name, with nothing else but, at its end, options and a signature.
func plausible(msg []byte) bool {
	return len(msg) >= dnsHeader && msg[2]&0xf8 == 0 && msg[3]&0x4f == 0 &&
		string(msg[4:11]) == "\x00\x01\x00\x00\x00\x00\x00" && msg[11] <= 2
}

var qtypeNames = map[dnsmessage.Type][]byte{}

// qtypeName is A, AAAA, ..., or TYPEn as RFC 3597 writes an unknown type.
func qtypeName(t dnsmessage.Type) []byte {
	name, ok := qtypeNames[t]
	if !ok {
		s, known := strings.CutPrefix(t.String(), "Type")
		switch {
		case t == dnsmessage.TypeALL:
			s = "ANY"
		case t == 64:
			s = "SVCB"
		case t == 65:
			s = "HTTPS"
		case !known:
			s = "TYPE" + s
		}
		name = []byte(s)
		qtypeNames[t] = name // at most 65,536 of them
	}
	return name
}
