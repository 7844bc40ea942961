/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Files. */
#ifndef VIV_FILE_H
#define VIV_FILE_H

#include "syscall.h"

const volatile bool failed_opens = false;

static __always_inline int open_done(struct task *t, long ret, int dfd, const void *name, __u64 flags)
{
	struct texts *s;
	struct file *file;
	struct out o;

	if (ret < 0 && !failed_opens)
		return 0;
	s = get_scratch();
	if (!s)
		return 0;
	begin(&o, t, VIV_PATH_OPEN, ret);
	set_num(&o, 0, flags);
	file = ret < 0 ? 0 : fd_file(ret);
	if (file)
		set_file_path(&o, 0, s->path, file);
	else
		set_arg_path(&o, 0, s->path, dfd, name, true);
	emit(&o);
	return 0;
}

SYS_EXIT(open)
{
	return open_done(t, ret, AT_FDCWD, (void *)ARG1(r), (__u32)ARG2(r));
}

SYS_EXIT(creat)
{
	return open_done(t, ret, AT_FDCWD, (void *)ARG1(r), O_CREAT | O_WRONLY | O_TRUNC);
}

SYS_EXIT(openat)
{
	return open_done(t, ret, ARG1(r), (void *)ARG2(r), (__u32)ARG3(r));
}

SYS_EXIT(openat2)
{
	struct open_how how = {};

	bpf_probe_read_user(&how, sizeof(how), (void *)ARG3(r));
	return open_done(t, ret, ARG1(r), (void *)ARG2(r), how.flags);
}

#endif
