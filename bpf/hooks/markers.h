/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A program marks a span by asking for a path that begins with viv:// and does
 * not exist (docs/markers.md). What other stat-like calls pay is the look at
 * the path's first bytes.
 */
#ifndef VIV_MARKERS_H
#define VIV_MARKERS_H

#include "../lib/calls.h"

static const char marker_scheme[6] = { 'v', 'i', 'v', ':', '/', '/' };

SYSCALLS(marker_exit)
{
	const char *path;
	struct texts *s;
	char head[sizeof(marker_scheme)];
	struct out o;
	long n;

	path = (void *)(c->name[0] == 1 ? ARG1(r) : ARG2(r));
	if (bpf_probe_read_user(head, sizeof(head), path))
		return 0;
	for (int i = 0; i < sizeof(head); i++)
		if (head[i] != marker_scheme[i])
			return 0;
	s = get_texts();
	if (!s)
		return 0;
	/* Which event it is, and whether it is one, user space reads. */
	begin(&o, t, VIV_MARKER, 0);
	n = bpf_probe_read_user_str(s->path, PATH_MAX, path + sizeof(head));
	if (n < 0)
		return 0;
	if (!n) /* so an older kernel says of an empty string */
		n = 1;
	if (n == PATH_MAX)
		set_flags(&o, VIV_TRUNCATED);
	set_text(&o, 0, s->path, (n - 1) & (PATH_MAX - 1));
	emit(&o);
	return 0;
}

#endif
