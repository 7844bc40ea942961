/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What libraries say: uprobes on functions that programs call, attached by
 * pkg/probe for each watched process. A process that could have another
 * library now (made, executed, mapped) is told to it by a record of its own
 * that wakes it, whatever events were chosen.
 *
 * Uprobes can be preempted, and here they may sleep: the strings that a
 * program passes are often still in its file. So a record is filled where it
 * lies in the ring.
 */
#ifndef VIV_LIBRARY_H
#define VIV_LIBRARY_H

#include "syscall.h"

/* A library event was chosen, or probes in files are wanted. */
const volatile bool watch_libraries = false;

/* The common part of a record in the ring. */
static __always_inline void head(struct record *r, struct task *t, __u16 kind)
{
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);

	set_task(r, t);
	r->kind = kind;
	r->ret = 0;
	r->flags = 0;
	r->len[0] = 0;
	r->len[1] = 0;
	r->lost = 0;
	if (c) {
		r->lost = c->lost > ~0U ? ~0U : c->lost;
		c->lost -= r->lost;
	}
	/* All of the numbers are there, so that the text lies behind them. */
	r->nums = (1 << VIV_NUMS) - 1;
	for (int i = 0; i < VIV_NUMS; i++)
		r->num[i] = 0;
}

/* leader's process can have another library now; parent is who made it, or 0;
 * exec: it runs another program. */
static __always_inline void tell_library(struct task *t, struct task_struct *leader, struct task_struct *parent, bool exec)
{
	struct record *r;

	if (!watch_libraries || !leader)
		return;
	r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	if (!r)
		return lose();
	head(r, t, VIV_LIBRARY);
	r->num[0] = own_id(leader);
	r->num[1] = parent ? own_id(parent) : 0;
	r->num[2] = exec;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

/* How to submit a record: the reader looks again and again by itself, and is
 * only woken when the ring fills. A large record looks each time. */
static __always_inline __u64 wake_reader(bool large)
{
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);

	if (c && (large || !(++c->emitted & (LOOK_EVERY - 1))) &&
	    bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* What a uprobe's cookie says: which function was called. */
enum call {
	VIV_CALL_DLOPEN,
	VIV_CALL_GETENV,
	VIV_CALL_SECURE_GETENV,
	VIV_CALL_SETENV,
	VIV_CALL_UNSETENV,
	VIV_CALL_PUTENV,
	VIV_CALL_CLEARENV,
	VIV_CALL_SSL_WRITE,
	VIV_CALL_SSL_WRITE_EX,
	VIV_CALL_GNUTLS_RECORD_SEND,
	VIV_CALL_TLS_END,
};
const enum call *call_unused __attribute__((unused));

/* Makes the page at p readable; false: there is none. */
static __always_inline bool fault_in(const void *p)
{
	char c;

	return !bpf_probe_read_user(&c, 1, p) || !bpf_copy_from_user(&c, 1, p);
}

/* A string of the program's, which may go over a page that must be read first. */
static __always_inline long read_string(char *to, __u32 size, const void *from)
{
	long n = bpf_probe_read_user_str(to, size, from);

	if (n >= 0 || !fault_in((void *)(((__u64)from | 4095) + 1)))
		return n;
	return bpf_probe_read_user_str(to, size, from);
}

#define KEY_MAX 256

struct env_record {
	struct record rec;
	__u64 key[KEY_MAX / 8]; /* up to its first NUL */
};

/*
 * Zeroes a name from its end or its first = on: behind that lies, in putenv's
 * argument, the value, which must not leave. Eight bytes at a time and without
 * a branch, because the verifier would follow each.
 */
static __always_inline void keep_key(__u64 *key)
{
	const __u64 ones = 0x0101010101010101, tops = 0x8080808080808080;
	__u64 kept = ~0ULL;

	for (int i = 0; i < KEY_MAX / 8; i++) {
		__u64 w = key[i], eq = w ^ ones * '=';
		/* The lowest bit of it is the top one of the first = or NUL. */
		__u64 end = ((w - ones) & ~w & tops) | ((eq - ones) & ~eq & tops);

		key[i] = w & kept & (((end & -end) >> 7) - 1);
		kept &= ~((__s64)(end | -end) >> 63);
	}
}

SEC("uprobe.s")
int env_call(struct pt_regs *ctx)
{
	struct task *t = watched();
	const void *name = (void *)ARG1(ctx);
	__u64 call = bpf_get_attach_cookie(ctx);
	struct env_record *r;
	long n = 0;

	if (!t)
		return 0;
	if (call != VIV_CALL_CLEARENV && !fault_in(name))
		return 0;
	r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	if (!r) {
		lose();
		return 0;
	}
	head(&r->rec, t, VIV_ENV_CACCESS);
	r->rec.num[0] = call;
	if (call != VIV_CALL_CLEARENV)
		n = read_string((char *)r->key, sizeof(r->key), name);
	if (n > 0) {
		keep_key(r->key);
		r->rec.len[1] = sizeof(r->key);
	}
	bpf_ringbuf_submit(r, wake_reader(false));
	return 0;
}

struct dlopen_record {
	struct record rec;
	char path[PATH_MAX];
};

SEC("uprobe.s")
int dlopen_call(struct pt_regs *ctx)
{
	struct task *t = watched();
	const void *path = (void *)ARG1(ctx);
	struct dlopen_record *r;
	long n;

	if (!t || !path || !fault_in(path)) /* no path: the program itself */
		return 0;
	r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	if (!r) {
		lose();
		return 0;
	}
	head(&r->rec, t, VIV_DLOPEN);
	n = read_string(r->path, sizeof(r->path), path);
	if (n > 0)
		r->rec.len[0] = n - 1;
	if (n == sizeof(r->path))
		r->rec.flags = VIV_TRUNCATED;
	bpf_ringbuf_submit(r, wake_reader(true));
	return 0;
}

/*
 * TLS. At most TLS_MAX bytes of a write are captured, which is as much as a TLS
 * record holds and more than the headers of a request that servers take. The
 * ring has few sizes of records, because a size must be known in advance.
 */
#define TLS_MAX 16384

#define TLS_SEND(name, size)                                                                   \
	static __noinline int tls_send_##name(__u64 conn, const void *data, __u64 len)         \
	{                                                                                      \
		struct {                                                                       \
			struct record rec;                                                     \
			char data[size];                                                       \
		} *r;                                                                          \
		struct task *t = watched();                                                    \
		__u64 n = len;                                                                 \
                                                                                               \
		if (!t)                                                                        \
			return 0;                                                              \
		r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);                               \
		if (!r) {                                                                      \
			lose();                                                                \
			return 0;                                                              \
		}                                                                              \
		head(&r->rec, t, VIV_SSL_WRITE);                                               \
		if (n > size)                                                                  \
			n = size;                                                              \
		if (n && bpf_probe_read_user(r->data, n, data) && bpf_copy_from_user(r->data, n, data)) \
			n = 0;                                                                 \
		r->rec.num[0] = len;                                                           \
		r->rec.num[1] = n;                                                             \
		r->rec.num[2] = conn;                                                          \
		r->rec.len[1] = n;                                                             \
		bpf_ringbuf_submit(r, wake_reader(size > 256));                                \
		return 0;                                                                      \
	}

TLS_SEND(small, 256)
TLS_SEND(middle, 2048)
TLS_SEND(large, TLS_MAX)

SEC("uprobe.s")
int tls_call(struct pt_regs *ctx)
{
	__u64 call = bpf_get_attach_cookie(ctx), conn = ARG1(ctx), len = ARG3(ctx);
	const void *data = (void *)ARG2(ctx);
	struct task *t = watched();
	struct record *r;

	if (!t)
		return 0;
	if (call == VIV_CALL_TLS_END) {
		r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
		if (!r) {
			lose();
			return 0;
		}
		head(r, t, VIV_TLS_END);
		r->num[2] = conn;
		bpf_ringbuf_submit(r, wake_reader(false));
		return 0;
	}
	if (call == VIV_CALL_SSL_WRITE)
		len = (int)len < 0 ? 0 : (__u32)len;
	if (call == VIV_CALL_GNUTLS_RECORD_SEND && !data)
		return 0; /* the one before goes on */
	if (len <= 256)
		return tls_send_small(conn, data, len);
	if (len <= 2048)
		return tls_send_middle(conn, data, len);
	return tls_send_large(conn, data, len);
}

#endif
