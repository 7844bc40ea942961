/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What libraries say: uprobes on functions that programs call, attached by
 * pkg/probe for each watched process.
 *
 * Uprobes can be preempted, and here they may sleep: the strings that a program
 * passes are often still in its file. What they read they read into the task's
 * memory; the ring is only touched when all of it is there, because a record
 * that is reserved holds up all others.
 */
#ifndef VIV_LIBRARY_H
#define VIV_LIBRARY_H

#include "../lib/library.h"
#include "../lib/calls.h"

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

/* Of the task, which is in one probe at a time. */
struct library_texts {
	char room[RECORD_ROOM];
	union {
		char path[PATH_MAX];
		__u64 key[KEY_MAX / 8];
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct library_texts);
} library_scratch SEC(".maps");

static __always_inline struct library_texts *get_library_texts(void)
{
	struct library_texts *s = bpf_task_storage_get(&library_scratch, bpf_get_current_task_btf(), 0,
						       BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!s)
		lose();
	return s;
}

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
	struct library_texts *s;
	struct out o;

	if (!t)
		return 0;
	if (call != VIV_CALL_CLEARENV && !fault_in(name))
		return 0;
	s = get_library_texts();
	if (!s)
		return 0;
	begin(&o, t, VIV_ENV_CACCESS, 0);
	set_num(&o, 0, call);
	if (call != VIV_CALL_CLEARENV && read_string((char *)s->key, sizeof(s->key), name) > 0) {
		keep_key(s->key);
		set_text(&o, 0, s->key, sizeof(s->key)); /* up to its first NUL */
	}
	emit(&o);
	return 0;
}

SEC("uprobe.s")
int dlopen_call(struct pt_regs *ctx)
{
	struct task *t = watched();
	const void *path = (void *)ARG1(ctx);
	struct library_texts *s;
	struct out o;
	long n;

	if (!t || !path || !fault_in(path)) /* no path: the program itself */
		return 0;
	s = get_library_texts();
	if (!s)
		return 0;
	begin(&o, t, VIV_DLOPEN, 0);
	n = read_string(s->path, sizeof(s->path), path);
	if (n > 0)
		set_text(&o, 0, s->path, (n - 1) & (PATH_MAX - 1));
	if (n == sizeof(s->path))
		set_flags(&o, VIV_TRUNCATED);
	emit(&o);
	return 0;
}

/*
 * TLS. At most TLS_MAX bytes of a write are captured, which is as much as a TLS
 * record holds and more than the headers of a request that servers take.
 */
#define TLS_MAX 16384

struct tls_texts {
	char room[RECORD_ROOM];
	char data[TLS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_texts);
} tls_scratch SEC(".maps");

SEC("uprobe.s")
int tls_call(struct pt_regs *ctx)
{
	__u64 call = bpf_get_attach_cookie(ctx), conn = ARG1(ctx), len = ARG3(ctx), n;
	const void *data = (void *)ARG2(ctx);
	struct task *t = watched();
	struct tls_texts *s;
	struct out o;

	if (!t)
		return 0;
	if (call == VIV_CALL_TLS_END) {
		struct tls_end_record r = { .conn = conn };

		set_task(&r.head, t, VIV_TLS_END);
		send(&r.head, sizeof(r), false);
		return 0;
	}
	if (call == VIV_CALL_SSL_WRITE)
		len = (int)len < 0 ? 0 : (__u32)len;
	if (call == VIV_CALL_GNUTLS_RECORD_SEND && !data)
		return 0; /* the one before goes on */
	s = bpf_task_storage_get(&tls_scratch, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!s) {
		lose();
		return 0;
	}
	n = len > TLS_MAX ? TLS_MAX : len;
	if (n && bpf_probe_read_user(s->data, n, data) && bpf_copy_from_user(s->data, n, data))
		n = 0;
	begin(&o, t, VIV_SSL_WRITE, 0);
	set_num(&o, 0, len);
	set_num(&o, 1, n);
	set_num(&o, 2, conn);
	set_text(&o, 0, s->data, n);
	emit(&o);
	return 0;
}

#endif
