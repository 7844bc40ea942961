/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * BPF LSM hooks: the objects that the kernel really acts on. In a call whose
 * exit is watched a hook only leaves the object for it; elsewhere (io_uring, a
 * 32-bit call) it sends the event at once, with its outcome unknown.
 *
 * These programs can be preempted, so they build their texts in the task's own
 * memory and not in the CPU's.
 */
#ifndef VIV_LSM_H
#define VIV_LSM_H

#include "pending.h"

/* As watched, also for the threads that io_uring makes in a process. */
static __always_inline struct task *watched_worker(void)
{
	struct task_struct *task = bpf_get_current_task_btf(), *leader;
	struct task *t = bpf_task_storage_get(&tasks, task, 0, 0);

	if (!t && task->flags & PF_IO_WORKER) {
		leader = task->group_leader;
		if (leader)
			t = bpf_task_storage_get(&tasks, leader, 0, 0);
	}
	if (t && other_root())
		tell_root(t);
	return t;
}

/* A hook for an event: for its exit in a call that pends it, else to be sent at once. */
struct lsm_hook {
	struct task *t;
	struct pending *p;
	bool own;
};

static __always_inline bool lsm_begin(struct lsm_hook *h, __u32 kind)
{
	struct syscall *c;

	h->t = watched_worker();
	if (!h->t)
		return false;
	c = current_call();
	if (quiet(c, kind))
		return false;
	h->own = pends(c, kind);
	h->p = h->own ? pend(kind) : pend_aside(kind);
	return h->p;
}

/*
 * The program of an LSM hook for an event, where the condition is true. Its body
 * fills p; it has the task t, and own says that the exit of the task's call sends
 * what it leaves.
 */
#define LSM(hook, event, condition, args...)                                                                 \
	static __always_inline void on_lsm_##hook(struct task *t, struct pending *p, bool own,              \
						  unsigned long long *ctx, ##args);                          \
	SEC("lsm/" #hook)                                                                                    \
	int BPF_PROG(lsm_##hook, ##args)                                                                     \
	{                                                                                                    \
		struct lsm_hook h;                                                                           \
                                                                                                             \
		if (!(condition) || !lsm_begin(&h, event))                                                   \
			return 0;                                                                            \
		_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wint-conversion\"")       \
		on_lsm_##hook(h.t, h.p, h.own, ___bpf_ctx_cast(args));                                       \
		_Pragma("GCC diagnostic pop")                                                                \
		if (!h.own)                                                                                  \
			send_pending(h.t, h.p, 0, VIV_UNKNOWN);                                              \
		return 0;                                                                                    \
	}                                                                                                    \
	static __always_inline void on_lsm_##hook(struct task *t, struct pending *p, bool own,              \
						  unsigned long long *ctx, ##args)

#endif
