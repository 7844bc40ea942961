/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Which tasks are watched, and the span that each of them is. */
#ifndef VIV_TASK_H
#define VIV_TASK_H

#include "record.h"

#define PROCESS_ENDED (1ULL << 63)
/* How far the call of a task came that others can answer, see answerable. */
enum entered {
	UNSEEN,
	ENTERED,  /* the kernel does it */
	DONE,	  /* its exit was seen, too */
	ANSWERED, /* only its exit was seen */
};

struct task {
	__u64 span;
	__u64 parent;
	__u64 told; /* bits of enum blind, and PROCESS_ENDED: of a process's leader */
	__u64 methods; /* of Ruby's, written in C, that it entered and has not returned from */
	__u64 sock;    /* of the call that sends on it, if another thread could replace its descriptor */
	__u32 tid;     /* as it was made, if own_level: an exec of a thread loses it */
	__u32 renamed; /* the kernel calls it by the number of a descriptor, and we by comm */
	char comm[16];
	__u8 entered;  /* enum entered */
	__u8 flags;    /* enum flag: of all that the exit of the current call sends */
	__u8 interrupted; /* there is something in interrupted_calls */
	__u8 pad;
};

/* Task storage goes away with its task, so no context outlives a task whose
 * exit was missed, and a reused pid starts unwatched. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task);
} tasks SEC(".maps");

/* What tasks make is watched too. */
const volatile bool follow = true;

/* The directory that is viv-probe's root, by its address; 0: not known. */
const volatile __u64 own_root = 0;

/* Has the current task another root than viv-probe? */
static __always_inline bool other_root(void)
{
	return own_root && (__u64)bpf_get_current_task_btf()->fs->root.dentry != own_root;
}

static int tell_root(struct task *t); /* emit.h */

/* The current task's mark, if it is watched. Most tasks of a machine have no
 * storage at all, and that is seen without a helper's call: this runs at every
 * system call of everybody. */
static __always_inline struct task *watched(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	struct task *t = task->bpf_storage ? bpf_task_storage_get(&tasks, task, 0, 0) : 0;

	if (t && other_root())
		tell_root(t);
	return t;
}

/*
 * Process ids are told as viv-probe's own pid namespace has them, as /proc and ps
 * show them there. All that is watched lies in it or in one below. Its depth is 0
 * on a host, and known at load, so that what is below costs nothing there.
 */
const volatile __u32 own_level = 0;
const volatile __u32 own_namespace = 0; /* its inode */

/* Where pid has its id of our level, which it must have. */
static __always_inline struct upid *own_upid(struct pid *pid)
{
	return (void *)pid + bpf_core_field_offset(struct pid, numbers[0].nr) + own_level * bpf_core_type_size(struct upid);
}

/* The thread id of a task, or with its leader its process id; 0: it is not in
 * our namespace. */
static __noinline __u32 own_id(struct task_struct *task)
{
	struct pid *pid;
	struct pid_namespace *ns;
	struct upid *upid;

	if (!own_level)
		return LOAD(task, pid);
	pid = LOAD(task, thread_pid);
	if (!pid || LOAD(pid, level) < own_level)
		return 0;
	upid = own_upid(pid);
	ns = LOAD(upid, ns);
	if (!ns || LOAD(ns, ns.inum) != own_namespace)
		return 0;
	return LOAD(upid, nr);
}

static __always_inline __u64 new_span_id(void)
{
	__u64 id = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();

	return id ? id : 1;
}

#endif
