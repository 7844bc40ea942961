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
