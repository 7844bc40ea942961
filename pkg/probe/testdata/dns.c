/* Asks DNS questions in every way there is: dns DIR. In a network namespace of
 * its own, where a server of its own answers that no name exists. */
#include "common.h"
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <resolv.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/uio.h>

static struct sockaddr_in server = { .sin_family = AF_INET };
static struct sockaddr_in6 server6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

/* Answers every question with: there is no such name. */
static pid_t serve(void)
{
	int udp = must(socket(AF_INET, SOCK_DGRAM, 0));
	int udp6 = must(socket(AF_INET6, SOCK_DGRAM, 0));
	int tcp = must(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char q[QUESTION];
	ssize_t n;
	pid_t pid;

	must(bind(udp, (void *)&server, sizeof(server)));
	must(bind(udp6, (void *)&server6, sizeof(server6)));
	must(bind(tcp, (void *)&server, sizeof(server)));
	must(listen(tcp, 10));
	pid = must(fork());
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct pollfd fds[2] = { { udp, POLLIN, 0 }, { tcp, POLLIN, 0 } };

		must(poll(fds, 2, -1));
		if (fds[1].revents) { /* one who wants to read an answer gets an end */
			int fd = must(accept(tcp, 0, 0)), got = 0;

			do {
				n = recv(fd, q + got, sizeof(q) - got, 0);
				got += n;
			} while (n > 0 && (got < 2 || got < 2 + q[1]));
			close(fd);
		}
		if (!fds[0].revents)
			continue;
		len = sizeof(from);
		n = recvfrom(udp, q, sizeof(q), 0, (void *)&from, &len);
		if (n < 12)
			continue;
		q[2] |= 0x80;
		q[3] = 0x83;
		sendto(udp, q, n, 0, (void *)&from, len);
	}
}

static int connected(int type)
{
	int fd = must(socket(AF_INET, type, 0));

	must(connect(fd, (void *)&server, sizeof(server)));
	return fd;
}

static int message(struct mmsghdr *m, struct iovec *iov, int vectors, void *name, int len)
{
	memset(m, 0, sizeof(*m));
	m->msg_hdr.msg_iov = iov;
	m->msg_hdr.msg_iovlen = vectors;
	m->msg_hdr.msg_name = name;
	m->msg_hdr.msg_namelen = len;
	return 0;
}

int main(int argc, char **argv)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct mmsghdr m[12];
	struct iovec iov[12], split[3];
	struct addrinfo *found, hints = { .ai_socktype = SOCK_STREAM };
	char q[QUESTION], q2[QUESTION], tcp[QUESTION + 2], label[64] = { 0 }, name[4 * 64];
	int fd, n, n2, pair[2];
	pid_t answers;

	dir = argv[1];
	must(unshare(CLONE_NEWNET));
	must(ioctl(must(socket(AF_INET, SOCK_DGRAM, 0)), SIOCSIFFLAGS, &lo));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.sin_port = server6.sin6_port = htons(53);
	answers = serve();
	fd = must(socket(AF_INET, SOCK_DGRAM, 0));

	mark("sendto");
	n = question(q, "www.example.org", ns_t_a);
	must(sendto(fd, q, n, 0, (void *)&server, sizeof(server)));
	mark("sendto, IPv6");
	n = question(q, "www.example.org", ns_t_aaaa);
	must(sendto(must(socket(AF_INET6, SOCK_DGRAM, 0)), q, n, 0, (void *)&server6, sizeof(server6)));
	mark("another port");
	server.sin_port = htons(54);
	sendto(fd, q, n, 0, (void *)&server, sizeof(server));
	server.sin_port = htons(53);
	mark("types");
	for (int i = 0; i < 6; i++) {
		n = question(q, "example.org", (int[]){ 15, 16, 64, 65, 255, 4711 }[i]);
		must(sendto(fd, q, n, 0, (void *)&server, sizeof(server)));
	}
	mark("root");
	n = question(q, "", ns_t_ns);
	must(sendto(fd, q, n, 0, (void *)&server, sizeof(server)));
	mark("longest name");
	memset(label, 'x', 63);
	snprintf(name, sizeof(name), "%s.%s.%s.%.61s", label, label, label, label);
	n = question(q, name, ns_t_a);
	must(sendto(fd, q, n, 0, (void *)&server, sizeof(server)));
	mark("no question");
	must(sendto(fd, "hello", 5, 0, (void *)&server, sizeof(server)));
	q[5] = 0;
	must(sendto(fd, q, n, 0, (void *)&server, sizeof(server)));
	mark("an answer");
	n = question(q, "example.org", ns_t_a);
	q[2] |= 0x80;
	must(sendto(fd, q, n, 0, (void *)&server, sizeof(server)));
	mark("an empty message");
	must(sendto(fd, "", 0, 0, (void *)&server, sizeof(server)));

	n = question(q, "a.example.org", ns_t_a);
	n2 = question(q2, "b.example.org", ns_t_aaaa);
	iov[0] = (struct iovec){ q, n };
	iov[1] = (struct iovec){ q2, n2 };
	mark("send");
	must(send(connected(SOCK_DGRAM), q, n, 0));
	mark("write");
	must(write(connected(SOCK_DGRAM), q, n));
	mark("writev");
	must(writev(connected(SOCK_DGRAM), iov, 1));
	mark("sendmsg");
	message(m, iov, 1, &server, sizeof(server));
	must(sendmsg(fd, &m[0].msg_hdr, 0));
	mark("sendmsg, connected");
	message(m, iov, 1, 0, 0);
	must(sendmsg(connected(SOCK_DGRAM), &m[0].msg_hdr, 0));
	mark("sendmsg in pieces");
	split[0] = (struct iovec){ q, 5 };
	split[1] = (struct iovec){ q + 5, 10 };
	split[2] = (struct iovec){ q + 15, n - 15 };
	message(m, split, 3, &server, sizeof(server));
	must(sendmsg(fd, &m[0].msg_hdr, 0));
	mark("sendmmsg");
	message(&m[0], &iov[0], 1, &server, sizeof(server));
	message(&m[1], &iov[1], 1, &server, sizeof(server));
	must(sendmmsg(fd, m, 2, 0));
	mark("sendmmsg of ten");
	for (int i = 0; i < 10; i++)
		message(&m[i], &iov[i & 1], 1, &server, sizeof(server));
	must(sendmmsg(fd, m, 10, 0));

	mark("not sent");
	sendto(fd, q, n, MSG_OOB, (void *)&server, sizeof(server));
	mark("not a socket");
	must(write(must(sys_open(in_dir("f"), O_WRONLY | O_CREAT)), q, n));
	mark("not that socket");
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	must(write(pair[0], q, n));

	tcp[0] = n >> 8;
	tcp[1] = n;
	memcpy(tcp + 2, q, n);
	mark("TCP");
	fd = connected(SOCK_STREAM);
	must(write(fd, tcp, n + 2));
	mark("TCP in two");
	fd = connected(SOCK_STREAM);
	must(write(fd, tcp, 2));
	must(write(fd, tcp + 2, n));
	mark("TCP, writev");
	split[0] = (struct iovec){ tcp, 2 };
	split[1] = (struct iovec){ q, n };
	must(writev(connected(SOCK_STREAM), split, 2));
	mark("TCP, sendmsg");
	message(m, split, 2, 0, 0);
	must(sendmsg(connected(SOCK_STREAM), &m[0].msg_hdr, 0));

	mark("the C library");
	must(res_init());
	_res.nscount = 1;
	_res.nsaddr_list[0] = server;
	_res.options &= ~(RES_DNSRCH | RES_DEFNAMES);
	if (getaddrinfo("host.example.org", "80", &hints, &found) == 0)
		die("getaddrinfo found something");
	mark("the C library, one question");
	if (res_query("one.example.org", ns_c_in, ns_t_mx, (void *)q, sizeof(q)) >= 0)
		die("res_query found something");
	mark("the C library, TCP");
	_res.options |= RES_USEVC;
	_res.retry = 1;
	_res.retrans = 1;
	if (res_query("tcp.example.org", ns_c_in, ns_t_txt, (void *)q, sizeof(q)) >= 0)
		die("res_query found something");
	must(kill(answers, SIGKILL));
	return 0;
}
