/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* From a hook to the ring buffer. */
#ifndef VIV_EMIT_H
#define VIV_EMIT_H

#include "task.h"

#define PATH_MAX 4096
#define ARGS_MAX 16384 /* bytes of argv that a record holds */

/* Room for a path that is built backwards from PATH_MAX, and behind it what
 * the verifier thinks a name could reach. */
#define TEXT_ROOM (PATH_MAX + 256)

/*
 * One per CPU, for the texts of one record. A path is built backwards from
 * PATH_MAX, a string of the program's is put forwards behind it; the rest is
 * room that the verifier wants behind every possible offset.
 *
 * Only programs that run with preemption off may use it: tracepoints, but
 * neither LSM hooks nor uprobes.
 */
struct texts {
	char path[3 * PATH_MAX];
	char args[ARGS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct texts);
} scratch SEC(".maps");

/*
 * Zero, though the verifier does not know it. Before Linux 6.7 it takes the
 * body of a bpf_loop as if it ran once, and removes the branches that only a
 * later turn can take, checks of bounds among them. So what a body counts on
 * must not be known when the loop begins.
 */
volatile __u32 unknown_zero = 0;

static __always_inline struct texts *get_texts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

/* A record is filled by begin, set_num and set_text, then sent by emit. */
struct out {
	struct record rec;
	const void *text[VIV_TEXTS];
	__u64 len[VIV_TEXTS]; /* of a register's size, so that the verifier keeps its bounds */
};

static __always_inline void begin(struct out *o, struct task *t, enum kind kind, long ret)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u64 ug = bpf_get_current_uid_gid();

	__builtin_memset(o, 0, sizeof(*o));
	o->rec.ktime = bpf_ktime_get_ns();
	o->rec.span = t->span;
	o->rec.parent = t->parent;
	o->rec.pid = id >> 32;
	o->rec.tid = id;
	o->rec.uid = ug;
	o->rec.gid = ug >> 32;
	o->rec.kind = kind;
	o->rec.ret = ret < 0 ? ret : 0;
	bpf_get_current_comm(o->rec.comm, sizeof(o->rec.comm));
}

static __always_inline void set_num(struct out *o, int i, __u64 v)
{
	o->rec.num[i] = v;
	o->rec.nums |= 1 << i;
}

/* text must have room for len bytes; len is at most ARGS_MAX. */
static __always_inline void set_text(struct out *o, int i, const void *text, __u64 len)
{
	o->text[i] = text;
	o->len[i] = len;
	o->rec.len[i] = len;
}

/* Something that should have been recorded was not. */
static __always_inline void lose(void)
{
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);

	if (c)
		c->lost++;
}

/* Wake the reader at once when a program or library is mapped: user space has
 * to attach to it before it runs far. */
const volatile bool wake_maps = false;

#define LOOK_EVERY 64 /* records between two looks at how full the ring is */

/* The record's size is known only now: a dynptr takes just that of the ring. */
static __always_inline void emit(struct out *o)
{
	__u64 head = offsetof(struct record, num), l0 = o->len[0], l1 = o->len[1];
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);
	struct bpf_dynptr ring;
	__u64 wake = BPF_RB_NO_WAKEUP;

	if (!c)
		return;
	for (int i = 0; i < VIV_NUMS; i++)
		if (o->rec.nums >> i)
			head += sizeof(o->rec.num[0]);
	o->rec.lost = c->lost > ~0U ? ~0U : c->lost;
	if (bpf_ringbuf_reserve_dynptr(&events, head + l0 + l1, 0, &ring)) {
		bpf_ringbuf_discard_dynptr(&ring, 0);
		c->lost++;
		return;
	}
	c->lost -= o->rec.lost;
	bpf_dynptr_write(&ring, 0, &o->rec, head, 0);
	if (l0)
		bpf_dynptr_write(&ring, head, (void *)o->text[0], l0, 0);
	if (l1)
		bpf_dynptr_write(&ring, head + l0, (void *)o->text[1], l1, 0);
	if (!(++c->emitted & (LOOK_EVERY - 1)) && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes)
		wake = BPF_RB_FORCE_WAKEUP;
	if (wake_maps && (o->rec.kind == VIV_MMAP_EXEC || o->rec.kind == VIV_PROC_EXEC))
		wake = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit_dynptr(&ring, wake);
}

#endif
