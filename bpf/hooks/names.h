/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The calls that name files and change them, and mounts. */
#ifndef VIV_NAMES_H
#define VIV_NAMES_H

#include "../lib/lsm.h"

/*
 * As the program named them: what an entry leaves where there is no LSM hook,
 * and what an exit shows of a call that failed before it came to one.
 */
static __noinline int pend_names(struct syscall *c, struct pt_regs *r)
{
	struct texts *s = get_texts();
	struct pending *p;
	struct file *file;
	char first = 1;

	if (!s || !c || !r)
		return 0;
	p = pend(c->kind);
	if (!p)
		return 0;
	pick_args(s, r);
	p->num[0] = number_of(c, s);
	p->nums = c->nums;
	switch (c->form) {
	case FORM_STRING:
		pend_string(p, 0, (void *)PICKED(s, c->name[0]), true);
		break;
	case FORM_MOUNT:
		pend_mount(p, (void *)PICKED(s, c->name[0]), (void *)PICKED(s, c->extra), true);
		break;
	case FORM_FILE:
		file = fd_file(PICKED(s, c->dfd[0]));
		if (file)
			pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
		break;
	default:
		pend_name(p, 0, s, PICKED(s, c->dfd[0]), (void *)PICKED(s, c->name[0]));
		if (c->form == FORM_MOVE) {
			bpf_probe_read_user(&first, 1, (void *)PICKED(s, c->name[0]));
			file = first ? 0 : fd_file(PICKED(s, c->dfd[0]));
			if (file)
				pend_unmounted(p, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
		}
	}
	if (c->name[1])
		pend_name(p, 1, s, PICKED(s, c->dfd[1]), (void *)PICKED(s, c->name[1]));
	return 0;
}

SYSCALL_ENTRIES(names_enter)
{
	return pend_names(c, r);
}

SYSCALLS(names_exit)
{
	struct pending *p = pended();

	/* What the entry could not read, the kernel has brought into memory by now. */
	if (p ? p->unread : ret < 0 || t->flags) {
		pend_names(c, r);
		p = pended();
	}
	if (p && c->nums && !(p->nums & 1)) { /* which the LSM hook is not told */
		struct texts *s = get_texts();

		if (s) {
			pick_args(s, r);
			pend_num(p, 0, number_of(c, s));
		}
	}
	return p ? emit_pending(t, p, ret, 0) : 0;
}

LSM(sb_mount, VIV_SB_MOUNT, true, const char *dev, const struct path *path, const char *type, unsigned long flags)
{
	pend_num(p, 0, flags);
	pend_mount(p, dev, type, false);
	pend_path(p, 1, path->mnt, path->dentry);
}

LSM(move_mount, VIV_SB_MOUNT, true, const struct path *from, const struct path *to)
{
	pend_num(p, 0, MS_MOVE);
	pend_path(p, 0, from->mnt, from->dentry);
	pend_unmounted(p, from->mnt, from->dentry);
	pend_path(p, 1, to->mnt, to->dentry);
}

LSM(path_symlink, VIV_FILE_SYMLINK, true, const struct path *dir, struct dentry *dentry, const char *target)
{
	pend_string(p, 0, target, false);
	pend_path(p, 1, dir->mnt, dentry);
}

LSM(path_link, VIV_FILE_HARDLINK, true, struct dentry *old, const struct path *dir, struct dentry *dentry)
{
	pend_path(p, 0, dir->mnt, old); /* a hard link stays in its mount */
	pend_path(p, 1, dir->mnt, dentry);
}

LSM(path_rename, VIV_FILE_RENAME, true, const struct path *old_dir, struct dentry *old, const struct path *dir,
    struct dentry *dentry, unsigned int flags)
{
	pend_num(p, 0, flags);
	pend_path(p, 0, old_dir->mnt, old);
	pend_path(p, 1, dir->mnt, dentry);
}

LSM(path_unlink, VIV_FILE_UNLINK, true, const struct path *dir, struct dentry *dentry)
{
	pend_path(p, 0, dir->mnt, dentry);
}

LSM(path_rmdir, VIV_FILE_UNLINK, true, const struct path *dir, struct dentry *dentry)
{
	pend_path(p, 0, dir->mnt, dentry);
}

LSM(path_chmod, VIV_FILE_CHMOD, true, const struct path *path, unsigned short mode)
{
	pend_num(p, 0, mode & 07777);
	pend_path(p, 0, path->mnt, path->dentry);
}

LSM(path_truncate, VIV_FILE_TRUNCATE, true, const struct path *path)
{
	pend_path(p, 0, path->mnt, path->dentry);
}

LSM(file_truncate, VIV_FILE_TRUNCATE, true, struct file *file)
{
	pend_path(p, 0, file->f_path.mnt, file->f_path.dentry);
}

#endif
