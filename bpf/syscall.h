/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A system call's exit reads what it needs: the outcome from the tracepoint,
 * the arguments from the registers as they were at the entry, the objects
 * from the kernel. So most calls need no hook at their entry and no state.
 */
#ifndef VIV_SYSCALL_H
#define VIV_SYSCALL_H

#include "path.h"

/* /sys/kernel/tracing/events/syscalls/sys_exit_NAME/format */
struct sys_exit {
	__u64 common;
	__s64 nr;
	__s64 ret;
};

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

/* The body runs for watched tasks only, with its task t, registers r and the
 * outcome ret. */
#define SYS_EXIT(name)                                                                        \
	static __always_inline int on_##name(struct task *t, struct pt_regs *r, long ret); \
	SEC("tracepoint/syscalls/sys_exit_" #name)                                            \
	int sys_exit_##name(struct sys_exit *ctx)                                             \
	{                                                                                     \
		struct task *t = watched();                                               \
                                                                                              \
		return t ? on_##name(t, call_regs(), ctx->ret) : 0;                           \
	}                                                                                     \
	static __always_inline int on_##name(struct task *t, struct pt_regs *r, long ret)

#endif
