/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* From a hook to the ring buffer. */
#ifndef VIV_EMIT_H
#define VIV_EMIT_H

#include "task.h"

#define PATH_MAX 4096
#define ARGS_MAX 16384 /* bytes of argv that a record holds */

/* Room for a path that is built backwards from PATH_MAX, and behind it what
 * the verifier thinks a name could reach. */
#define TEXT_ROOM (PATH_MAX + 256)

/* Room for a record in front of its first text, so that both go to the ring in
 * one piece. */
#define RECORD_ROOM 128
struct room {
	char text[TEXT_ROOM];
};
_Static_assert(sizeof(struct record) <= RECORD_ROOM, "a record fits in front of its text");

enum walk_to {
	TO_ROOT, /* the task's */
	TO_OWN_ROOT, /* viv-probe's */
	TO_SUPER_ROOT, /* the file system's */
};

/* Where a walk begins, and where it ended: the path is room[pos..PATH_MAX). */
struct walked {
	struct vfsmount *mnt;
	struct dentry *dentry;
	__u32 pos;
	__u32 left;  /* bytes of a name that are to be put in front; 0: it is whole */
	__u32 flags; /* enum flag */
	__u32 to;    /* enum walk_to */
	__u64 ino;   /* with VIV_PSEUDO */
};

/* A name that a program or the kernel gave, and the path that it means: see
 * name_path. */
struct named {
	const void *str;
	__u32 from, len;
	__u32 flags, pad;
	__u64 ino; /* with VIV_PSEUDO */
};

/* Both lie in the room in front of a text until the record comes there, and not
 * on the stack, of which a chain of calls has but 512 bytes. */
#define WALKED_IN(room) ((struct walked *)(room))
#define NAMED_IN(room) ((struct named *)((room) + sizeof(struct walked)))
_Static_assert(sizeof(struct walked) + sizeof(struct named) <= RECORD_ROOM, "both fit");

#define HEAD_MAX 32 /* bytes of a name that are looked at */

/*
 * One per CPU, for the texts of one record. A path is built backwards from
 * PATH_MAX, a string of the program's is put forwards behind it; the rest is
 * room that the verifier wants behind every possible offset.
 *
 * Only programs that run with preemption off may use it: tracepoints, but
 * neither LSM hooks nor uprobes.
 */
struct texts {
	char room[RECORD_ROOM];
	char path[3 * PATH_MAX];
	char args[ARGS_MAX];
	__u64 arg[8]; /* of the call, see pick_args */
	char head[HEAD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct texts);
} scratch SEC(".maps");

/*
 * Zero, though the verifier does not know it. Before Linux 6.7 it takes the
 * body of a bpf_loop as if it ran once, and removes the branches that only a
 * later turn can take, checks of bounds among them. So what a body counts on
 * must not be known when the loop begins.
 */
volatile __u32 unknown_zero = 0;

static __always_inline struct texts *get_texts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

/* A record is filled by begin, set_num and set_text, then sent by emit. */
struct out {
	struct record rec;
	void *text[VIV_TEXTS];
	__u64 len[VIV_TEXTS]; /* of a register's size, so that the verifier keeps its bounds */
};

static __always_inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Who does it, and when. Loads, because a helper's call for each costs the
 * watched program more. */
static __always_inline void set_task(struct head *r, struct task *t, __u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();

	r->ktime = bpf_ktime_get_ns();
	r->span = t->span;
	r->parent = t->parent;
	r->sp = t->methods ? ((struct pt_regs *)bpf_task_pt_regs(task))->sp : 0;
	if (own_level) {
		r->pid = own_id(task->group_leader);
		r->tid = own_id(task);
	} else {
		r->pid = task->tgid;
		r->tid = task->pid;
	}
	r->uid = task->cred->uid.val;
	r->gid = task->cred->gid.val;
	if (t->renamed && is_digit(task->comm[0])) /* it may have taken another name since */
		__builtin_memcpy(r->comm, t->comm, sizeof(r->comm));
	else
		__builtin_memcpy(r->comm, task->comm, sizeof(r->comm));
	r->kind = kind;
}

int walk_path(struct walked *r, struct room *room); /* path.h */

/* The last root of a thread's that is not viv-probe's, as it was told. */
struct other_root {
	__u64 mnt, dentry, inode, hash; /* what it is known by: a directory's address alone can come again */
	__u64 id;			/* 0: it has not been told */
	char room[RECORD_ROOM];
	char text[TEXT_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct other_root);
} other_roots SEC(".maps");

static __always_inline struct count *start_output(struct head *h);
static __always_inline void end_output(struct count *c, struct head *h, long err);
static __always_inline __u64 wake_reader(struct count *c);

/*
 * Tells user space of the current task's root, if it has not been told of it.
 * A program does this as it begins, because it takes much of the stack; a
 * record then has only the root's number.
 */
static __noinline int tell_root(struct task *t)
{
	const __u64 head = offsetof(struct record, num) + sizeof(__u64);
	struct task_struct *task = bpf_get_current_task_btf();
	struct dentry *dentry = task->fs->root.dentry;
	struct vfsmount *mnt = task->fs->root.mnt;
	struct other_root *root;
	struct walked *r;
	struct record *rec;
	struct count *c;
	__u32 pos, len;
	long err;

	root = bpf_task_storage_get(&other_roots, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!root || !dentry)
		return 0;
	if (root->id && root->mnt == (__u64)mnt && root->dentry == (__u64)dentry &&
	    root->inode == (__u64)dentry->d_inode && root->hash == dentry->d_name.hash)
		return 0;
	root->id = 0;
	root->mnt = (__u64)mnt;
	root->dentry = (__u64)dentry;
	root->inode = (__u64)dentry->d_inode;
	root->hash = dentry->d_name.hash;
	r = WALKED_IN(root->room);
	r->mnt = mnt;
	r->dentry = dentry;
	r->to = TO_OWN_ROOT;
	walk_path(r, (struct room *)root->text);
	pos = r->pos & (PATH_MAX - 1);
	len = PATH_MAX - pos;
	err = r->flags & (VIV_UNREACHABLE | VIV_TRUNCATED | VIV_DELETED);
	bpf_probe_read_kernel(root->text, len, root->text + pos);
	rec = (void *)(root->room + RECORD_ROOM - head);
	__builtin_memset(rec, 0, head);
	set_task(&rec->head, t, VIV_ROOT);
	rec->head.flags = err;
	rec->head.nums = 1;
	rec->len[0] = len;
	rec->num[0] = new_span_id();
	c = start_output(&rec->head);
	if (!c)
		return 0;
	err = bpf_ringbuf_output(&events, rec, head + len, wake_reader(c));
	end_output(c, &rec->head, err);
	if (!err)
		root->id = rec->num[0];
	return 0;
}

/* The number of the current task's root; 0: it could not be told. */
static __always_inline __u64 root_number(void)
{
	struct other_root *root = bpf_task_storage_get(&other_roots, bpf_get_current_task_btf(), 0, 0);

	return root ? root->id : 0;
}

/* Which root the current task has, if it is not viv-probe's. */
static __always_inline void set_root(struct out *o)
{
	if (other_root()) {
		o->rec.root = root_number();
		o->rec.head.nums |= 1 << VIV_NUMS;
	}
}

static __always_inline void begin(struct out *o, struct task *t, __u32 kind, long ret)
{
	__builtin_memset(o, 0, sizeof(*o));
	set_task(&o->rec.head, t, kind);
	o->rec.head.flags = t->flags;
	o->rec.ret = ret < 0 ? ret : 0;
	set_root(o);
}

static __always_inline void set_num(struct out *o, int i, __u64 v)
{
	o->rec.num[i] = v;
	o->rec.head.nums |= 1 << i;
}

static __always_inline void set_flags(struct out *o, __u8 flags)
{
	o->rec.head.flags |= flags;
}

/* text must have room for len bytes, and text 0 RECORD_ROOM in front of it,
 * which emit overwrites; len is at most ARGS_MAX. */
static __always_inline void set_text(struct out *o, int i, void *text, __u64 len)
{
	o->text[i] = text;
	o->len[i] = len;
	o->rec.len[i] = len;
}

/* Something that should have been recorded was not. */
static __always_inline void lose(void)
{
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);

	if (c)
		c->lost++;
}

#define LOOK_EVERY 64 /* records between two looks at how full the ring is */

/* The count of this CPU, with the losses in front of the record put into it. */
static __always_inline struct count *start_output(struct head *h)
{
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);

	if (c)
		h->lost = c->lost > ~0U ? ~0U : c->lost;
	return c;
}

/* How to send a record: the reader looks again and again by itself, and is
 * only woken when the ring fills. */
static __always_inline __u64 wake_reader(struct count *c)
{
	if (!(++c->emitted & (LOOK_EVERY - 1)) && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void end_output(struct count *c, struct head *h, long err)
{
	if (err)
		c->lost++;
	else
		c->lost -= h->lost;
}

/* Sends a record that begins with h, of a size that is known; now: it wakes the reader. */
static __always_inline void send(struct head *h, __u64 size, bool now)
{
	struct count *c = start_output(h);

	if (c)
		end_output(c, h, bpf_ringbuf_output(&events, h, size, now ? BPF_RB_FORCE_WAKEUP : wake_reader(c)));
}

/* In one piece: the record is put in front of its text. */
static __always_inline long output_text(struct out *o, __u64 head, __u64 wake)
{
	const __u64 *from = (void *)&o->rec;
	__u64 *to = o->text[0] - head;

	for (int i = 0; i < sizeof(o->rec) / sizeof(*from); i++)
		if (i * sizeof(*from) < head)
			to[i] = from[i];
	return bpf_ringbuf_output(&events, to, head + o->len[0], wake);
}

/* Texts that lie apart: a dynptr takes just the record's size of the ring.
 * Nothing here can fault or sleep, so the ring is not held up. */
static __always_inline long output_pieces(struct out *o, __u64 head, __u64 wake)
{
	struct bpf_dynptr ring;
	long err = bpf_ringbuf_reserve_dynptr(&events, head + o->len[0] + o->len[1], 0, &ring);

	if (err) {
		bpf_ringbuf_discard_dynptr(&ring, 0);
		return err;
	}
	bpf_dynptr_write(&ring, 0, &o->rec, head, 0);
	if (o->len[0])
		bpf_dynptr_write(&ring, head, o->text[0], o->len[0], 0);
	bpf_dynptr_write(&ring, head + o->len[0], o->text[1], o->len[1], 0);
	bpf_ringbuf_submit_dynptr(&ring, wake);
	return 0;
}

static __always_inline void emit(struct out *o)
{
	__u64 head = offsetof(struct record, num), wake;
	struct count *c = start_output(&o->rec.head);
	long err;

	if (!c)
		return;
	for (int i = 0; i < VIV_NUMS; i++)
		if (o->rec.head.nums >> i)
			head += sizeof(o->rec.num[0]);
	if (o->rec.head.nums >> VIV_NUMS)
		head += sizeof(o->rec.root);
	wake = wake_reader(c);
	if (o->len[1])
		err = output_pieces(o, head, wake);
	else if (o->len[0])
		err = output_text(o, head, wake);
	else
		err = bpf_ringbuf_output(&events, &o->rec, head, wake);
	end_output(c, &o->rec.head, err);
}

#endif
