/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What a process does past the hooks is not seen, but said, once per process. */
#ifndef VIV_BLIND_H
#define VIV_BLIND_H

#include "emit.h"

/* Once per task that l is of. */
static __always_inline void blind_once(struct task *t, struct task *l, enum blind what)
{
	struct blind_record r = { .what = what };

	if (l->told & what)
		return;
	l->told |= what;
	set_task(&r.head, t, VIV_BLIND);
	send(&r.head, sizeof(r), false);
}

static __always_inline void blind(struct task *t, enum blind what)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct task *l = leader ? bpf_task_storage_get(&tasks, leader, 0, 0) : 0;

	blind_once(t, l ? l : t, what);
}

#endif
