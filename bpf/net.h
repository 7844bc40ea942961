/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Sockets and DNS questions. */
#ifndef VIV_NET_H
#define VIV_NET_H

#include "syscall.h"

#define DNS_PORT 53
#define DNS_MAX 512   /* bytes of a DNS message that a record holds */
#define DNS_VECTORS 8 /* messages of one sendmmsg that are looked at */

#define SUN_PATH 108

struct address {
	__u16 family;
	__be16 port; /* AF_UNIX: here begins the path */
	union {
		__u8 v4[4];
		struct {
			__u32 flow;
			__u8 v6[16];
		};
		char path[SUN_PATH - 2];
	};
};

static __always_inline struct sock *fd_sock(int fd)
{
	struct file *file = fd_file(fd);
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* The peer as the kernel knows it, which the program cannot change behind our back. */
static __always_inline bool peer_address(struct address *a, struct sock *sk)
{
	a->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	a->port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	if (a->family == AF_INET)
		BPF_CORE_READ_INTO(&a->v4, sk, __sk_common.skc_daddr);
	else if (a->family == AF_INET6)
		BPF_CORE_READ_INTO(&a->v6, sk, __sk_common.skc_v6_daddr);
	else
		return false;
	return a->port != 0;
}

static __always_inline __u32 user_address(struct address *a, const void *addr, __u32 len)
{
	__builtin_memset(a, 0, sizeof(*a));
	if (len > sizeof(*a))
		len = sizeof(*a);
	if (!addr || bpf_probe_read_user(a, len, addr))
		return 0;
	return len;
}

static __always_inline void set_ip(struct out *o, int i, struct address *a)
{
	if (a->family == AF_INET)
		set_text(o, i, a->v4, sizeof(a->v4));
	else if (a->family == AF_INET6)
		set_text(o, i, a->v6, sizeof(a->v6));
}

SYS_EXIT(connect)
{
	struct address a, peer;
	struct out o;
	struct sock *sk;
	__u32 len;

	len = user_address(&a, (void *)ARG2(r), (__u32)ARG3(r));
	begin(&o, t, VIV_SOCK_CONNECT, ret);
	if (a.family == AF_INET || a.family == AF_INET6) {
		if (ret == 0 || ret == -EINPROGRESS) {
			sk = fd_sock(ARG1(r));
			__builtin_memset(&peer, 0, sizeof(peer));
			if (sk && peer_address(&peer, sk) && peer.family == a.family)
				a = peer;
		}
		set_num(&o, 1, bpf_ntohs(a.port));
		set_ip(&o, 0, &a);
	} else if (a.family == AF_UNIX && len > 2) {
		len -= 2; /* sun_path follows the family */
		set_text(&o, 1, &a.port, len > SUN_PATH ? SUN_PATH : len);
		len += 2;
	}
	if (len >= 2)
		set_num(&o, 0, a.family);
	emit(&o);
	return 0;
}

SYS_EXIT(socket)
{
	__u32 family = ARG1(r);
	__u32 type = ARG2(r) & 0xf; /* without SOCK_CLOEXEC and SOCK_NONBLOCK */
	struct out o;

	if ((family == AF_INET || family == AF_INET6) && (type == SOCK_STREAM || type == SOCK_DGRAM))
		return 0;
	begin(&o, t, VIV_ODD_SOCKET, ret);
	set_num(&o, 0, family);
	set_num(&o, 1, type);
	set_num(&o, 2, (__u32)ARG3(r));
	emit(&o);
	return 0;
}

/* Is this a message to a DNS server? Fills the server's address. */
static __always_inline bool dns_server(struct address *a, struct sock *sk, __u64 name, __u32 namelen)
{
	if (name && user_address(a, (void *)name, namelen))
		return (a->family == AF_INET || a->family == AF_INET6) && a->port == bpf_htons(DNS_PORT);
	__builtin_memset(a, 0, sizeof(*a));
	return peer_address(a, sk) && a->port == bpf_htons(DNS_PORT);
}

static __always_inline void dns_message(struct task *t, struct texts *s, struct sock *sk, struct address *a,
					__u64 base, __u64 len, long ret)
{
	struct out o;

	if (len > DNS_MAX)
		len = DNS_MAX;
	if (!len || bpf_probe_read_user(s->args, len, (void *)base))
		return;
	begin(&o, t, VIV_DNS_REQ, ret);
	set_num(&o, 0, BPF_CORE_READ(sk, sk_type)); /* SOCK_STREAM: the message has a length in front */
	set_text(&o, 0, s->args, len);
	set_ip(&o, 1, a);
	emit(&o);
}

static __always_inline int dns_buffer(struct task *t, long ret, int fd, __u64 base, __u64 len, __u64 name, __u32 namelen)
{
	struct sock *sk = fd_sock(fd);
	struct texts *s;
	struct address a;

	if (!sk || !dns_server(&a, sk, name, namelen))
		return 0;
	s = get_scratch();
	if (s)
		dns_message(t, s, sk, &a, base, len, ret);
	return 0;
}

SYS_EXIT(sendto)
{
	return dns_buffer(t, ret, ARG1(r), ARG2(r), ARG3(r), ARG5(r), ARG6(r));
}

SYS_EXIT(write)
{
	return dns_buffer(t, ret, ARG1(r), ARG2(r), ARG3(r), 0, 0);
}

/* The first vectors of the message at hdr, put together. */
static __noinline int dns_header(struct task *t, struct sock *sk, const void *hdr, long ret)
{
	struct texts *s = get_scratch();
	struct msghdr_user h;
	struct iovec_user v = {};
	struct address a;

	if (!s || !t || !sk || bpf_probe_read_user(&h, sizeof(h), hdr))
		return 0;
	if (!dns_server(&a, sk, h.name, h.namelen) || bpf_probe_read_user(&v, sizeof(v), (void *)h.iov))
		return 0;
	dns_message(t, s, sk, &a, v.base, v.len, ret);
	return 0;
}

SYS_EXIT(sendmsg)
{
	struct sock *sk = fd_sock(ARG1(r));

	return sk ? dns_header(t, sk, (void *)ARG2(r), ret) : 0;
}

SYS_EXIT(sendmmsg)
{
	struct sock *sk = fd_sock(ARG1(r));
	struct mmsghdr_user *m = (void *)ARG2(r);
	/* What was sent; a failed call sent none, and shows its first. */
	__u32 n = ret > 0 ? ret : 1;

	for (__u32 i = 0; sk && i < DNS_VECTORS && i < n; i++)
		dns_header(t, sk, &m[i].hdr, ret);
	return 0;
}

#endif
