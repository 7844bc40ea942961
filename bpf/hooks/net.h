/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Sockets and DNS questions. */
#ifndef VIV_NET_H
#define VIV_NET_H

#include "../lib/lsm.h"

#define DNS_PORT 53
#define DNS_MAX 4096	/* bytes of what is sent to a DNS server that a record holds */
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

/* Where an address lies until it is taken apart: behind what becomes of it, and not
 * where a walk has its state. */
#define PENDED_ADDRESS(p) ((struct address *)((p)->text[0] + PATH_MAX))
_Static_assert(PATH_MAX + sizeof(struct address) <= TEXT_ROOM, "an address fits behind a text");

/* Text 0 becomes the IP address a. */
static __always_inline void pend_ip(struct pending *p, struct address *a)
{
	__builtin_memset(p->text[0], 0, sizeof(a->v6));
	if (a->family == AF_INET)
		__builtin_memcpy(p->text[0], a->v4, sizeof(a->v4));
	else
		__builtin_memcpy(p->text[0], a->v6, sizeof(a->v6));
	p->len[0] = a->family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

/* Text 1 becomes the whole path of a socket, or its abstract name. */
static __always_inline void pend_sun_path(struct pending *p, const char *path, __u32 len)
{
	struct task_struct *task = bpf_get_current_task_btf();
	char *to = p->text[1];
	__u32 at = 0;

	if (path[0] != 0 && path[0] != '/') {
		pend_path(p, 1, task->fs->pwd.mnt, task->fs->pwd.dentry);
		at = p->len[1];
		if (at >= PATH_MAX - SUN_PATH) {
			p->flags |= VIV_TRUNCATED;
			at = 0;
		} else if (at > 1 && at < PATH_MAX) {
			to[at++] = '/';
		}
	}
	if (at < PATH_MAX)
		bpf_probe_read_kernel(&to[at], SUN_PATH, path);
	p->len[1] = at + len;
}

/* Fills p from its address, of len bytes, and of the socket sk, if there is one:
 * number 2 is what it speaks. */
static __always_inline void pend_address(struct pending *p, struct sock *sk, __u32 len)
{
	struct address *a = PENDED_ADDRESS(p);

	if (len >= 2)
		pend_num(p, 0, a->family);
	if (a->family == AF_INET || a->family == AF_INET6) {
		pend_num(p, 1, bpf_ntohs(a->port));
		pend_ip(p, a);
	} else if (a->family == AF_UNIX && len > 2) {
		pend_sun_path(p, (const char *)&a->port, sun_path_len(len));
	}
	p->sock = (__u64)sk;
	if (sk)
		pend_num(p, 2, (__u64)BPF_CORE_READ(sk, __sk_common.skc_family) << 32 | (__u64)BPF_CORE_READ(sk, sk_type) << 16 |
				       BPF_CORE_READ(sk, sk_protocol));
}

/* Leaves a connection of the socket, which is 0 if there is no such one, to the
 * address at name, for the exit. */
__noinline int pend_connect(__u64 socket, __u64 name, __u32 namelen)
{
	struct pending *p = pend(VIV_SOCK_CONNECT);
	__u32 len;

	if (!p)
		return 0;
	len = user_address(PENDED_ADDRESS(p), (void *)name, namelen);
	if (!len)
		p->unread = 1;
	pend_address(p, (void *)socket, len);
	return 0;
}

/*
 * Connections that are being made, by the socket's cookie. Of one whose call does
 * not wait for it, it is told what became of it, by whoever comes last: the call's exit,
 * or the end, which can come before the exit and on any CPU.
 */
struct connecting {
	struct head head; /* of the task, at the beginning */
	__u64 cookie;
	__u64 end;	/* ns */
	__u64 waiting;	/* the call has returned */
	__u64 ended;
	__u32 error;	/* the socket's; with closed: 0 is the program's own end of it */
	__u16 closed;
	__be16 port;
	__u32 family, len;
	__u8 ip[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct connecting);
} connections SEC(".maps");

static __always_inline void start_connecting(struct sock *sk)
{
	struct task *t = watched();
	struct connecting c = {};

	if (!t)
		return;
	set_task(&c.head, t, VIV_SOCK_OUTCOME);
	c.cookie = bpf_get_socket_cookie(sk);
	c.family = sk->__sk_common.skc_family;
	c.port = sk->__sk_common.skc_dport;
	if (c.family == AF_INET6) {
		c.len = sizeof(c.ip);
		__builtin_memcpy(c.ip, &sk->__sk_common.skc_v6_daddr, sizeof(c.ip));
	} else {
		c.len = sizeof(__be32);
		__builtin_memcpy(c.ip, &sk->__sk_common.skc_daddr, sizeof(__be32));
	}
	bpf_map_update_elem(&connections, &c.cookie, &c, BPF_ANY);
}

/* Sends what became of a connection, once. */
__noinline int emit_connected(struct connecting *c)
{
	struct out o = {};
	__u64 cookie;
	__u8 ip[16];

	if (!c)
		return 0;
	cookie = c->cookie;
	o.rec.head = c->head;
	o.rec.head.ktime = bpf_ktime_get_ns();
	o.rec.ret = -(__s32)c->error;
	if (c->closed && !c->error)
		set_flags(&o, VIV_UNKNOWN);
	set_num(&o, 0, cookie);
	set_num(&o, 1, bpf_ntohs(c->port));
	set_num(&o, 2, c->end - c->head.ktime);
	__builtin_memcpy(ip, c->ip, sizeof(ip));
	set_text(&o, 1, ip, c->len == sizeof(ip) ? sizeof(ip) : sizeof(__be32));
	if (!bpf_map_delete_elem(&connections, &cookie))
		emit(&o);
	return 0;
}

static __always_inline void end_connecting(struct sock *sk, int state)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	struct connecting *c;

	if (!cookie)
		return;
	c = bpf_map_lookup_elem(&connections, &cookie);
	if (!c)
		return;
	c->end = bpf_ktime_get_ns();
	c->closed = state == TCP_CLOSE;
	c->error = c->closed ? sk->sk_err : 0;
	__sync_fetch_and_add(&c->ended, 1); /* and a barrier, as below */
	if (*(volatile __u64 *)&c->waiting)
		emit_connected(c);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int from, int state)
{
	if (state == TCP_SYN_SENT)
		start_connecting(sk);
	else if ((from == TCP_SYN_SENT || from == TCP_SYN_RECV) && (state == TCP_ESTABLISHED || state == TCP_CLOSE))
		end_connecting(sk, state);
	return 0;
}

/* The call has returned before its connection was there. */
__noinline int leave_connecting(__u64 cookie)
{
	struct connecting *c = bpf_map_lookup_elem(&connections, &cookie);

	if (!c)
		return 0;
	__sync_fetch_and_add(&c->waiting, 1);
	if (*(volatile __u64 *)&c->ended)
		emit_connected(c);
	return 0;
}

static __always_inline bool is_any(const __u32 *ip)
{
	return !(ip[0] | ip[1] | ip[2] | ip[3]);
}

static __always_inline bool is_same_ip(const __u32 *a, const __u32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/*
 * What was left, with the outcome ret and the peer that the kernel has: the
 * program may have changed the address since it was read, or it is that of any
 * host, which is this one. Another peer can as well be that of another socket,
 * if the descriptor was changed as the call began, so both are shown.
 */
__noinline int emit_connect_outcome(struct task *t, long ret)
{
	struct pending *p = pended();
	struct texts *s = get_texts();
	struct address *peer;
	struct sock *sk;
	__u64 cookie = 0;
	__u32 *given;

	if (!t || !p || !s)
		return 0;
	sk = (void *)p->sock;
	if (sk)
		cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	if (cookie)
		pend_num(p, 3, cookie);
	peer = (void *)s->args;
	given = (void *)p->text[0];
	if ((ret >= 0 || ret == -EINPROGRESS) && sk && p->nums & 2 && peer_address(peer, sk) && peer->family == p->num[0]) {
		char *own = s->path; /* the given address, as the peer's */
		bool any = is_any(given), same;

		bpf_probe_read_kernel(own, 16, given);
		pend_ip(p, peer);
		same = is_same_ip(given, (void *)own) && p->num[1] == bpf_ntohs(peer->port);
		if (!same && !any) {
			bpf_probe_read_kernel(given, 16, own);
			if (p->exact)
				goto out;
			if (emit_connect)
				send_pending(t, p, ret, VIV_UNKNOWN);
			p->kind = VIV_SOCK_CONNECT + 1;
			p->flags |= VIV_UNKNOWN;
			pend_ip(p, peer);
		}
		pend_num(p, 1, bpf_ntohs(peer->port));
	}
out:
	if (emit_connect)
		emit_pending(t, p, ret, 0);
	else
		p->kind = 0;
	if (ret == -EINPROGRESS && cookie)
		leave_connecting(cookie);
	return 0;
}

SYSCALL_ENTRIES(connect_enter)
{
	return pend_connect((__u64)fd_sock(ARG1(r)), ARG2(r), ARG3(r));
}

SYSCALLS(connect_exit)
{
	struct pending *p = pended();

	/* It came to no hook, or its address was not in memory yet. */
	if (!p || p->unread)
		pend_connect(p ? p->sock : ret < 0 ? (__u64)fd_sock(ARG1(r)) : 0, ARG2(r), ARG3(r));
	return emit_connect_outcome(t, ret);
}

LSM(socket_connect, VIV_SOCK_CONNECT, true, struct socket *sock, struct sockaddr *address, int addrlen)
{
	struct address *a = PENDED_ADDRESS(p);
	__u32 len = addrlen, size = len > sizeof(*a) ? sizeof(*a) : len;

	__builtin_memset(a, 0, sizeof(*a));
	bpf_probe_read_kernel(a, size, address);
	p->exact = 1;
	pend_address(p, sock->sk, len);
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
	emit_outcome(t, &o);
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
	if (ret > 0)
		set_num(&o, 1, ret); /* bytes that were sent */
	set_text(&o, 0, s->args, len);
	set_ip(&o, 1, a);
	emit_outcome(t, &o);
	return 0;
}

struct dns_messages {
	struct task *t;
	struct sock *sk;
	struct mmsghdr_user *m;
	long ret;
	__u64 most; /* pieces of each that are looked at */
	bool many;  /* ret counts messages, and not bytes */
};

static long dns_vector(__u32 i, struct dns_messages *v)
{
	struct msghdr_user h;

	if (bpf_probe_read_user(&h, sizeof(h), &v->m[i].hdr))
		return 1;
	struct dns_buffer b = { .len = h.iovlen, .pieces = (void *)h.iov, .most = v->most, .name = h.name, .namelen = h.namelen };

	dns_message(v->t, (__u64)v->sk, &b, v->many && v->ret > 0 ? 0 : v->ret);
	return 0;
}

/*
 * The socket that a call sends on. Where another thread can put another one under
 * its descriptor's number, the LSM hook or else the entry remembers it.
 */
SYSCALL_ENTRIES(send_enter)
{
	t->sock = shares_files() ? (__u64)fd_sock(ARG1(r)) : 0;
	return 0;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(lsm_socket_sendmsg, struct socket *sock)
{
	struct task *t = watched();

	if (t && in_call() && shares_files())
		t->sock = (__u64)sock->sk;
	return 0;
}

SYSCALLS(send_exit)
{
	struct sock *sk = t->sock ? (void *)t->sock : fd_sock(ARG1(r));
	struct dns_buffer b = { .base = ARG2(r), .len = ARG3(r), .most = DNS_PIECES };
	struct dns_messages v = { .t = t, .sk = sk, .m = (void *)ARG2(r), .ret = ret, .most = DNS_PIECES };
	__u32 flags = 0, messages = 0; /* 0: the buffer is the message */

	t->sock = 0;
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
		v.many = true;
		flags = ARG4(r);
		messages = ret <= 0 ? 1 : ret < DNS_MESSAGES ? ret : DNS_MESSAGES;
		if (messages > 1)
			v.most = DNS_PIECES_OF_MANY;
		break;
	}
	/* TCP's fast open: a message, if several the first, that connects. LSM hooks are not told. */
	if (flags & MSG_FASTOPEN && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM) {
		if (messages) {
			bpf_probe_read_user(&b.name, sizeof(b.name), &v.m->hdr.name);
			bpf_probe_read_user(&b.namelen, sizeof(b.namelen), &v.m->hdr.namelen);
		}
		if (b.name) {
			pend_connect((__u64)sk, b.name, b.namelen);
			emit_connect_outcome(t, ret);
			if (restarts(ret)) /* it has sent nothing */
				return 0;
		}
	}
	if (messages)
		bpf_loop(messages, dns_vector, &v, 0);
	else
		dns_message(t, (__u64)sk, &b, ret);
	return 0;
}

#endif
