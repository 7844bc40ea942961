/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Every system call's entry and exit. */
#ifndef VIV_SYSCALL_H
#define VIV_SYSCALL_H

#include "../lib/calls.h"
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

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!task->bpf_storage)
		return 0;
	before_record();
	if (!(task->thread_info.status & TS_COMPAT))
		bpf_tail_call(ctx, &entries, nr);
	return 0;
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
