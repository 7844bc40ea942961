/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What one process does to another's, and to its own privileges: signals,
 * ptrace, ids, capabilities. */
#ifndef VIV_AUTHORITY_H
#define VIV_AUTHORITY_H

#include "../lib/lsm.h"

#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
#define SIG_IGN 1
#define PTRACE_MODE_ATTACH_REALCREDS 0x12 /* include/linux/ptrace.h */

/* From Linux 6.14 on. */
extern struct task_struct *bpf_task_from_vpid(int vpid) __ksym __weak;
extern void bpf_task_release(struct task_struct *p) __ksym __weak;

/* The process of a pid, or the group of a negative one, that the program gave:
 * in its own pid namespace. False: it cannot be told as ours has it. */
static __always_inline bool given_pid(long *pid)
{
	struct task_struct *task = bpf_get_current_task_btf();
	long id = *pid < 0 ? -*pid : *pid;

	if (id <= (*pid < 0)) /* 0: the own group, -1: everybody */
		return true;
	if (bpf_task_from_vpid && bpf_task_release) {
		struct task_struct *to = bpf_task_from_vpid(id);

		if (to) {
			long own = own_id(to->group_leader);

			*pid = *pid < 0 ? -own : own;
			bpf_task_release(to);
			return own;
		}
	}
	return task->thread_pid->level == own_level;
}

SYSCALLS(ptrace_exit) /* and process_vm_readv, process_vm_writev */
{
	struct pending *p = pended();
	struct out o;
	long pid;

	if (p)
		return emit_pending(t, p, ret, 0);
	if (c->form == FORM_PTRACE) {
		if (ARG1(r) != PTRACE_ATTACH && ARG1(r) != PTRACE_SEIZE)
			return 0;
		pid = (int)ARG2(r);
	} else {
		pid = (int)ARG1(r);
	}
	begin(&o, t, VIV_PTRACE_CHECK, ret);
	set_num(&o, 0, PTRACE_MODE_ATTACH_REALCREDS);
	if (given_pid(&pid))
		set_num(&o, 1, pid);
	emit_outcome(t, &o);
	return 0;
}

/* The program's handler of a signal is about to run: a call that the signal has
 * interrupted is over, or it is done again when the handler returns. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(signal_deliver, int sig, struct kernel_siginfo *info, struct k_sigaction *action)
{
	struct task *t = watched();
	struct pt_regs *r = call_regs();
	struct pending *p;
	long ret = r->ax;

	if (!t || !t->interrupted || !restarts(ret) || (__u64)action->sa.sa_handler <= SIG_IGN)
		return 0;
	if (ret == -ERESTARTNOINTR || (ret == -ERESTARTSYS && action->sa.sa_flags & SA_RESTART))
		return 0;
	p = interrupted_call(0);
	if (!p || !is_same_call(p, r))
		return 0;
	t->interrupted = 0;
	return send_pending(t, p, -EINTR, 0);
}

LSM(ptrace_access_check, VIV_PTRACE_CHECK, true, struct task_struct *child, unsigned int mode)
{
	pend_num(p, 0, mode);
	pend_process(p, 1, child);
}

static __always_inline int kill_signal(struct syscall *c, struct pt_regs *r)
{
	return c->num == 3 ? ARG3(r) : ARG2(r);
}

#define KERNEL_STACK (32 << 10) /* bytes, at the most */

/*
 * Does a call send this signal that asks for one? Others are generated meanwhile,
 * in interrupts or because a tracer is told of the call's entry: the kernel's own
 * have no information or a positive code, those of timers have it elsewhere than
 * on the stack of the call.
 */
static __always_inline bool is_asked_for(__u64 info)
{
	__u64 stack = (__u64)bpf_get_current_task_btf()->stack;

	return info - stack < KERNEL_STACK && BPF_CORE_READ((struct kernel_siginfo *)info, si_code) <= 0;
}

/*
 * Signals. The target's pid as our namespace has it comes from the LSM hook,
 * or from the signal itself when it was sent; of a call that sent none
 * the pid that it named is looked up.
 */
SEC("tp_btf/signal_generate")
int BPF_PROG(signal_generate, int sig, struct kernel_siginfo *info, struct task_struct *to, int group, int result)
{
	struct syscall *c;
	struct pending *p;
	__u64 at; /* info as a number: verifiers differ in what it is to them */

	if (!watched())
		return 0;
	c = current_call();
	if (!pends(c, VIV_TASK_KILL) || pended())
		return 0;
	bpf_probe_read_kernel(&at, sizeof(at), &ctx[1]);
	if (sig != kill_signal(c, call_regs()) || !is_asked_for(at))
		return 0;
	p = pend(VIV_TASK_KILL);
	if (p)
		pend_process(p, 1, to);
	return 0;
}

SYSCALLS(kill_exit)
{
	struct pending *p = pended();
	long pid = (int)ARG1(r), sig = kill_signal(c, r);
	bool named = c->extra; /* by its pid */

	if (!p) {
		p = pend(VIV_TASK_KILL);
		if (!p)
			return 0;
		if (named && pid > 0 && given_pid(&pid))
			pend_num(p, 1, pid);
	}
	if (pid <= 0 && named) { /* a group: its signals went to several */
		p->nums = 0;
		if (given_pid(&pid))
			pend_num(p, 1, pid);
	}
	pend_num(p, 0, sig);
	return emit_pending(t, p, ret, 0);
}

LSM(task_kill, VIV_TASK_KILL, true, struct task_struct *to, void *info, int sig)
{
	pend_num(p, 0, sig);
	pend_process(p, 1, to);
}

/* Old and new ids, real, effective, saved, fs, each four of text 0. */
struct ids {
	__u32 old[4], new[4];
};

#define LSM_SETID_FS 8 /* of a call's LSM_SETID_*, which are number 0 */

static __always_inline void copy_uids(__u32 *to, const struct cred *c)
{
	to[0] = BPF_CORE_READ(c, uid.val);
	to[1] = BPF_CORE_READ(c, euid.val);
	to[2] = BPF_CORE_READ(c, suid.val);
	to[3] = BPF_CORE_READ(c, fsuid.val);
}

static __always_inline void copy_gids(__u32 *to, const struct cred *c)
{
	to[0] = BPF_CORE_READ(c, gid.val);
	to[1] = BPF_CORE_READ(c, egid.val);
	to[2] = BPF_CORE_READ(c, sgid.val);
	to[3] = BPF_CORE_READ(c, fsgid.val);
}

static __always_inline void pend_ids(struct pending *p, __u64 flags, bool group, const struct cred *old,
				     const struct cred *new)
{
	struct ids *ids;

	if (!p)
		return;
	pend_num(p, 0, flags);
	pend_num(p, 1, group);
	ids = (void *)p->text[0];
	if (group) {
		copy_gids(ids->old, old);
		copy_gids(ids->new, new);
	} else {
		copy_uids(ids->old, old);
		copy_uids(ids->new, new);
	}
	p->len[0] = sizeof(*ids);
}

SYSCALL_ENTRIES(setid_enter)
{
	const struct cred *cred = bpf_get_current_task_btf()->cred;

	pend_ids(pend(VIV_SETID_CHANGE), c->value, c->form == FORM_GROUP_IDS, cred, cred);
	return 0;
}

SYSCALLS(setid_exit)
{
	const struct cred *cred = bpf_get_current_task_btf()->cred;
	bool group = c->form == FORM_GROUP_IDS;
	struct pending *p = pended();
	struct ids *ids;

	if (!p) { /* refused, or nothing was to change */
		p = pend(VIV_SETID_CHANGE);
		if (!p)
			return 0;
		pend_ids(p, c->value, group, cred, cred);
	}
	ids = (void *)p->text[0];
	if (group)
		copy_gids(ids->new, cred);
	else
		copy_uids(ids->new, cred);
	/* setfsuid and setfsgid return the old id. */
	return emit_pending(t, p, c->value == LSM_SETID_FS ? 0 : ret, 0);
}

LSM(task_fix_setuid, VIV_SETID_CHANGE, true, struct cred *new, const struct cred *old, int flags)
{
	pend_ids(p, flags, false, old, new);
}

LSM(task_fix_setgid, VIV_SETID_CHANGE, true, struct cred *new, const struct cred *old, int flags)
{
	pend_ids(p, flags, true, old, new);
}

/* The capabilities that let a process do anything to the machine. */
#define RISKY                                                                                                \
	(1ULL << 1 | 1ULL << 2 | 1ULL << 6 | 1ULL << 7 | 1ULL << 12 | 1ULL << 16 | 1ULL << 17 | 1ULL << 19 | \
	 1ULL << 21 | 1ULL << 22 | 1ULL << 25 | 1ULL << 38 | 1ULL << 39 | 1ULL << 40)
#define CAP_SYS_ADMIN 21

SEC("tp_btf/cap_capable")
int BPF_PROG(cap_capable, const struct cred *cred, void *target_ns, void *capable_ns, int cap, int ret)
{
	struct task *t;
	struct out o;

	if (cap < 0 || cap > 63 || !(RISKY >> cap & 1))
		return 0;
	t = watched();
	if (!t)
		return 0;
	/* The kernel's own estimate of free memory asks for it; no LSM hook shows that. */
	if (cap == CAP_SYS_ADMIN && (!in_call() || quiet(current_call(), VIV_CAPABLE_CHECK)))
		return 0;
	begin(&o, t, VIV_CAPABLE_CHECK, ret);
	set_num(&o, 0, cap);
	emit(&o);
	return 0;
}

SEC("lsm/capable")
int BPF_PROG(lsm_capable, const struct cred *cred, void *ns, int cap, unsigned int opts)
{
	struct task *t;
	struct out o;

	if (cap < 0 || cap > 63 || !(RISKY >> cap & 1))
		return 0;
	t = watched_worker();
	if (!t)
		return 0;
	begin(&o, t, VIV_CAPABLE_CHECK, 0);
	set_num(&o, 0, cap);
	set_num(&o, 1, opts);
	emit(&o);
	return 0;
}

#endif
