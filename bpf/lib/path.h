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

struct walk {
	char *buf;
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct dentry *mnt_root;
	struct dentry *root_dentry;
	struct vfsmount *root_mnt;
	__u32 pos; /* the path so far is buf[pos..PATH_MAX) */
	__u8 flags;
	__u64 ino;
};

static long walk_step(__u32 i, struct walk *w)
{
	struct dentry *d = w->dentry, *parent;
	struct vfsmount *mnt = w->mnt;
	const unsigned char *name;
	__u32 len, pos = w->pos;

	if (d == w->root_dentry && mnt == w->root_mnt)
		return 1;
	if (d == w->mnt_root) {
		struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		struct mount *up = LOAD(m, mnt_parent);

		if (up == m) { /* a detached mount, or one outside the root */
			w->flags |= VIV_UNREACHABLE;
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
		w->flags |= VIV_UNREACHABLE;
		return 1;
	}
	if (parent == d) { /* neither a mount's root nor in a directory: a pipe, a memfd, ... */
		w->flags |= VIV_PSEUDO;
		w->ino = BPF_CORE_READ(d, d_inode, i_ino);
		if (len < 2) { /* none, or that of a root */
			name = (void *)BPF_CORE_READ(d, d_sb, s_type, name);
			if (BPF_CORE_READ(d, d_sb, s_magic) == NSFS_MAGIC && bpf_core_field_exists(struct ns_common, ops)) {
				struct ns_common *ns = BPF_CORE_READ(d, d_inode, i_private);

				name = (void *)BPF_CORE_READ(ns, ops, name);
			}
			len = bpf_probe_read_kernel_str(w->buf, 64, name) - 1;
		}
		pos = PATH_MAX - (len & 255);
		bpf_probe_read_kernel(&w->buf[pos & (PATH_MAX - 1)], len & 255, name);
		w->pos = pos;
		return 1;
	}
	len &= 255;
	if (pos < len + 1 || pos > PATH_MAX) {
		w->flags |= VIV_TRUNCATED;
		return 1;
	}
	pos -= len;
	bpf_probe_read_kernel(&w->buf[pos & (PATH_MAX - 1)], len, name);
	pos--;
	w->buf[pos & (PATH_MAX - 1)] = '/';
	w->pos = pos;
	w->dentry = parent;
	return 0;
}

/* Where a walk begins, and where it ended: the path is room[pos..PATH_MAX). */
struct walked {
	struct vfsmount *mnt;
	struct dentry *dentry;
	__u32 pos;
	__u32 flags; /* enum flag */
	__u64 ino;   /* with VIV_PSEUDO */
};

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
		.pos = PATH_MAX + unknown_zero,
	};
	struct vfsmount *mnt;

	if (!r || !room)
		return 0;
	mnt = r->mnt;
	w.dentry = r->dentry;
	w.mnt = mnt;
	w.mnt_root = LOAD(mnt, mnt_root);
	if (bpf_loop(PATH_STEPS, walk_step, &w, 0) == PATH_STEPS)
		w.flags |= VIV_TRUNCATED;
	if (w.pos >= PATH_MAX) {
		w.pos = PATH_MAX - 1;
		buf[PATH_MAX - 1] = '/';
	}
	r->pos = w.pos & (PATH_MAX - 1);
	r->flags = w.flags;
	r->ino = w.ino;
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

/* Text i of o becomes the whole path of an open file. */
static __always_inline void set_file_path(struct out *o, int i, struct texts *s, struct file *file)
{
	struct walked r = { .mnt = LOAD(file, f_path.mnt), .dentry = LOAD(file, f_path.dentry) };

	walk_path(&r, (struct room *)s->path);
	set_flags(o, r.flags);
	if (r.flags & VIV_PSEUDO)
		set_num(o, 3, r.ino);
	set_text(o, i, s->path + (r.pos & (PATH_MAX - 1)), PATH_MAX - (r.pos & (PATH_MAX - 1)));
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

struct named {
	const void *str;
	__u32 from, len;
	__u32 flags, pad;
};

__noinline int name_path(struct named *n, struct texts *s, int dfd, __u32 how)
{
	struct walked r = {};
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
	if ((name[0] == '/' && !(how & NAME_IN_ROOT)) || !start_of(dfd, &r.mnt, &r.dentry))
		return 0;
	walk_path(&r, (struct room *)s->path);
	n->flags |= r.flags & ~VIV_PSEUDO;
	s->path[PATH_MAX] = '/';
	n->from = r.pos;
	if (n->len && n->from == PATH_MAX - 1)
		n->from++; /* the root has its slash already */
	n->len = PATH_MAX - n->from + (n->len ? n->len + 1 : 0);
	return 0;
}

/* Text i of o becomes such a path. */
static __always_inline void set_name_path(struct out *o, int i, struct texts *s, int dfd, const void *str, __u32 how)
{
	struct named n = { .str = str };

	name_path(&n, s, dfd, how);
	set_flags(o, n.flags);
	if (n.from <= PATH_MAX + 1 && n.len <= 2 * PATH_MAX - 2)
		set_text(o, i, s->path + n.from, n.len);
}

#endif
