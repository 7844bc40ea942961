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
// port 53 all the same, and that is worth seeing.
func (d *decoder) question(ev *event.Event, msg []byte, stream bool) {
	// A TCP message begins with its length, unless that was written before.
	if stream && len(msg) >= 2 && (int(binary.BigEndian.Uint16(msg)) <= len(msg)-2 || len(msg) == dnsMax) {
		msg = msg[2:]
	}
	if len(msg) < dnsHeader || msg[2]&0x80 != 0 || binary.BigEndian.Uint16(msg[4:]) == 0 {
		return
	}
	rest := msg[dnsHeader:]
	start := len(d.text)
	for {
		if len(rest) == 0 {
			d.text = d.text[:start]
			return
		}
		n := int(rest[0])
		if n == 0 {
			rest = rest[1:]
			break
		}
		if n > 63 || len(rest) < 1+n {
			d.text = d.text[:start]
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
	if len(rest) >= 2 {
		ev.Fields[1] = event.Value{Type: event.Text, Text: qtypeName(dnsmessage.Type(binary.BigEndian.Uint16(rest)))}
	}
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
