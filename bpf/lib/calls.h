/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A system call's exit reads what it needs: the outcome from the tracepoint,
 * the arguments from the registers as they were at the entry, the objects
 * from the kernel. So most calls need no hook at their entry and no state.
 *
 * Which calls there are, and where their arguments lie, is in one table, which
 * pkg/probe makes (calls.go): no program knows the number of a call.
 */
#ifndef VIV_CALLS_H
#define VIV_CALLS_H

#include "blind.h"
#include "path.h"

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

#define CALLS_MAX 512 /* numbers of calls are below */

/* What a call's arguments are; of calls that have a program of their own, how
 * they differ from the others of it. */
enum form {
	FORM_NAME,   /* text 0 is the path that name 0 means */
	FORM_STRING, /* text 0 is the string name 0 as it is */
	FORM_FILE,   /* text 0 is the path of the descriptor dfd 0 */
	FORM_MOVE,   /* FORM_NAME, of a mount that may not be mounted yet */
	FORM_MOUNT,  /* text 0 are the strings name 0 and extra */
	FORM_HOW,    /* FORM_NAME, with a struct open_how */
	FORM_HANDLE, /* a file without a name */
	FORM_MAP,
	FORM_PROTECT,
	FORM_PTRACE,  /* argument 1 is a request */
	FORM_BUFFER,
	FORM_VECTOR,
	FORM_SENDTO,
	FORM_MESSAGE,
	FORM_MESSAGES,
	FORM_GROUP_IDS,
};

/* Arguments count from 1. */
enum argument {
	ARGUMENT_NONE = 0,
	ARGUMENT_CWD = 7, /* a directory that no argument names: AT_FDCWD */
};

struct syscall {
	__u64 pends; /* bits of enum kind: the exit sends what an LSM hook leaves for it */
	__u64 quiet; /* bits of enum kind: an LSM hook does not report this one here */
	__u64 value; /* number 0, or bits of it that no argument has */
	__u64 mask;  /* number 0: bits of the argument num */
	__u8 kind;   /* enum kind of its names */
	__u8 form;   /* enum form */
	__u8 nums;   /* 1: there is a number 0 */
	__u8 num;    /* argument: number 0 */
	__u8 dfd[2], name[2]; /* arguments: what a text is relative to, and its string */
	__u8 extra; /* argument: a process id, argv, a file system type */
	__u8 pad[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CALLS_MAX);
	__type(key, __u32);
	__type(value, struct syscall);
} calls SEC(".maps");

const enum form *form_unused __attribute__((unused));
const enum argument *argument_unused __attribute__((unused));

/* The registers into memory that can be indexed by an argument's number. */
static __always_inline void pick_args(struct texts *s, struct pt_regs *r)
{
	s->arg[ARGUMENT_NONE] = 0;
	s->arg[1] = ARG1(r);
	s->arg[2] = ARG2(r);
	s->arg[3] = ARG3(r);
	s->arg[4] = ARG4(r);
	s->arg[5] = ARG5(r);
	s->arg[6] = ARG6(r);
	s->arg[ARGUMENT_CWD] = AT_FDCWD;
}

#define PICKED(s, i) ((s)->arg[(i) & 7])

static __always_inline __u64 number_of(struct syscall *c, struct texts *s)
{
	return (PICKED(s, c->num) & c->mask) | c->value;
}

/*
 * Can somebody else answer the task's calls: a filter of seccomp's, or a tracer?
 * Then the exit of a call does not show that the kernel has done it, but its entry
 * does, which comes behind them.
 */
static __always_inline bool answerable(struct task_struct *task)
{
	return task->thread_info.syscall_work &
	       (1UL << bpf_core_enum_value(enum syscall_work_bit, SYSCALL_WORK_BIT_SECCOMP) |
		1UL << bpf_core_enum_value(enum syscall_work_bit, SYSCALL_WORK_BIT_SYSCALL_EMU));
}

/* A program for the exits of some system calls. Its body has the task t, the
 * call c, its registers r and its outcome ret. */
#define SYSCALLS(name)                                                                                    \
	static __always_inline int on_##name(struct task *t, struct syscall *c, struct pt_regs *r, long ret); \
	SEC("tp_btf/sys_exit")                                                                            \
	int BPF_PROG(name, struct pt_regs *regs, long ret)                                                \
	{                                                                                                 \
		struct task *t = watched();                                                               \
		__u32 nr = regs->orig_ax;                                                                 \
		struct syscall *c;                                                                           \
                                                                                                          \
		if (!t)                                                                                   \
			return 0;                                                                         \
		c = bpf_map_lookup_elem(&calls, &nr);                                                     \
		if (!c)                                                                                   \
			return 0;                                                                         \
		if (t->interrupted)                                                                       \
			restarted(t);                                                                     \
		t->flags = ret >= 0 && answered(t) ? VIV_UNKNOWN : 0;                                     \
		on_##name(t, c, regs, ret);                                                               \
		t->flags = 0;                                                                             \
		return 0;                                                                                 \
	}                                                                                                 \
	static __always_inline int on_##name(struct task *t, struct syscall *c, struct pt_regs *r, long ret)

/* The same for entries. */
#define SYSCALL_ENTRIES(name)                                                                   \
	static __always_inline int on_##name(struct task *t, struct syscall *c, struct pt_regs *r); \
	SEC("tp_btf/sys_enter")                                                                 \
	int BPF_PROG(name, struct pt_regs *regs, long id)                                       \
	{                                                                                       \
		struct task *t = watched();                                                     \
		__u32 nr = id;                                                                  \
		struct syscall *c;                                                                 \
                                                                                                \
		if (!t)                                                                         \
			return 0;                                                               \
		c = bpf_map_lookup_elem(&calls, &nr);                                           \
		return c ? on_##name(t, c, regs) : 0;                                           \
	}                                                                                       \
	static __always_inline int on_##name(struct task *t, struct syscall *c, struct pt_regs *r)

/*
 * Is the current task in a system call that the tracepoints show? It is not in
 * a 32-bit one, or as a thread of io_uring's, and not behind the exit of its last
 * call, as when it takes a signal: from the entry on, which puts ENOSYS there,
 * until a call has returned, its result is not set.
 */
static __always_inline bool in_call(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return !(task->flags & PF_IO_WORKER) && !(task->thread_info.status & TS_COMPAT) &&
	       (long)call_regs()->ax == -ENOSYS;
}

/* The row of the call that the current task is in, or 0. */
static __always_inline struct syscall *current_call(void)
{
	__u32 nr;

	if (!in_call())
		return 0;
	nr = call_regs()->orig_ax;
	return bpf_map_lookup_elem(&calls, &nr);
}

static __always_inline bool pends(struct syscall *c, __u32 kind)
{
	return c && c->pends >> kind & 1;
}

static __always_inline bool quiet(struct syscall *c, __u32 kind)
{
	return c && c->quiet >> kind & 1;
}

#endif
