/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Calls of libraries, and what their texts are read by. No program here waits
 * for memory: a page that is not there can be one that never comes. But many a
 * constant has not been touched when getenv gets it (of curl's first calls one
 * in ten): the library itself reads it next. So such a call is kept, and read
 * before the thread's next record: at its next probe, system call, or end. What
 * cannot be read then is truncated.
 */
#ifndef VIV_LATE_H
#define VIV_LATE_H

#include "library.h"

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
	VIV_CALL_DLMOPEN,
	VIV_CALL_SSL_SENDFILE,
	VIV_CALL_BIO_WRITE,
	VIV_CALL_TLS_CORK,
	VIV_CALL_TLS_UNCORK,
};
const enum call *call_unused __attribute__((unused));

#define KEY_MAX 256
#define TLS_MAX 16384 /* bytes of a write that are read: as much as a TLS record holds */

struct library_call {
	__u64 text; /* where it lies; 0: there is none */
	__u64 conn, len; /* of a TLS write */
	__u32 call; /* enum call */
	__u32 kind; /* enum kind of the event */
};

/* A function of a library's can call another one with its text before it looks at
 * it: secure_getenv calls getenv. */
#define LATE_MAX 2

struct late_call {
	struct library_call c;
	struct head head; /* as it was at the call */
};

struct late_list {
	struct late_call call[LATE_MAX];
	__u64 n;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct late_list);
} late_calls SEC(".maps");

__u64 late_waiting = 0; /* how many of them wait; what is left at the end is lost */

/* Of the task, which is in one program at a time that uses it. */
struct library_texts {
	char room[RECORD_ROOM];
	union {
		char path[PATH_MAX];
		__u64 key[KEY_MAX / 8];
		char data[TLS_MAX];
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct library_texts);
} library_scratch SEC(".maps");

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

/* How much of a text there is up to the end of its first page. */
static __always_inline __u64 in_page(__u64 at)
{
	return 4096 - (at & 4095);
}

/* A string of at most size - 1 bytes; partly: of one that is not in memory what
 * there is of it, with a NUL behind it. Below 0: it is not. */
static __always_inline long read_string(char *to, __u32 size, __u64 from, bool partly, bool *cut)
{
	long n = bpf_probe_read_user_str(to, size, (void *)from);
	__u64 part = in_page(from);

	if (n >= 0)
		return n > 0 ? n - 1 : 0;
	if (!partly)
		return -1;
	*cut = true;
	if (part > size - 1)
		part = size - 1;
	if (bpf_probe_read_user(to, part, (void *)from))
		return -1;
	to[part & (size - 1)] = 0;
	return part;
}

/* Sends a call with the head that it had. last: what is not in memory is left out;
 * else nothing is sent then, and the result is 0. Not static, so that the verifier
 * looks at it once, and not for each who calls it. */
__noinline int send_call(struct library_call *c, struct head *h, __u32 last)
{
	struct library_texts *s;
	bool cut = false;
	struct out out, *o = &out;
	__u64 want;
	long n;

	if (!c || !h)
		return 1;
	s = bpf_task_storage_get(&library_scratch, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!s) {
		lose();
		return 1;
	}
	__builtin_memset(o, 0, sizeof(*o));
	o->rec.head = *h;
	set_root(o); /* that of the call: only a later one can change it */
	switch (c->kind) {
	case VIV_ENV_CACCESS:
		set_num(o, 0, c->call);
		if (c->call == VIV_CALL_CLEARENV)
			break;
		n = read_string((char *)s->key, sizeof(s->key), c->text, last, &cut);
		if (!last && n < 0)
			return 0;
		if (n >= 0) {
			keep_key(s->key);
			set_text(o, 0, s->key, sizeof(s->key)); /* up to its first NUL */
		}
		break;
	case VIV_DLOPEN:
		n = read_string(s->path, sizeof(s->path), c->text, last, &cut);
		if (!last && n < 0)
			return 0;
		if (n > 0)
			set_text(o, 0, s->path, n & (PATH_MAX - 1));
		if (n == sizeof(s->path) - 1)
			cut = true;
		break;
	case VIV_SSL_WRITE:
		want = c->text ? c->len : 0;
		if (want > TLS_MAX)
			want = TLS_MAX;
		if (want && bpf_probe_read_user(s->data, want, (void *)c->text)) {
			if (!last)
				return 0;
			if (want > in_page(c->text))
				want = in_page(c->text);
			if (want > TLS_MAX || bpf_probe_read_user(s->data, want, (void *)c->text))
				want = 0;
		}
		set_num(o, 0, c->len);
		set_num(o, 1, want);
		set_num(o, 2, c->conn);
		set_text(o, 0, s->data, want);
		break;
	}
	if (cut)
		set_flags(o, VIV_TRUNCATED);
	emit(o);
	return 1;
}

/* Sends the calls of the current task that wait for their texts, with last those
 * that are still not there, too. Returns how many go on waiting. */
static __noinline __u64 send_late(__u32 last)
{
	struct late_list *l = bpf_task_storage_get(&late_calls, bpf_get_current_task_btf(), 0, 0);

	if (!l)
		return 0;
	for (int i = 0; i < LATE_MAX && l->n; i++) {
		if (!send_call(&l->call[0].c, &l->call[0].head, last))
			break;
		l->call[0] = l->call[1];
		l->n--;
		__sync_fetch_and_add(&late_waiting, -1);
	}
	return l->n;
}

/* In front of whatever a thread sends. */
static __always_inline void before_record(void)
{
	if (late_waiting)
		send_late(1);
}

/* watched, for probes in files that send records of their own. */
static __always_inline struct task *probed(void)
{
	struct task *t = watched();

	if (t)
		before_record();
	return t;
}

static __always_inline void library_called(struct task *t, struct library_call *c)
{
	__u64 waiting = late_waiting ? send_late(0) : 0;
	struct late_list *l;
	struct head h = {};

	if (waiting == LATE_MAX)
		waiting = send_late(1);
	set_task(&h, t, c->kind);
	if (!waiting && send_call(c, &h, 0))
		return;
	l = bpf_task_storage_get(&late_calls, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!l) {
		lose();
		return;
	}
	waiting = l->n & (LATE_MAX - 1);
	l->call[waiting].c = *c;
	l->call[waiting].head = h;
	l->n = waiting + 1;
	__sync_fetch_and_add(&late_waiting, 1);
}

#endif
