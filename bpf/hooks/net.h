/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Sockets and DNS questions. */
#ifndef VIV_NET_H
#define VIV_NET_H

#include "../lib/lsm.h"

#define DNS_PORT 53
#define DNS_MAX 512	/* bytes of a DNS message that a record holds */
#define DNS_PIECES 1024	/* vectors of a message: more the kernel does not take */
#define DNS_MESSAGES 1024 /* messages of one sendmmsg, the same */
#define DNS_PIECES_OF_MANY 64 /* of each of several messages: the CPU is ours alone meanwhile */
#define MSG_FASTOPEN 0x20000000

#define SUN_PATH 108

const volatile bool emit_connect = true;
const volatile bool emit_dns = true;

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
	__builtin_memset(a, 0, sizeof(*a));
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

/* Bytes of sun_path, which follows the family, in an address of len bytes. */
static __always_inline __u32 sun_path_len(__u32 len)
{
	len -= 2;
	return len > SUN_PATH ? SUN_PATH : len;
}

static __always_inline void set_ip(struct out *o, int i, struct address *a)
{
	if (a->family == AF_INET)
		set_text(o, i, a->v4, sizeof(a->v4));
	else if (a->family == AF_INET6)
		set_text(o, i, a->v6, sizeof(a->v6));
}

/* The record of a connection of sk, which is 0 if there is no such socket, to
 * the address at name. */
__noinline int connected(struct task *t, __u64 socket, __u64 name, __u32 namelen, long ret)
{
	struct sock *sk = (void *)socket;
	struct texts *s = get_texts();
	struct address *a, *peer;
	struct out o;
	__u32 len;

	if (!s || !t)
		return 0;
	a = (void *)s->path;
	peer = (void *)s->args;
	len = user_address(a, (void *)name, namelen);
	begin(&o, t, VIV_SOCK_CONNECT, ret);
	if (a->family == AF_INET || a->family == AF_INET6) {
		if ((ret >= 0 || ret == -EINPROGRESS) && sk && peer_address(peer, sk) && peer->family == a->family)
			a = peer;
		set_num(&o, 1, bpf_ntohs(a->port));
		set_ip(&o, 0, a);
	} else if (a->family == AF_UNIX && len > 2) {
		set_text(&o, 1, &a->port, sun_path_len(len));
	}
	if (len >= 2)
		set_num(&o, 0, a->family);
	emit(&o);
	return 0;
}

SYSCALLS(connect_exit)
{
	struct pending *p = pended(); /* of an LSM hook */

	if (p)
		return emit_pending(t, p, ret, 0);
	return connected(t, (__u64)fd_sock(ARG1(r)), ARG2(r), ARG3(r), ret);
}

LSM(socket_connect, VIV_SOCK_CONNECT, true, struct socket *sock, struct sockaddr *address, int addrlen)
{
	struct address *a = (void *)p->text[0]; /* moved to where it belongs below */
	__u32 len = addrlen, size = len > sizeof(*a) ? sizeof(*a) : len;

	__builtin_memset(a, 0, sizeof(*a));
	bpf_probe_read_kernel(a, size, address);
	pend_num(p, 0, a->family);
	if (a->family == AF_INET || a->family == AF_INET6) {
		pend_num(p, 1, bpf_ntohs(a->port));
		p->len[0] = a->family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
		bpf_probe_read_kernel(p->text[0], p->len[0] & 31, a->family == AF_INET ? a->v4 : a->v6);
	} else if (a->family == AF_UNIX && len > 2) {
		p->len[1] = sun_path_len(len);
		bpf_probe_read_kernel(p->text[1], SUN_PATH, &a->port);
	}
}

/* SOCK_CLOEXEC and SOCK_NONBLOCK are no part of a type. */
#define SOCK_TYPE_MASK 0xf

static __always_inline bool is_odd(__u32 family, __u32 type)
{
	return !(family == AF_INET || family == AF_INET6) || !(type == SOCK_STREAM || type == SOCK_DGRAM);
}

SYSCALLS(socket_exit) /* and socketpair */
{
	__u32 family = ARG1(r), type = ARG2(r) & SOCK_TYPE_MASK;
	struct out o;

	if (!is_odd(family, type))
		return 0;
	begin(&o, t, VIV_ODD_SOCKET, ret);
	set_num(&o, 0, family);
	set_num(&o, 1, type);
	set_num(&o, 2, (__u32)ARG3(r));
	emit(&o);
	return 0;
}

LSM(socket_create, VIV_ODD_SOCKET, !kern && is_odd(family, type & SOCK_TYPE_MASK), int family, int type, int protocol,
    int kern)
{
	pend_num(p, 0, family);
	pend_num(p, 1, type & SOCK_TYPE_MASK);
	pend_num(p, 2, protocol);
}

/* Is this a message to a DNS server? Fills the server's address. */
static __always_inline bool dns_server(struct address *a, struct sock *sk, __u64 name, __u32 namelen)
{
	if (name && user_address(a, (void *)name, namelen))
		return (a->family == AF_INET || a->family == AF_INET6) && a->port == bpf_htons(DNS_PORT);
	return peer_address(a, sk) && a->port == bpf_htons(DNS_PORT);
}

/* A message: len bytes at base, or pieces of it. */
struct dns_buffer {
	__u64 base, len;
	const struct iovec_user *pieces; /* not 0: len of them, of which most are looked at */
	__u64 most;
	__u64 name;			 /* of the address, 0: the peer's */
	__u32 namelen, pad;
};

struct dns_text {
	char *buf; /* room for 2 * DNS_MAX */
	const struct iovec_user *pieces;
	__u32 len;
};

static long dns_piece(__u32 i, struct dns_text *m)
{
	struct iovec_user v;
	__u32 pos = m->len;

	if (pos >= DNS_MAX || bpf_probe_read_user(&v, sizeof(v), &m->pieces[i]))
		return 1;
	if (v.len > DNS_MAX)
		v.len = DNS_MAX;
	if (v.len && bpf_probe_read_user(&m->buf[pos], v.len, (void *)v.base))
		return 1;
	m->len = pos + v.len;
	return 0;
}

/* A record of a message, if it is for a DNS server: the one at name, or the
 * socket's peer. */
__noinline int dns_message(struct task *t, __u64 socket, struct dns_buffer *b, long ret)
{
	struct sock *sk = (void *)socket;
	struct texts *s = get_texts();
	struct address *a;
	__u64 len;
	bool cut = false;
	struct out o;

	if (!s || !t || !sk || !b || !emit_dns)
		return 0;
	a = (void *)s->path;
	if (!dns_server(a, sk, b->name, b->namelen))
		return 0;
	len = b->len;
	if (b->pieces) {
		struct dns_text m = { .buf = s->args, .pieces = b->pieces, .len = unknown_zero };

		cut = len > b->most;
		bpf_loop(cut ? b->most : len, dns_piece, &m, 0);
		len = m.len;
	}
	if (len >= DNS_MAX) /* pieces are not counted further */
		cut = true;
	if (len > DNS_MAX)
		len = DNS_MAX;
	if (!len || (!b->pieces && bpf_probe_read_user(s->args, len, (void *)b->base)))
		return 0;
	begin(&o, t, VIV_DNS_REQ, ret);
	if (cut)
		set_flags(&o, VIV_TRUNCATED);
	set_num(&o, 0, BPF_CORE_READ(sk, sk_type)); /* SOCK_STREAM: the message has a length in front */
	set_text(&o, 0, s->args, len);
	set_ip(&o, 1, a);
	emit(&o);
	return 0;
}

struct dns_messages {
	struct task *t;
	struct sock *sk;
	struct mmsghdr_user *m;
	long ret;
	__u64 most; /* pieces of each that are looked at */
};

static long dns_vector(__u32 i, struct dns_messages *v)
{
	struct msghdr_user h;

	if (bpf_probe_read_user(&h, sizeof(h), &v->m[i].hdr))
		return 1;
	struct dns_buffer b = { .len = h.iovlen, .pieces = (void *)h.iov, .most = v->most, .name = h.name, .namelen = h.namelen };

	dns_message(v->t, (__u64)v->sk, &b, v->ret);
	return 0;
}

SYSCALLS(send_exit)
{
	struct sock *sk = fd_sock(ARG1(r));
	struct dns_buffer b = { .base = ARG2(r), .len = ARG3(r), .most = DNS_PIECES };
	struct dns_messages v = { .t = t, .sk = sk, .m = (void *)ARG2(r), .ret = ret, .most = DNS_PIECES };
	__u32 flags = 0, messages = 0; /* 0: the buffer is the message */

	if (!sk)
		return 0;
	switch (c->form) {
	case FORM_SENDTO:
		b.name = ARG5(r);
		b.namelen = ARG6(r);
		flags = ARG4(r);
		break;
	case FORM_VECTOR: /* the C library, over TCP */
		b.pieces = (void *)b.base;
		break;
	case FORM_MESSAGE:
		flags = ARG3(r);
		messages = 1;
		break;
	case FORM_MESSAGES: /* what was sent; a failed call sent none, and shows its first */
		flags = ARG4(r);
		messages = ret <= 0 ? 1 : ret < DNS_MESSAGES ? ret : DNS_MESSAGES;
		if (messages > 1)
			v.most = DNS_PIECES_OF_MANY;
		break;
	}
	/* TCP's fast open: a message, if several the first, that connects. LSM hooks are not told. */
	if (emit_connect && flags & MSG_FASTOPEN && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM) {
		if (messages) {
			bpf_probe_read_user(&b.name, sizeof(b.name), &v.m->hdr.name);
			bpf_probe_read_user(&b.namelen, sizeof(b.namelen), &v.m->hdr.namelen);
		}
		if (b.name)
			connected(t, (__u64)sk, b.name, b.namelen, ret);
	}
	if (messages)
		bpf_loop(messages, dns_vector, &v, 0);
	else
		dns_message(t, (__u64)sk, &b, ret);
	return 0;
}

#endif
