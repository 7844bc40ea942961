package probe

import (
	"strings"
	"testing"

	"vivarium/pkg/event"
)

// TestDNS: each way to send a question, with the question and the server; no
// LSM hook is behind it, and none may disturb it.
func TestDNS(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, Events: events(event.DNSReq, event.PathOpen)}, program(t, "dns"), d)
		const bare = "dns_req addr=127.0.0.1"
		q := func(name, qtype string) string {
			return "dns_req qname=" + name + " qtype=" + qtype + " addr=127.0.0.1"
		}
		a, b := q("a.example.org", "A"), q("b.example.org", "AAAA")
		x := strings.Repeat("x", 63)
		compareRows(t, s.only(event.DNSReq), []row{
			{"sendto", []string{q("www.example.org", "A")}},
			{"sendto, IPv6", []string{"dns_req qname=www.example.org qtype=AAAA addr=::1"}},
			{"another port", []string{}},
			{"types", []string{
				q("example.org", "MX"), q("example.org", "TXT"), q("example.org", "SVCB"),
				q("example.org", "HTTPS"), q("example.org", "ANY"), q("example.org", "TYPE4711"),
			}},
			{"root", []string{q(".", "NS")}},
			{"longest name", []string{q(x+"."+x+"."+x+"."+x[:61], "A")}},
			{"no question", []string{bare, bare}},
			{"an answer", []string{bare}},
			{"an empty message", []string{}},

			{"send", []string{a}},
			{"write", []string{a}},
			{"writev", []string{a}},
			{"sendmsg", []string{a}},
			{"sendmsg, connected", []string{a}},
			{"sendmsg in pieces", []string{a}},
			{"sendmmsg", []string{a, b}},
			{"sendmmsg of ten", []string{a, b, a, b, a, b, a, b, a, b}},

			{"not sent", []string{a + " error=EOPNOTSUPP"}},
			{"not a socket", []string{}},
			{"not that socket", []string{}},

			{"TCP", []string{a}},
			{"TCP in two", []string{bare, a}},
			{"TCP, writev", []string{a}},
			{"TCP, sendmsg", []string{a}},

			{"the C library", []string{q("host.example.org", "A"), q("host.example.org", "AAAA")}},
			{"the C library, one question", []string{q("one.example.org", "MX")}},
			{"the C library, TCP", []string{q("tcp.example.org", "TXT")}},
		})
	})
}
