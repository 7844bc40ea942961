/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Method spans from the probes of a runtime or a library (USDT), and from the
 * entry and return of compiled functions. Where a site's arguments lie, user
 * space has read in its note (pkg/probe/spans/usdt); here they are read when it fires.
 *
 * These programs can be preempted: no per-CPU scratch here. They do not wait for
 * the program's own memory (see lib/late.h, and fetch). They are on every process that runs the
 * code, so a task that is not watched is left first of all.
 */
#ifndef VIV_USDT_H
#define VIV_USDT_H

#include "../lib/blind.h"
#include "../lib/late.h"

#define NO_REG 0xffff

enum arg_kind {
	ARG_NONE,
	ARG_CONST,
	ARG_REG,
	ARG_MEM,
};

enum arg_flag {
	ARG_SIGNED = 1,
	ARG_HIGH = 2, /* bits 8 to 15, of %ah and the like */
};

struct arg_spec { /* usdt.Arg */
	__s64 value;
	__u16 base, index; /* bytes in struct pt_regs */
	__u8 kind, scale, size, flags;
};

/* What the arguments of a site are to us. */
enum role {
	ROLE_NAME, /* or the class, or the error */
	ROLE_NAME_LEN,
	ROLE_METHOD, /* or the error's message */
	ROLE_METHOD_LEN,
	ROLE_FILE,
	ROLE_LINE,
	ROLES,
};

enum site_flag {
	SITE_LISTED = 1,    /* the list decides */
	SITE_IN_METHOD = 2, /* only in a method of Ruby's that is recorded */
};

struct site {
	__u16 kind; /* enum kind */
	__u16 flags;
	__u32 pad;
	struct arg_spec arg[ROLES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32); /* the attachment's cookie */
	__type(value, struct site);
} sites SEC(".maps");

/*
 * The list of methods. A class of which all or no methods are on it is found
 * without a look at the method's name. With list_asks set, a method that is in
 * neither is sent as undecided; user space decides and adds it.
 */
#define CLASS_MAX 64
#define METHOD_MAX 64

enum verdict {
	VERDICT_NO = 1,
	VERDICT_YES,
	VERDICT_SOME, /* of a class: its methods say */
	VERDICT_UNREAD, /* the name is not in memory */
};

struct method_key {
	char class[CLASS_MAX]; /* filled up with NULs, and so is the other */
	char method[METHOD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, char[CLASS_MAX]);
	__type(value, __u32); /* enum verdict */
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* of a large program's methods, with globs */
	__uint(max_entries, 131072);
	__type(key, struct method_key);
	__type(value, __u32); /* enum verdict */
} methods SEC(".maps");

bool list_asks = false;

#define NAME_MAX 512 /* bytes of a class, and of a method */
#define FILE_MAX 1024

/* Of the task, which is in one probe at a time. */
struct span_texts {
	char room[RECORD_ROOM];
	char name[2 * NAME_MAX + 64];
	char file[FILE_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct span_texts);
} span_scratch SEC(".maps");

/*
 * A program need never have touched the text of its own constants, which only the
 * probe is given. So a page that is not in memory is fetched, but only one of a file
 * on a disk of this machine's: no memory of its own, and no file system in user
 * space or on a network, can make that wait. A program can still exchange the
 * mapping between the look at it and the fetch; nothing of the ring is held then,
 * and what waits for it at the end is given up after a time (detachMost).
 */
#define VM_UFFD 0x1200 /* VM_UFFD_MISSING, VM_UFFD_WP */
#define EXT4_SUPER_MAGIC 0xef53
#define XFS_SUPER_MAGIC 0x58465342
#define BTRFS_SUPER_MAGIC 0x9123683e
#define TMPFS_MAGIC 0x01021994

static long on_disk(struct task_struct *task, struct vm_area_struct *vma, bool *yes)
{
	struct file *file = vma->vm_file;
	__u64 magic;

	if (!file || vma->vm_flags & VM_UFFD)
		return 0;
	magic = BPF_CORE_READ(file, f_inode, i_sb, s_magic);
	*yes = magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC || magic == BTRFS_SUPER_MAGIC || magic == TMPFS_MAGIC;
	return 0;
}

static __noinline int fetch(__u64 from)
{
	bool yes = false;
	char c;

	bpf_find_vma(bpf_get_current_task_btf(), from, on_disk, &yes, 0);
	return yes && !bpf_copy_from_user(&c, 1, (void *)from);
}

/* A string that ends with a NUL, or with that many bytes. Returns its length
 * without the NUL, less than size; below 0: it cannot be read. */
static __noinline long read_text(char *to, __u32 size, const void *from, __u64 len, bool counted)
{
	long n;

	if (counted) {
		if (len > size - 1)
			len = size - 1;
		if (len && bpf_probe_read_user(to, len, from) &&
		    (!fetch((__u64)from) || bpf_probe_read_user(to, len, from)))
			return -1;
		return len;
	}
	n = bpf_probe_read_user_str(to, size, from);
	if (n < 0 && fetch((__u64)from))
		n = bpf_probe_read_user_str(to, size, from);
	return n > 0 ? n - 1 : n; /* 0: an empty one, on older kernels */
}

/* The value of an argument; 0 for one that is not there or cannot be read. */
static __noinline __u64 arg_value(struct pt_regs *ctx, const struct arg_spec *a)
{
	__u64 v = a->value, reg = 0;
	__u32 size = a->size, bits;
	bool sign = a->flags & ARG_SIGNED;

	if (!size || size > 8)
		return 0;
	if (a->kind == ARG_REG || a->kind == ARG_MEM) {
		if (a->base != NO_REG)
			bpf_probe_read_kernel(&reg, sizeof(reg), (void *)ctx + a->base);
		v += reg;
	}
	if (a->kind == ARG_MEM) {
		if (a->index != NO_REG) {
			reg = 0;
			bpf_probe_read_kernel(&reg, sizeof(reg), (void *)ctx + a->index);
			v += reg * a->scale;
		}
		reg = 0;
		if (bpf_probe_read_user(&reg, size, (void *)v))
			return 0;
		v = reg;
	}
	if (a->flags & ARG_HIGH)
		v >>= 8;
	bits = 64 - 8 * size;
	v <<= bits & 63;
	return sign ? (__u64)((__s64)v >> (bits & 63)) : v >> (bits & 63);
}

/* A text argument of the site, at most size - 1 bytes; below 0: there is none. */
#define TEXT_ARG(to, size, ctx, site, role, len_role)                                    \
	read_text(to, size, (void *)arg_value(ctx, &(site)->arg[role]),                  \
		  (site)->arg[len_role].kind ? arg_value(ctx, &(site)->arg[len_role]) : 0, \
		  (site)->arg[len_role].kind != ARG_NONE)

/* What the list says of the method that the site tells of; 0: not known. */
static __noinline __u32 listed(struct pt_regs *ctx, const struct site *site)
{
	struct method_key key = {};
	__u32 *v;

	if (TEXT_ARG(key.class, CLASS_MAX, ctx, site, ROLE_NAME, ROLE_NAME_LEN) < 0)
		return VERDICT_UNREAD;
	if (!list_asks) {
		v = bpf_map_lookup_elem(&classes, key.class);
		if (!v)
			return VERDICT_NO;
		if (*v != VERDICT_SOME)
			return *v;
	}
	if (site->arg[ROLE_METHOD].kind &&
	    TEXT_ARG(key.method, METHOD_MAX, ctx, site, ROLE_METHOD, ROLE_METHOD_LEN) < 0)
		return VERDICT_UNREAD;
	v = bpf_map_lookup_elem(&methods, &key);
	if (v)
		return *v;
	return list_asks ? 0 : VERDICT_NO;
}

SEC("uprobe.s")
int usdt(struct pt_regs *ctx)
{
	struct task *t = probed();
	__u32 i = bpf_get_attach_cookie(ctx), verdict = VERDICT_YES;
	struct span_texts *s;
	struct site *site;
	struct out o;
	__u64 n;
	long len;

	if (!t)
		return 0;
	site = bpf_map_lookup_elem(&sites, &i);
	if (!site || (site->flags & SITE_IN_METHOD && !t->methods))
		return 0;
	if (site->flags & SITE_LISTED) {
		verdict = listed(ctx, site);
		if (verdict == VERDICT_UNREAD)
			blind_once(t, t, VIV_BLIND_NAME); /* a program that sleeps does not get at the leader */
		if (verdict == VERDICT_NO || verdict == VERDICT_UNREAD)
			return 0;
	}
	s = bpf_task_storage_get(&span_scratch, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!s) {
		lose();
		return 0;
	}
	begin(&o, t, site->kind, 0);
	if (!verdict)
		set_flags(&o, VIV_UNDECIDED);
	len = TEXT_ARG(s->name, NAME_MAX, ctx, site, ROLE_NAME, ROLE_NAME_LEN);
	n = len > 0 ? len & (NAME_MAX - 1) : 0;
	if (n == NAME_MAX - 1 || len < 0)
		set_flags(&o, VIV_TRUNCATED);
	if (site->arg[ROLE_METHOD].kind) {
		/* A raise's message follows behind a NUL. */
		s->name[n] = site->kind == VIV_SPAN_RAISE ? 0 : '#';
		n++;
		len = TEXT_ARG(s->name + n, NAME_MAX, ctx, site, ROLE_METHOD, ROLE_METHOD_LEN);
		if (len == NAME_MAX - 1 || len < 0)
			set_flags(&o, VIV_TRUNCATED);
		if (len > 0)
			n += len & (NAME_MAX - 1);
	}
	set_text(&o, 0, s->name, n);
	if (site->arg[ROLE_FILE].kind) {
		n = arg_value(ctx, &site->arg[ROLE_FILE]);
		len = read_text(s->file, FILE_MAX, (void *)n, 0, false);
		if (len > 0)
			set_text(&o, 1, s->file, len & (FILE_MAX - 1));
		if (n && (len < 0 || len == FILE_MAX - 1))
			set_flags(&o, VIV_TRUNCATED);
	}
	if (site->arg[ROLE_LINE].kind)
		set_num(&o, 0, arg_value(ctx, &site->arg[ROLE_LINE]));
	if (site->flags & SITE_IN_METHOD)
		set_flags(&o, VIV_IN_METHOD);
	emit(&o);
	return 0;
}

static __always_inline int function(struct pt_regs *ctx, bool left)
{
	struct function_record r = { .site = bpf_get_attach_cookie(ctx), .left = left };
	struct task *t = probed();

	if (!t)
		return 0;
	set_task(&r.head, t, VIV_FUNCTION);
	send(&r.head, sizeof(r), false);
	return 0;
}

SEC("uprobe")
int func_entry(struct pt_regs *ctx)
{
	return function(ctx, false);
}

SEC("uretprobe")
int func_return(struct pt_regs *ctx)
{
	return function(ctx, true);
}

/*
 * Functions that methods of Ruby are written in. No uretprobes: the kernel pairs
 * them by their order, which is wrong in a program that changes stacks, as
 * Ruby's fibers do, and would crash it. So there is a probe on each return
 * instruction, which knows its entry by the stack pointer, and one where an
 * exception, or whatever else leaves methods without a return, has set the
 * stack pointer back. What is open then, user space keeps (pkg/probe/methods.go).
 */
struct frame {
	__u64 sp;
	__u64 tid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); /* what was left without a return stays behind */
	__uint(max_entries, 16384);
	__type(key, struct frame);
	__type(value, __u64); /* its site */
} frames SEC(".maps");

#define VM_GROWSDOWN 0x100
#define STACK_GAP (128UL << 20) /* what the kernel keeps free below the first stack for it to grow (MIN_GAP) */

struct stack {
	__u64 from, to;
};

static long stack_of(struct task_struct *task, struct vm_area_struct *vma, struct stack *s)
{
	s->to = vma->vm_end;
	s->from = vma->vm_flags & VM_GROWSDOWN ? s->to - STACK_GAP : vma->vm_start;
	return 0;
}

SEC("uprobe")
int method_entry(struct pt_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct frame f = { .tid = task->pid };
	struct function_record r = {};
	struct stack stack = {};
	struct task *t = probed();
	__u64 site;

	if (!t)
		return 0;
	site = bpf_get_attach_cookie(ctx);
	f.sp = ctx->sp + (site >> 32); /* the probe can stand behind what makes room on the stack */
	site = (__u32)site;
	if (!bpf_map_update_elem(&frames, &f, &site, BPF_NOEXIST))
		t->methods++;
	else if (bpf_map_update_elem(&frames, &f, &site, BPF_ANY)) {
		lose();
		return 0;
	}
	set_task(&r.head, t, VIV_FUNCTION);
	r.head.sp = f.sp;
	r.site = site;
	/* Not while the process changes its mappings: then it is the same as before. */
	if (!bpf_find_vma(task, f.sp, stack_of, &stack, 0)) {
		r.stack_from = stack.from;
		r.stack_to = stack.to;
	}
	send(&r.head, sizeof(r), false);
	return 0;
}

SEC("uprobe")
int method_return(struct pt_regs *ctx)
{
	struct frame f = { .sp = ctx->sp, .tid = bpf_get_current_task_btf()->pid };
	struct function_record r = { .left = true };
	struct task *t = probed();
	__u64 *site;

	if (!t || !t->methods)
		return 0;
	site = bpf_map_lookup_elem(&frames, &f);
	if (!site)
		return 0;
	set_task(&r.head, t, VIV_FUNCTION);
	r.site = *site;
	send(&r.head, sizeof(r), false);
	bpf_map_delete_elem(&frames, &f);
	t->methods--;
	return 0;
}

SEC("uprobe")
int method_jump(struct pt_regs *ctx)
{
	struct task *t = probed();
	struct head h = {};

	if (!t || !t->methods)
		return 0;
	set_task(&h, t, VIV_METHOD_JUMP);
	send(&h, sizeof(h), false);
	return 0;
}

/*
 * Never runs, or does nothing: it is attached, for one process, where the code
 * does not come by any more, so that the kernel keeps a semaphore of that
 * process raised for as long as the attachment lives. The sites themselves are
 * attached for all processes, so that none is missed in a process that was
 * just forked; its copy of the memory has the semaphore raised already.
 */
SEC("uprobe")
int hold(struct pt_regs *ctx)
{
	return 0;
}

const struct site *site_unused __attribute__((unused));
const struct arg_spec *arg_spec_unused __attribute__((unused));
const struct method_key *method_key_unused __attribute__((unused));
const enum role *role_unused __attribute__((unused));
const enum arg_flag *arg_flag_unused __attribute__((unused));
const enum site_flag *site_flag_unused __attribute__((unused));
const enum verdict *verdict_unused __attribute__((unused));

#endif
