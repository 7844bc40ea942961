/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Calls that a signal has interrupted. Only behind the call's exit does the kernel
 * see whether the program gets EINTR or the call is done again, when the signal is
 * delivered. So what the exit would send is kept: it is sent with EINTR, or the
 * exit of the repeated call stands for it. If that never comes, because the handler
 * jumped away or the task ended, it is sent with its outcome unknown.
 */
#ifndef VIV_INTERRUPTED_H
#define VIV_INTERRUPTED_H

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending);
} interrupted_calls SEC(".maps");

static __always_inline bool restarts(long ret)
{
	return ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK;
}

/* A call that is done again is at the same place, with the same arguments. */
static __always_inline bool is_same_call(struct pending *p, struct pt_regs *r)
{
	return p->nr == (__u32)r->orig_ax && p->ip == r->ip && p->sp == r->sp && p->arg[0] == ARG1(r) &&
	       p->arg[1] == ARG2(r) && p->arg[2] == ARG3(r);
}

static __always_inline struct pending *interrupted_call(__u64 flags)
{
	return bpf_task_storage_get(&interrupted_calls, bpf_get_current_task_btf(), 0, flags);
}

static __always_inline void kept_call(struct task *t, struct pending *p)
{
	struct pt_regs *r = call_regs();

	p->nr = r->orig_ax;
	p->ip = r->ip;
	p->sp = r->sp;
	p->arg[0] = ARG1(r);
	p->arg[1] = ARG2(r);
	p->arg[2] = ARG3(r);
	t->interrupted = 1;
}

__noinline int keep_pending(struct task *t, struct pending *from)
{
	struct pending *p;

	if (!t || !from)
		return 0;
	p = interrupted_call(BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!p) {
		lose();
		return 0;
	}
	bpf_probe_read_kernel(p, sizeof(*p), from);
	from->kind = 0;
	kept_call(t, p);
	return 0;
}

__noinline int keep_record(struct task *t, struct out *o)
{
	struct pending *p;

	if (!t || !o)
		return 0;
	p = interrupted_call(BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!p) {
		lose();
		return 0;
	}
	p->kind = o->rec.head.kind + 1;
	p->flags = o->rec.head.flags;
	p->nums = o->rec.head.nums;
	for (int i = 0; i < VIV_NUMS; i++)
		p->num[i] = o->rec.num[i];
	for (int i = 0; i < VIV_TEXTS; i++) {
		__u64 len = o->len[i];

		if (len > PATH_MAX) {
			len = PATH_MAX;
			p->flags |= VIV_TRUNCATED;
		}
		if (len)
			bpf_probe_read_kernel(p->text[i], len, o->text[i]);
		p->len[i] = len;
	}
	kept_call(t, p);
	return 0;
}

/* Another call of the task is interrupted: what was kept makes room. */
__noinline int make_room(struct task *t)
{
	struct pending *p = interrupted_call(0);

	if (t && p && !is_same_call(p, call_regs()))
		send_pending(t, p, 0, VIV_UNKNOWN);
	return 0;
}

/* At the exit of a call: if it is the one that was interrupted, it speaks for itself now. */
__noinline int restarted(struct task *t)
{
	struct pending *p = interrupted_call(0);

	if (t && p && is_same_call(p, call_regs())) {
		p->kind = 0;
		t->interrupted = 0;
	}
	return 0;
}

/* The task will not come back to it. */
__noinline int end_interrupted(struct task *t)
{
	struct pending *p = interrupted_call(0);

	if (t && p)
		send_pending(t, p, 0, VIV_UNKNOWN);
	return 0;
}

#endif
