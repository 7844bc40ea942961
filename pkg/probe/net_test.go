package probe

import (
	"fmt"
	"strings"
	"testing"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

// TestConnects: each way to connect a socket, with the peer.
func TestConnects(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, Events: events(event.SockConnect, event.PathOpen)}, program(t, "connects"), d)
		got := s.rows()
		in := func(addr string, port int, proto string) string {
			return fmt.Sprintf("sock_connect family=%d addr=%s port=%d proto=%s", unix.AF_INET, addr, port, proto)
		}
		in6 := func(addr string, port int) string {
			return fmt.Sprintf("sock_connect family=%d addr=%s port=%d proto=tcp", unix.AF_INET6, addr, port)
		}
		un := func(path string) string {
			return fmt.Sprintf("sock_connect family=%d path=%s proto=unix", unix.AF_UNIX, path)
		}
		noSocket := fmt.Sprintf("sock_connect family=%d addr=127.0.0.1 port=4000", unix.AF_INET)
		table := []row{
			{"inet", []string{in("127.0.0.1", 4000, "tcp")}},
			{"inet, any address", []string{in("127.0.0.1", 4000, "tcp")}},
			{"inet, refused", []string{in("127.0.0.1", 4001, "tcp") + " error=ECONNREFUSED"}},
			{"inet, unreachable", []string{in("192.0.2.1", 80, "tcp") + " error=ENETUNREACH"}},
			{"inet, datagrams", []string{in("127.1.2.3", 65535, "udp")}},
			{"inet, not blocking", []string{in("127.0.0.1", 4000, "tcp") + " pending=1"}},
			{"inet, twice", []string{in("127.0.0.1", 4000, "tcp"), in("127.0.0.1", 4000, "tcp") + " error=EISCONN"}},
			{"inet, cut address", []string{in("0.0.0.0", 4000, "tcp") + " error=EINVAL"}},
			{"inet, multipath", []string{in("127.0.0.1", 4000, "mptcp")}},
			{"inet6", []string{in6("::1", 4000)}},
			{"inet6, refused", []string{in6("::1", 4001) + " error=ECONNREFUSED"}},
			{"inet6, mapped", []string{in6("127.0.0.1", 4000)}},
			{"inet6, datagrams to IPv4", []string{in("127.0.0.1", 4000, "udp")}},
			{"dissolved", []string{in("127.0.0.1", 4000, "udp"), "sock_connect family=0 proto=udp"}},
			{"netlink", []string{fmt.Sprintf("sock_connect family=%d proto=netlink", unix.AF_NETLINK)}},
			{"not a socket", []string{noSocket + " error=ENOTSOCK"}},
			{"no descriptor", []string{noSocket + " error=EBADF"}},
			{"no address", []string{"sock_connect proto=tcp error=EFAULT"}},

			{"unix", []string{un(d + "/sock")}},
			{"unix, short", []string{un(d + "/sock")}},
			{"unix, in the root", []string{un("/none") + " error=ENOENT"}},
			{"unix, datagrams", []string{un(d+"/sock") + " error=EPROTOTYPE"}},
			{"unix, not there", []string{un("/nonexistent/socket") + " error=ENOENT"}},
			{"unix, abstract", []string{un(`"@hid\x00den"`)}},
			{"unix, abstract, given whole", []string{un("@whole") + " error=ECONNREFUSED"}},
			{"unix, no path", []string{fmt.Sprintf("sock_connect family=%d proto=unix error=EINVAL", unix.AF_UNIX)}},
			{"unix, whole", []string{un(d+"/"+strings.Repeat("u", 108)) + " error=ENOENT"}},
		}
		for _, r := range table {
			t.Run(r.name, func(t *testing.T) { compare(t, got[r.name], r.want) })
		}
	})
}

// TestOddSockets: sockets other than those for TCP and UDP, and those that
// connects.c makes to connect them.
func TestOddSockets(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, Events: events(event.OddSocket, event.PathOpen)}, program(t, "connects"), d)
		got := s.rows()
		odd := func(family, socktype, protocol int) []string {
			return []string{fmt.Sprintf("odd_socket family=%d socktype=%d protocol=%d", family, socktype, protocol)}
		}
		for _, r := range []row{
			{"inet", []string{}},
			{"plain", []string{}},
			{"unix", odd(unix.AF_UNIX, unix.SOCK_STREAM, 0)},
			{"raw", odd(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
			{"packet", odd(unix.AF_PACKET, unix.SOCK_DGRAM, 0x0008)},
			{"of netlink", odd(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT)},
			{"of unix", odd(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)},
			{"unknown", []string{odd(77, unix.SOCK_STREAM, 5)[0] + " error=EAFNOSUPPORT"}},
			{"refused", []string{odd(unix.AF_INET, unix.SOCK_RAW, 300)[0] + " error=EINVAL"}},
		} {
			t.Run(r.name, func(t *testing.T) { compare(t, got[r.name], r.want) })
		}
	})
}

// TestOutcomes: what becomes of connections that the program does not wait for, each
// joined with its connect by the socket.
func TestOutcomes(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		kinds := events(event.SockConnect, event.SockOutcome, event.PathOpen)
		s := record(t, Options{Hooks: hooks, Events: kinds}, program(t, "outcomes"), d)
		// What a run has of its own: the same name for the same socket, and that time passed.
		sockets := map[uint64]uint64{}
		for _, ev := range s.events {
			for i, f := range ev.Kind.Fields {
				switch v := &ev.Fields[i]; {
				case v.Type == event.None:
				case f.Name == "sock":
					if sockets[v.Num] == 0 {
						sockets[v.Num] = uint64(len(sockets) + 1)
					}
					v.Num = sockets[v.Num]
				case f.Name == "after_ns" && v.Num > 0 && v.Num < 5e9:
					v.Num = 1
				}
			}
		}
		pair := func(family int, addr string, port, sock int, outcome string) []string {
			return []string{
				fmt.Sprintf("sock_connect family=%d addr=%s port=%d proto=tcp pending=1 sock=%d", family, addr, port, sock),
				fmt.Sprintf("sock_outcome addr=%s port=%d after_ns=1 sock=%d%s", addr, port, sock, outcome),
			}
		}
		const in, in6 = unix.AF_INET, unix.AF_INET6
		got := s.rows()
		for _, r := range []row{
			{"made", pair(in, "127.0.0.1", 4000, 1, "")},
			{"made, IPv6", pair(in6, "::1", 4000, 2, "")},
			{"made, mapped", pair(in6, "127.0.0.1", 4000, 3, "")},
			{"never asked for", pair(in, "127.0.0.1", 4000, 4, "")},
			{"refused", pair(in, "127.0.0.1", 4001, 5, " error=ECONNREFUSED")},
			{"refused, IPv6", pair(in6, "::1", 4001, 6, " error=ECONNREFUSED")},
			{"waited for", []string{
				"sock_connect family=2 addr=127.0.0.1 port=4000 proto=tcp sock=7",
				"sock_connect family=2 addr=127.0.0.1 port=4001 proto=tcp sock=8 error=ECONNREFUSED",
			}},
			{"not answered", pair(in, "127.0.0.1", 4002, 10, " error=ETIMEDOUT")},
			{"given up", pair(in, "127.0.0.1", 4002, 11, " outcome=unknown")},
		} {
			t.Run(r.name, func(t *testing.T) { compare(t, got[r.name], r.want) })
		}
	})
}
