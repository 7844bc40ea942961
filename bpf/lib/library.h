/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What pkg/probe must look at again: a process that could have another library
 * now (made, executed, mapped) is told to it by a record of its own that wakes
 * it, whatever events were chosen. */
#ifndef VIV_LIB_LIBRARY_H
#define VIV_LIB_LIBRARY_H

#include "emit.h"

/* A library event was chosen, or probes in files are wanted. */
const volatile bool watch_libraries = false;

/* leader's process can have another library now; parent is who made it, or 0;
 * exec: it runs another program. A function, because its record would else lie
 * on its caller's stack. */
static __noinline int library_changed(struct task *t, struct task_struct *leader, struct task_struct *parent, bool exec)
{
	struct library_record r = { .exec = exec };

	if (!watch_libraries || !leader)
		return 0;
	set_task(&r.head, t, VIV_LIBRARY);
	r.pid = own_id(leader);
	r.parent = parent ? own_id(parent) : 0;
	send(&r.head, sizeof(r), true);
	return 0;
}

#endif
