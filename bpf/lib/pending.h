/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An event whose object must be looked at before the call has changed it: an
 * LSM hook, or without one the call's entry, leaves the object's identity in
 * the task's memory, and the call's exit sends it with the outcome. What an LSM
 * hook saw is what the kernel acted on; what the entry read, the program could
 * have changed since.
 */
#ifndef VIV_PENDING_H
#define VIV_PENDING_H

#include "calls.h"

struct pending {
	__u32 kind; /* enum kind + 1; 0: nothing is pending */
	__u8 flags; /* enum flag */
	__u8 nums;  /* as in struct record */
	__u8 unread; /* a string could not be read: not in memory yet, or never */
	__u8 exact;  /* it is what the kernel acted on, and not what the entry read */
	__u32 nr;    /* of the call that it is of: no other one sends it */
	__u32 pad;
	__u64 ip, sp, arg[3]; /* of an interrupted call: which one it was */
	__u64 sock;   /* address of the struct sock */
	__u32 len[VIV_TEXTS];
	__u64 num[VIV_NUMS];
	char room[RECORD_ROOM];
	char text[VIV_TEXTS][TEXT_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending);
} pendings SEC(".maps"); /* what a call's exit sends */

/* What a hook sends at once: it can fire within a call that something is
 * pending for, as when a mount opens files. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending);
} asides SEC(".maps");

static __always_inline struct pending *start_pending(struct pending *p, __u32 kind)
{
	if (!p) {
		lose();
		return 0;
	}
	p->kind = kind + 1;
	p->nr = call_regs()->orig_ax;
	p->flags = 0;
	p->nums = 0;
	p->unread = 0;
	p->exact = 0;
	p->sock = 0;
	p->len[0] = 0;
	p->len[1] = 0;
	return p;
}

static __always_inline struct pending *pend(__u32 kind)
{
	return start_pending(bpf_task_storage_get(&pendings, bpf_get_current_task_btf(), 0,
						  BPF_LOCAL_STORAGE_GET_F_CREATE),
			     kind);
}

static __always_inline struct pending *pend_aside(enum kind kind)
{
	return start_pending(bpf_task_storage_get(&asides, bpf_get_current_task_btf(), 0,
						  BPF_LOCAL_STORAGE_GET_F_CREATE),
			     kind);
}

static __always_inline void pend_num(struct pending *p, int i, __u64 v)
{
	p->num[i] = v;
	p->nums |= 1 << i;
}

/* A task's process; nothing, if it is outside our pid namespace. */
static __always_inline void pend_process(struct pending *p, int i, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	__u32 pid = own_level ? leader ? own_id(leader) : 0 : task->tgid;

	if (pid)
		pend_num(p, i, pid);
}

static __always_inline void pend_flags(struct pending *p, int i, __u32 flags)
{
	if (i == 1 && flags & VIV_UNREACHABLE)
		flags = (flags & ~VIV_UNREACHABLE) | VIV_UNREACHABLE_1;
	p->flags |= flags;
}

/* Text i becomes the whole path of (mnt, dentry). */
static __always_inline void pend_path(struct pending *p, int i, struct vfsmount *mnt, struct dentry *dentry)
{
	struct walked *r = WALKED_IN(p->room);
	__u32 pos, len;

	r->mnt = mnt;
	r->dentry = dentry;
	r->to = TO_ROOT;
	walk_path(r, (struct room *)p->text[i]);
	pend_flags(p, i, r->flags);
	if (r->flags & VIV_PSEUDO)
		pend_num(p, 3, r->ino);
	pos = r->pos & (PATH_MAX - 1);
	len = PATH_MAX - pos;
	/* To the front: forwards, so that the two may overlap. */
	bpf_probe_read_kernel(p->text[i], len, p->text[i] + pos);
	p->len[i] = len;
}

/* Text i becomes the whole path meant by a string of the program's. */
static __always_inline void pend_name(struct pending *p, int i, struct texts *s, int dfd, const void *str)
{
	struct named *n = NAMED_IN(s->room);
	__u32 len, from;

	n->str = str;
	name_path(n, s, dfd, NAME_USER);
	pend_flags(p, i, n->flags);
	if (n->flags & VIV_PSEUDO)
		pend_num(p, 3, n->ino);
	from = n->from;
	len = n->len;
	if (!len && n->flags & VIV_TRUNCATED)
		p->unread = 1;
	if (len > PATH_MAX) { /* the leaf end is what counts */
		from += len - PATH_MAX;
		len = PATH_MAX;
		p->flags |= VIV_TRUNCATED;
	}
	if (from <= PATH_MAX + 1 + PATH_MAX && len && len <= PATH_MAX)
		bpf_probe_read_kernel(p->text[i], len, s->path + from);
	p->len[i] = len;
}

/* Text i becomes a string as it is. */
static __always_inline void pend_string(struct pending *p, int i, const void *str, bool user)
{
	char *to = p->text[i];
	long len = read_str(to, PATH_MAX, str, user);

	if (len <= 0)
		p->unread = 1;
	if (len <= 0 || len == PATH_MAX)
		p->flags |= VIV_TRUNCATED;
	p->len[i] = len > 0 ? len - 1 : 0;
}

/* Text 0 becomes a mount's device and file system type, each ended by a NUL. */
static __always_inline void pend_mount(struct pending *p, const void *dev, const void *fstype, bool user)
{
	char *to = p->text[0];
	long n = read_str(to, PATH_MAX / 2, dev, user);

	if (n <= 0) {
		if (dev)
			p->unread = 1;
		to[0] = 0;
		n = 1;
	}
	n &= PATH_MAX / 2 - 1;
	to += n;
	p->len[0] = n;
	n = read_str(to, PATH_MAX / 2, fstype, user);
	if (n > 0)
		p->len[0] += n;
	else if (fstype)
		p->unread = 1;
}

/*
 * Text 0, the path of a mount that a call moves, becomes what it is a mount of
 * if it was nowhere mounted before: the path in the file system, its device, its
 * type, each ended by a NUL. Number 1 says so.
 */
static __always_inline void pend_unmounted(struct pending *p, struct vfsmount *mnt, struct dentry *dentry)
{
	struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	struct walked *r = WALKED_IN(p->room);
	char *to = p->text[0];
	__u32 pos, len;
	long n;

	if (!(p->flags & VIV_UNREACHABLE))
		return;
	p->flags &= ~VIV_UNREACHABLE;
	r->mnt = mnt;
	r->dentry = dentry;
	r->to = TO_SUPER_ROOT;
	walk_path(r, (struct room *)to);
	pos = r->pos & (PATH_MAX - 1);
	len = PATH_MAX - pos;
	if (len >= PATH_MAX / 2) {
		pos += len - PATH_MAX / 2 + 1;
		len = PATH_MAX / 2 - 1;
		p->flags |= VIV_TRUNCATED;
	}
	if (r->flags & VIV_PSEUDO) { /* the file system's root itself */
		to[PATH_MAX - 1] = '/';
		pos = PATH_MAX - 1;
		len = 1;
	}
	bpf_probe_read_kernel(to, len & (PATH_MAX / 2 - 1), to + (pos & (PATH_MAX - 1)));
	to += len & (PATH_MAX / 2 - 1);
	*to++ = 0;
	n = read_str(to, 256, LOAD(m, mnt_devname), false);
	n = n > 0 ? n : 1;
	len += 1 + (n & 255);
	to += n & 255;
	n = read_str(to, 64, (void *)BPF_CORE_READ(dentry, d_sb, s_type, name), false);
	p->len[0] = len + (n > 0 ? n : 1);
	pend_num(p, 1, 1);
}

/* Sends what p holds. */
__noinline int send_pending(struct task *t, struct pending *p, long ret, __u32 flags)
{
	struct out o;

	if (!t || !p || !p->kind)
		return 0;
	begin(&o, t, p->kind - 1, ret);
	p->kind = 0;
	o.rec.head.flags |= p->flags | flags;
	o.rec.head.nums |= p->nums & ((1 << VIV_NUMS) - 1);
	for (int i = 0; i < VIV_NUMS; i++)
		o.rec.num[i] = p->num[i];
	for (int i = 0; i < VIV_TEXTS; i++) {
		__u64 len = p->len[i];

		if (len > PATH_MAX)
			len = PATH_MAX;
		set_text(&o, i, p->text[i], len);
	}
	emit(&o);
	return 0;
}

/* What is left for the exit of the current call. */
static __always_inline struct pending *pended(void)
{
	struct pending *p = bpf_task_storage_get(&pendings, bpf_get_current_task_btf(), 0, 0);

	return p && p->kind && p->nr == (__u32)call_regs()->orig_ax ? p : 0;
}

/* The same for the exit of an exec. One that succeeded is an execve to the kernel
 * from then on, whatever it was (set_personality_64bit, arch/x86/kernel/process_64.c). */
static __always_inline struct pending *pended_exec(void)
{
	struct pending *p = bpf_task_storage_get(&pendings, bpf_get_current_task_btf(), 0, 0);

	return p && p->kind == VIV_BPRM_CREDS + 1 ? p : 0;
}

/* Was the call that ends here answered by others, so that the kernel has not
 * done it? Nor is it known what they have done. */
static __always_inline bool answered(struct task *t)
{
	return answerable(bpf_get_current_task_btf()) && t->entered == ANSWERED && !pended();
}

#include "interrupted.h"

/* The same with the outcome of a call. */
static __always_inline int emit_pending(struct task *t, struct pending *p, long ret, __u32 flags)
{
	return restarts(ret) ? keep_pending(t, p) : send_pending(t, p, ret, flags);
}

/* Sends a record of an exit, with its outcome. */
static __always_inline void emit_outcome(struct task *t, struct out *o)
{
	if (restarts(o->rec.ret))
		keep_record(t, o);
	else
		emit(o);
}

#endif
