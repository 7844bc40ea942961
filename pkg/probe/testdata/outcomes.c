/* Connections that the program does not wait for: outcomes DIR. In a network
 * namespace of its own. */
#include "common.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

static struct sockaddr_in6 host(const char *addr, int port, socklen_t *len)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in *v4 = (void *)&a;

	*len = sizeof(a);
	if (inet_pton(AF_INET6, addr, &a.sin6_addr) == 1)
		return a;
	*len = sizeof(*v4);
	v4->sin_family = AF_INET;
	inet_pton(AF_INET, addr, &v4->sin_addr);
	return a;
}

static void listen_on(const char *addr, int port, int backlog)
{
	socklen_t len;
	struct sockaddr_in6 a = host(addr, port, &len);
	int fd = must(socket(a.sin6_family, SOCK_STREAM, 0));

	must(bind(fd, (void *)&a, len));
	must(listen(fd, backlog));
}

static int begin(const char *addr, int port, int flags)
{
	socklen_t len;
	struct sockaddr_in6 a = host(addr, port, &len);
	int fd = must(socket(a.sin6_family, SOCK_STREAM | flags, 0));
	int most = 300; /* ms */

	must(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &most, sizeof(most)));
	connect(fd, (void *)&a, len);
	return fd;
}

/* As most network libraries do. */
static void ask(int fd)
{
	struct pollfd p = { fd, POLLOUT, 0 };
	socklen_t len = sizeof(int);
	int error;

	must(poll(&p, 1, 5000));
	must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
}

int main(int argc, char **argv)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	dir = argv[1];
	must(unshare(CLONE_NEWNET));
	must(ioctl(must(socket(AF_INET, SOCK_DGRAM, 0)), SIOCSIFFLAGS, &lo));
	listen_on("127.0.0.1", 4000, 10);
	listen_on("::1", 4000, 10);
	listen_on("127.0.0.1", 4002, 0);
	mark("made");
	ask(begin("127.0.0.1", 4000, SOCK_NONBLOCK));
	mark("made, IPv6");
	ask(begin("::1", 4000, SOCK_NONBLOCK));
	mark("made, mapped");
	ask(begin("::ffff:127.0.0.1", 4000, SOCK_NONBLOCK));
	mark("never asked for");
	begin("127.0.0.1", 4000, SOCK_NONBLOCK);
	usleep(50000);
	mark("refused");
	ask(begin("127.0.0.1", 4001, SOCK_NONBLOCK));
	mark("refused, IPv6");
	ask(begin("::1", 4001, SOCK_NONBLOCK));
	mark("waited for");
	begin("127.0.0.1", 4000, 0);
	begin("127.0.0.1", 4001, 0);
	mark("end");
	begin("127.0.0.1", 4002, 0); /* all the room that there is */
	mark("not answered");
	ask(begin("127.0.0.1", 4002, SOCK_NONBLOCK));
	mark("given up");
	close(begin("127.0.0.1", 4002, SOCK_NONBLOCK));
	mark("end");
	return 0;
}
