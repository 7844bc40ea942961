/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Which tasks are watched as a recording begins. */
#ifndef VIV_SEED_H
#define VIV_SEED_H

#include "../lib/task.h"

/* Run before the others are loaded: user space cannot see the level. */
__u32 found_level = 0;
__u64 found_root = 0;

SEC("raw_tp")
int find_level(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	found_level = task->thread_pid->level;
	found_root = (__u64)task->fs->root.dentry;
	return 0;
}

/*
 * Marks what exists already. User space runs this iterator over all tasks
 * until a pass marks none: whoever is a target, a thread of a marked process
 * or a child of a marked task. The fork hook is attached before, so nobody
 * slips between. It writes the ids of the watched processes.
 */
struct target {
	__u8 found;
	__u8 leader_only; /* the command before its exec: its runtime's threads are ours, not its */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* process id */
	__type(value, struct target);
} targets SEC(".maps");

__u32 seeded = 0; /* tasks that the last pass marked */
__u32 alive = 0;  /* watched processes beside the targets that the last pass saw running */

/* A process's first thread stays until the last has ended. */
static __always_inline bool has_ended(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	return task->exit_state && (task->pid != task->tgid || !signal || LOAD(signal, live.counter) <= 0);
}

SEC("iter/task")
int seed_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *leader, *up;
	struct task *t, *by = 0;
	struct target *target;
	__u64 parent = 0; /* a target's own: viv-spans hangs it under the session */
	__u32 tgid, pid;

	if (!task)
		return 0;
	leader = task->group_leader;
	if (!leader)
		return 0;
	tgid = task->tgid;
	pid = own_id(leader);
	target = bpf_map_lookup_elem(&targets, &pid);
	t = bpf_task_storage_get(&tasks, task, 0, 0);
	if (t) {
		if (task->pid == tgid && !has_ended(task)) {
			if (!target)
				alive++;
			bpf_seq_write(ctx->meta->seq, &pid, sizeof(pid));
		}
		return 0;
	}
	/* A watched shell may have started viv-probe itself. */
	if (tgid == bpf_get_current_pid_tgid() >> 32 || has_ended(task))
		return 0;
	if (target) {
		if (target->leader_only && task->pid != tgid)
			return 0;
		target->found = 1;
	} else {
		up = task->real_parent;
		if (task->pid != tgid)
			by = bpf_task_storage_get(&tasks, leader, 0, 0);
		else if (follow && up)
			by = bpf_task_storage_get(&tasks, up, 0, 0);
		if (!by)
			return 0;
		parent = by->span;
	}
	t = bpf_task_storage_get(&tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return 0;
	t->span = new_span_id();
	t->parent = parent;
	t->tid = own_level ? own_id(task) : 0;
	seeded++;
	return 0;
}

#endif
