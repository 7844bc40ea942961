/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Whole paths as the current task sees them: a walk up the dentries and
 * mounts to the task's root. bpf_d_path is refused in tracepoints and in many
 * LSM hooks, this is not.
 */
#ifndef VIV_PATH_H
#define VIV_PATH_H

#include "emit.h"

#define PATH_STEPS 2048 /* PATH_MAX in components of one letter */

/* What changes with each step is in r, of whose contents the verifier keeps no
 * account: it would follow every value that pos can have. */
struct walk {
	char *buf;
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct dentry *mnt_root;
	struct dentry *root_dentry;
	struct vfsmount *root_mnt; /* 0: whichever it is mounted by */
	struct walked *r;
};

#define NAME_STEP 255 /* bytes of a name that one step takes, a mask: all of it on most file systems */

static long walk_step(__u32 i, struct walk *w)
{
	struct dentry *d = w->dentry, *parent;
	struct walked *r = w->r;
	struct vfsmount *mnt = w->mnt;
	const unsigned char *name;
	__u32 len, pos = r->pos;

	if (d == w->root_dentry && (mnt == w->root_mnt || !w->root_mnt))
		return 1;
	if (d == w->mnt_root) {
		struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		struct mount *up = LOAD(m, mnt_parent);

		if (up == m) { /* a detached mount, or one outside the root */
			r->flags |= VIV_UNREACHABLE;
			return 1;
		}
		w->dentry = LOAD(m, mnt_mountpoint);
		w->mnt = (void *)up + bpf_core_field_offset(struct mount, mnt);
		w->mnt_root = LOAD(up, mnt.mnt_root);
		return 0;
	}
	parent = LOAD(d, d_parent);
	len = LOAD(d, d_name.len);
	name = LOAD(d, d_name.name);
	if (parent == d && pos < PATH_MAX) { /* a directory that was moved out of its mount */
		r->flags |= VIV_UNREACHABLE;
		return 1;
	}
	if (parent == d) { /* neither a mount's root nor in a directory: a pipe, a memfd, ... */
		r->flags |= VIV_PSEUDO;
		r->ino = BPF_CORE_READ(d, d_inode, i_ino);
		if (len < 2) { /* none, or that of a root */
			name = (void *)BPF_CORE_READ(d, d_sb, s_type, name);
			if (BPF_CORE_READ(d, d_sb, s_magic) == NSFS_MAGIC && bpf_core_field_exists(struct ns_common, ops)) {
				struct ns_common *ns = BPF_CORE_READ(d, d_inode, i_private);

				name = (void *)BPF_CORE_READ(ns, ops, name);
			}
			len = bpf_probe_read_kernel_str(w->buf, 64, name) - 1;
		}
		if (len > NAME_STEP) {
			len = NAME_STEP;
			r->flags |= VIV_TRUNCATED;
		}
		barrier_var(len); /* so that the verifier sees the bound */
		len &= NAME_STEP;
		pos = PATH_MAX - len;
		bpf_probe_read_kernel(&w->buf[pos & (PATH_MAX - 1)], len, name);
		r->pos = pos;
		return 1;
	}
	if (r->left)
		len = r->left;
	if (pos < len + 1 || pos > PATH_MAX) {
		r->flags |= VIV_TRUNCATED;
		return 1;
	}
	if (len > NAME_STEP) {
		r->left = len - NAME_STEP;
		name += r->left;
		pos -= NAME_STEP;
		bpf_probe_read_kernel(&w->buf[pos & (PATH_MAX - 1)], NAME_STEP, name);
		r->pos = pos;
		return 0;
	}
	r->left = 0;
	barrier_var(len);
	len &= NAME_STEP;
	pos -= len;
	bpf_probe_read_kernel(&w->buf[pos & (PATH_MAX - 1)], len, name);
	pos--;
	w->buf[pos & (PATH_MAX - 1)] = '/';
	r->pos = pos;
	w->dentry = parent;
	return 0;
}

/* Has the file at d lost the name that d has? A name without a file is one that
 * is about to be made. */
static __always_inline bool removed(struct dentry *d)
{
	return !LOAD(d, d_hash.pprev) && LOAD(d, d_inode) && LOAD(d, d_parent) != d;
}

/*
 * Walks from r's file to the current task's root.
 *
 * Functions that are not static the verifier goes through once for each
 * program, and not once for each call and state. Such a function cannot take
 * kernel objects, but memory, of whole types, that has them.
 */
__noinline int walk_path(struct walked *r, struct room *room)
{
	struct task_struct *task = bpf_get_current_task_btf();
	char *buf = (char *)room;
	struct walk w = {
		.buf = buf,
		.root_dentry = task->fs->root.dentry,
		.root_mnt = task->fs->root.mnt,
		.r = r,
	};
	struct vfsmount *mnt;

	if (!r || !room)
		return 0;
	if (r->to == TO_OWN_ROOT) { /* also in another mount namespace, which has a mount of its own of it */
		w.root_dentry = (void *)own_root;
		w.root_mnt = 0;
	}
	r->pos = PATH_MAX;
	r->left = 0;
	r->flags = 0;
	r->ino = 0;
	mnt = r->mnt;
	w.dentry = r->dentry;
	w.mnt = mnt;
	w.mnt_root = r->to == TO_SUPER_ROOT ? 0 : LOAD(mnt, mnt_root);
	if (bpf_loop(PATH_STEPS, walk_step, &w, 0) == PATH_STEPS)
		r->flags |= VIV_TRUNCATED;
	if (r->pos >= PATH_MAX) {
		r->pos = PATH_MAX - 1;
		buf[PATH_MAX - 1] = '/';
	}
	if (!(r->flags & VIV_PSEUDO) && removed(r->dentry))
		r->flags |= VIV_DELETED;
	return 0;
}

static __always_inline struct file *fd_file(int fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *fdt = task->files->fdt;
	struct file *file = 0;

	if (fd >= 0 && (unsigned)fd < fdt->max_fds)
		bpf_probe_read_kernel(&file, sizeof(file), &fdt->fd[fd]);
	return file;
}

/* Can another task change what this one's descriptors are? */
static __always_inline bool shares_files(void)
{
	return bpf_get_current_task_btf()->files->count.counter > 1;
}

/* Has an open file other references than the descriptor that it was looked up by? */
static __always_inline bool is_referenced(struct file *file)
{
	if (bpf_core_field_exists(struct file, f_ref))
		return LOAD(file, f_ref.refcnt.counter) != 0;
	return LOAD(file, f_count.counter) != 1;
}

/* What a name that a program gave is relative to: a directory's descriptor or
 * AT_FDCWD. False: dfd is no open file. */
static __always_inline bool start_of(int dfd, struct vfsmount **mnt, struct dentry **dentry)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *dir;

	if (dfd == AT_FDCWD) {
		*mnt = task->fs->pwd.mnt;
		*dentry = task->fs->pwd.dentry;
		return true;
	}
	dir = fd_file(dfd);
	if (!dir)
		return false;
	*mnt = LOAD(dir, f_path.mnt);
	*dentry = LOAD(dir, f_path.dentry);
	return true;
}

/* Text i of o becomes the whole path of (mnt, dentry). */
static __always_inline void set_path(struct out *o, int i, struct texts *s, struct vfsmount *mnt, struct dentry *dentry)
{
	struct walked *r = WALKED_IN(s->room);
	__u32 pos;

	r->mnt = mnt;
	r->dentry = dentry;
	r->to = TO_ROOT;
	walk_path(r, (struct room *)s->path);
	set_flags(o, r->flags);
	if (r->flags & VIV_PSEUDO)
		set_num(o, 3, r->ino);
	pos = r->pos & (PATH_MAX - 1);
	set_text(o, i, s->path + pos, PATH_MAX - pos);
}

/* Text i of o becomes the whole path of an open file. */
static __always_inline void set_file_path(struct out *o, int i, struct texts *s, struct file *file)
{
	set_path(o, i, s, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
}

/* A string of the program's (user) or the kernel's, with its NUL; below 0: it
 * cannot be read. Older kernels say 0 of a program's empty one. */
static __always_inline long read_str(char *to, __u32 size, const void *str, bool user)
{
	long n;

	to[0] = 0;
	n = user ? bpf_probe_read_user_str(to, size, str) : bpf_probe_read_kernel_str(to, size, str);
	n += (__u64)(n - 1) >> 63; /* 0 becomes 1, without a branch that the verifier would follow */
	return n;
}

/* The whole path that is meant by a string of the kernel's or the program's
 * (NAME_USER), relative to dfd, which is its root with NAME_IN_ROOT:
 * s->path[from..from + len). */
#define NAME_USER 1
#define NAME_IN_ROOT 2

__noinline int name_path(struct named *n, struct texts *s, int dfd, __u32 how)
{
	struct walked *r;
	struct vfsmount *mnt;
	struct dentry *dentry;
	char *name;
	long len;

	if (!n || !s)
		return 0;
	name = s->path + PATH_MAX + 1;
	n->from = PATH_MAX + 1;
	n->len = 0;
	n->flags = 0;
	len = read_str(name, PATH_MAX, n->str, how & NAME_USER);
	if (len <= 0) { /* no such memory; the call failed with EFAULT then */
		n->flags = VIV_TRUNCATED;
		return 0;
	}
	if (len == PATH_MAX)
		n->flags = VIV_TRUNCATED;
	n->len = (len - 1) & (PATH_MAX - 1);
	if ((name[0] == '/' && !(how & NAME_IN_ROOT)) || !start_of(dfd, &mnt, &dentry))
		return 0;
	r = WALKED_IN(s->room);
	r->mnt = mnt;
	r->dentry = dentry;
	r->to = TO_ROOT;
	walk_path(r, (struct room *)s->path);
	if (n->len) /* of the directory, not of the file */
		r->flags &= ~(VIV_PSEUDO | VIV_DELETED);
	n->flags |= r->flags;
	n->ino = r->ino;
	s->path[PATH_MAX] = '/';
	n->from = r->pos;
	if (n->len && n->from == PATH_MAX - 1)
		n->from++; /* the root has its slash already */
	n->len = PATH_MAX - n->from + (n->len ? n->len + 1 : 0);
	return 0;
}

/* Text i of o becomes such a path. */
static __always_inline void set_name_path(struct out *o, int i, struct texts *s, int dfd, const void *str, __u32 how)
{
	struct named *n = NAMED_IN(s->room);

	n->str = str;
	name_path(n, s, dfd, how);
	set_flags(o, n->flags);
	if (n->flags & VIV_PSEUDO)
		set_num(o, 3, n->ino);
	if (n->from <= PATH_MAX + 1 && n->len <= 2 * PATH_MAX - 2)
		set_text(o, i, s->path + n->from, n->len);
}

#endif
