/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A system call's exit reads what it needs: the outcome from the tracepoint,
 * the arguments from the registers as they were at the entry, the objects
 * from the kernel. So most calls need no hook at their entry and no state.
 */
#ifndef VIV_SYSCALL_H
#define VIV_SYSCALL_H

#include "blind.h"
#include "path.h"

#ifndef __NR_fchmodat2 /* newer than the headers of a stable distribution */
#define __NR_fchmodat2 452
#endif

static __always_inline struct pt_regs *call_regs(void)
{
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

#if defined(__TARGET_ARCH_x86)
#define ARG1(r) ((r)->di)
#define ARG2(r) ((r)->si)
#define ARG3(r) ((r)->dx)
#define ARG4(r) ((r)->r10)
#define ARG5(r) ((r)->r8)
#define ARG6(r) ((r)->r9)
#endif

/*
 * Two programs are attached for all system calls: a tracepoint for each call
 * would take the kernel tens of milliseconds to take away again. They leave the
 * calls of tasks that carry no mark of anybody's at once, and jump to the
 * program of the call's number, if pkg/probe has put one there; that one asks
 * whether the task is watched.
 */
#define CALLS_MAX 512

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

	if (task->bpf_storage && !(task->thread_info.status & TS_COMPAT))
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

/* A program for the exits of some system calls. Its body has the task t, the
 * call's number nr, its registers r and its outcome ret. */
#define SYSCALLS(name)                                                                             \
	static __always_inline int on_##name(struct task *t, int nr, struct pt_regs *r, long ret); \
	SEC("tp_btf/sys_exit")                                                                     \
	int BPF_PROG(name, struct pt_regs *regs, long ret)                                         \
	{                                                                                          \
		struct task *t = watched();                                                        \
                                                                                                   \
		return t ? on_##name(t, regs->orig_ax, regs, ret) : 0;                             \
	}                                                                                          \
	static __always_inline int on_##name(struct task *t, int nr, struct pt_regs *r, long ret)

/* The same for entries. */
#define SYSCALL_ENTRIES(name)                                                            \
	static __always_inline int on_##name(struct task *t, int nr, struct pt_regs *r); \
	SEC("tp_btf/sys_enter")                                                          \
	int BPF_PROG(name, struct pt_regs *regs, long nr)                                \
	{                                                                                \
		struct task *t = watched();                                              \
                                                                                         \
		return t ? on_##name(t, nr, regs) : 0;                                   \
	}                                                                                \
	static __always_inline int on_##name(struct task *t, int nr, struct pt_regs *r)

/* The system call that the current task is in; -1: none that the syscall
 * tracepoints show, such as a 32-bit one, or the work of an io_uring thread. */
static __always_inline int current_call(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->flags & PF_IO_WORKER || task->thread_info.status & TS_COMPAT)
		return -1;
	return call_regs()->orig_ax;
}

#endif
