/* Connects sockets and makes odd ones: connects DIR. In a network namespace of
 * its own. */
#include "common.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/un.h>

static int make(int family, int type)
{
	return must(socket(family, type, 0));
}

static struct sockaddr_in in4(const char *addr, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, addr, &a.sin_addr);
	return a;
}

static struct sockaddr_in6 in6(const char *addr, int port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	inet_pton(AF_INET6, addr, &a.sin6_addr);
	return a;
}

/* Connects a new socket. */
static void try(int family, int type, const void *addr, socklen_t len)
{
	int fd = make(family, type);

	connect(fd, addr, len);
	close(fd);
}

static void try4(const char *addr, int port, int type)
{
	struct sockaddr_in a = in4(addr, port);

	try(AF_INET, type, &a, sizeof(a));
}

static void try6(const char *addr, int port)
{
	struct sockaddr_in6 a = in6(addr, port);

	try(AF_INET6, SOCK_STREAM, &a, sizeof(a));
}

static void listen_on(int family, const void *addr, socklen_t len)
{
	int fd = make(family, SOCK_STREAM);

	must(bind(fd, addr, len));
	must(listen(fd, 10));
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = in4("127.0.0.1", 4000);
	struct sockaddr_in6 b = in6("::1", 4000);
	struct sockaddr_un u = { .sun_family = AF_UNIX };
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	const socklen_t path = offsetof(struct sockaddr_un, sun_path);
	int fd;

	dir = argv[1];
	must(unshare(CLONE_NEWNET));
	must(ioctl(make(AF_INET, SOCK_DGRAM), SIOCSIFFLAGS, &lo));
	must(chdir(dir));
	listen_on(AF_INET, &a, sizeof(a));
	listen_on(AF_INET6, &b, sizeof(b));
	strcpy(u.sun_path, "sock");
	listen_on(AF_UNIX, &u, sizeof(u));
	memcpy(u.sun_path, "\0hid\0den", 8);
	listen_on(AF_UNIX, &u, path + 8);

	mark("inet");
	try4("127.0.0.1", 4000, SOCK_STREAM);
	mark("inet, any address");
	try4("0.0.0.0", 4000, SOCK_STREAM);
	mark("inet, refused");
	try4("127.0.0.1", 4001, SOCK_STREAM);
	mark("inet, unreachable");
	try4("192.0.2.1", 80, SOCK_STREAM);
	mark("inet, datagrams");
	try4("127.1.2.3", 65535, SOCK_DGRAM);
	mark("inet, not blocking");
	try4("127.0.0.1", 4000, SOCK_STREAM | SOCK_NONBLOCK);
	mark("inet, twice");
	fd = make(AF_INET, SOCK_STREAM);
	connect(fd, (void *)&a, sizeof(a));
	connect(fd, (void *)&a, sizeof(a));
	mark("inet, cut address");
	try(AF_INET, SOCK_STREAM, &a, 4);
	mark("inet, multipath");
	fd = must(socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP));
	connect(fd, (void *)&a, sizeof(a));
	mark("inet6");
	try6("::1", 4000);
	mark("inet6, refused");
	try6("::1", 4001);
	mark("inet6, mapped");
	try6("::ffff:127.0.0.1", 4000);
	mark("inet6, datagrams to IPv4");
	try(AF_INET6, SOCK_DGRAM, &a, sizeof(a));
	mark("dissolved");
	fd = make(AF_INET, SOCK_DGRAM);
	connect(fd, (void *)&a, sizeof(a));
	a.sin_family = AF_UNSPEC;
	connect(fd, (void *)&a, sizeof(a));
	mark("netlink");
	try(AF_NETLINK, SOCK_RAW, &nl, sizeof(nl));
	mark("not a socket");
	a.sin_family = AF_INET;
	connect(0, (void *)&a, sizeof(a));
	mark("no descriptor");
	connect(-1, (void *)&a, sizeof(a));
	mark("no address");
	try(AF_INET, SOCK_STREAM, (void *)1, 16);

	memset(u.sun_path, 0, sizeof(u.sun_path));
	snprintf(u.sun_path, sizeof(u.sun_path), "sock");
	mark("unix");
	try(AF_UNIX, SOCK_STREAM, &u, sizeof(u));
	mark("unix, short");
	try(AF_UNIX, SOCK_STREAM, &u, path + 4);
	mark("unix, datagrams");
	try(AF_UNIX, SOCK_DGRAM, &u, path + 4);
	mark("unix, in the root");
	must(chdir("/"));
	strcpy(u.sun_path, "none");
	try(AF_UNIX, SOCK_STREAM, &u, sizeof(u));
	must(chdir(dir));
	mark("unix, not there");
	strcpy(u.sun_path, "/nonexistent/socket");
	try(AF_UNIX, SOCK_STREAM, &u, sizeof(u));
	mark("unix, abstract");
	memcpy(u.sun_path, "\0hid\0den", 8);
	try(AF_UNIX, SOCK_STREAM, &u, path + 8);
	mark("unix, abstract, given whole");
	memset(u.sun_path, 0, sizeof(u.sun_path));
	strcpy(u.sun_path + 1, "whole");
	try(AF_UNIX, SOCK_STREAM, &u, sizeof(u));
	mark("unix, no path");
	try(AF_UNIX, SOCK_STREAM, &u, path);
	mark("unix, whole");
	memset(u.sun_path, 'u', sizeof(u.sun_path));
	try(AF_UNIX, SOCK_STREAM, &u, sizeof(u));

	mark("plain");
	make(AF_INET, SOCK_STREAM | SOCK_CLOEXEC);
	make(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK);
	mark("raw");
	must(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
	mark("packet");
	must(socket(AF_PACKET, SOCK_DGRAM, htons(0x800)));
	mark("of netlink");
	must(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
	mark("of unix");
	make(AF_UNIX, SOCK_SEQPACKET);
	mark("unknown");
	socket(77, SOCK_STREAM, 5);
	mark("refused");
	socket(AF_INET, SOCK_RAW, 300);
	return 0;
}
