/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Every system call's entry and exit. */
#ifndef VIV_SYSCALL_H
#define VIV_SYSCALL_H

#include "../lib/pending.h"
#include "../lib/late.h"

/*
 * Two programs are attached for all system calls: a tracepoint for each call
 * would take the kernel tens of milliseconds to take away again. They leave the
 * calls of tasks that carry no mark of anybody's at once, and jump to the
 * program of the call's number, if pkg/probe has put one there; that one asks
 * whether the task is watched.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CALLS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} entries SEC(".maps"), exits SEC(".maps");

/* For whoever of the watched can be answered by others, sys_enter must be
 * attached; user space does it when it is told so, or before. */
bool entries_wanted = false;

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task *t;

	if (!task->bpf_storage)
		return 0;
	before_record();
	if (task->thread_info.status & TS_COMPAT)
		return 0;
	if (answerable(task)) {
		t = watched();
		if (t)
			t->entered = ENTERED;
	}
	bpf_tail_call(ctx, &entries, nr);
	return 0;
}

/* What the exit shows of a call that others could have answered. */
static __always_inline void answerable_exit(void)
{
	struct task *t = watched();
	struct head r = {};

	if (!t)
		return;
	t->entered = t->entered == ENTERED ? DONE : ANSWERED;
	if (entries_wanted)
		return;
	entries_wanted = true;
	set_task(&r, t, VIV_ANSWERABLE);
	send(&r, sizeof(r), true);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task *t;

	if (!task->bpf_storage)
		return 0;
	if (task->thread_info.status & TS_COMPAT) { /* other numbers, other arguments */
		t = watched();
		if (t)
			blind(t, VIV_BLIND_COMPAT);
	} else {
		if (answerable(task))
			answerable_exit();
		if (restarts(ret)) {
			t = watched();
			if (t && t->interrupted)
				make_room(t);
		}
		bpf_tail_call(ctx, &exits, regs->orig_ax);
	}
	return 0;
}

/* What io_uring does then, no system call shows. */
SYSCALLS(io_uring_exit)
{
	if (ret >= 0)
		blind(t, VIV_BLIND_IO_URING);
	return 0;
}

#endif
