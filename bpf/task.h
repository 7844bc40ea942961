/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Which tasks are watched, and the span that each of them is. */
#ifndef VIV_TASK_H
#define VIV_TASK_H

#include "record.h"

struct task {
	__u64 span;
	__u64 parent;
	__u64 told; /* bits of enum blind: of a process's leader */
};

/* Task storage goes away with its task, so no context outlives a task whose
 * exit was missed, and a reused pid starts unwatched. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task);
} tasks SEC(".maps");

/* The current task's mark, if it is watched. Most tasks of a machine have no
 * storage at all, and that is seen without a helper's call: this runs at every
 * system call of everybody. */
static __always_inline struct task *watched(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->bpf_storage ? bpf_task_storage_get(&tasks, task, 0, 0) : 0;
}

static __always_inline __u64 new_span_id(void)
{
	__u64 id = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();

	return id ? id : 1;
}

#endif
