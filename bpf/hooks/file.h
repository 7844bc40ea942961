/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Files: opened, mapped, listed, read by the kernel. */
#ifndef VIV_FILE_H
#define VIV_FILE_H

#include "../lib/library.h"
#include "../lib/lsm.h"

const volatile bool failed_opens = false;
const volatile bool emit_mmap = true;

/* The file that an open made, if it is the one of the descriptor: another thread
 * can have put its own there, which then has a descriptor more. */
static __always_inline struct file *opened_file(int fd)
{
	struct file *file = fd_file(fd);

	return file && !(shares_files() && is_referenced(file)) ? file : 0;
}

SYSCALLS(open_exit)
{
	struct pending *p = pended(); /* of an LSM hook */
	struct open_how how = {};
	__u32 kind_of_name = NAME_USER;
	struct file *file;
	struct texts *s;
	struct out o;
	__u64 flags;

	if (p && ret < 0) { /* it may have come to another file than it was meant to */
		p->kind = 0;
		p = 0;
	}
	if (ret < 0 && !failed_opens)
		return 0;
	s = get_texts();
	if (!s)
		return 0;
	pick_args(s, r);
	flags = number_of(c, s);
	if (c->form == FORM_HOW) {
		bpf_probe_read_user(&how, sizeof(how), (void *)PICKED(s, c->extra));
		flags = how.flags;
		if (how.resolve & RESOLVE_IN_ROOT)
			kind_of_name |= NAME_IN_ROOT;
	}
	if (p) {
		pend_num(p, 0, flags);
		return emit_pending(t, p, ret, 0);
	}
	begin(&o, t, VIV_PATH_OPEN, ret);
	set_num(&o, 0, flags);
	file = ret < 0 || t->flags ? 0 : opened_file(ret);
	if (file) {
		set_file_path(&o, 0, s, file);
	} else {
		if (ret >= 0)
			set_flags(&o, VIV_UNKNOWN);
		if (c->name[0])
			set_name_path(&o, 0, s, PICKED(s, c->dfd[0]), (void *)PICKED(s, c->name[0]), kind_of_name);
	}
	emit_outcome(t, &o);
	return 0;
}

/* Set when any program opens a file, if the kernel asks BPF at all. */
bool lsm_asked = false;

SEC("lsm/file_open")
int BPF_PROG(lsm_try, struct file *file)
{
	lsm_asked = true;
	return 0;
}

/* The first file of an open is the one that it is of; a file system can open others below. */
static __always_inline bool is_open_pended(void)
{
	struct pending *p;

	if (!watched() || !in_call())
		return false;
	p = pended();
	return p && p->kind == VIV_PATH_OPEN + 1;
}

LSM(file_open, VIV_PATH_OPEN, !(file->f_flags & FMODE_EXEC) && !is_open_pended(), struct file *file)
{
	pend_num(p, 0, file->f_flags & ~O_LARGEFILE); /* which the kernel adds */
	pend_path(p, 0, file->f_path.mnt, file->f_path.dentry);
}

/*
 * What was mapped of an overlay is a file of one of its layers, on a mount of
 * the kernel's own. From Linux 6.5 on it knows its path in the overlay; before,
 * that is its path.
 */
static __always_inline void set_mapped_path(struct out *o, struct texts *s, struct file *file)
{
	struct vfsmount *mnt = LOAD(file, f_path.mnt);
	struct dentry *dentry = LOAD(file, f_path.dentry);
	struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);

	if (bpf_core_type_exists(struct backing_file) && (long)LOAD(m, mnt_ns) < 0 &&
	    (long)LOAD(m, mnt_ns) >= -4095 && !(BPF_CORE_READ(dentry, d_sb, s_flags) & SB_KERNMOUNT)) {
		struct backing_file *b = (void *)file;

		mnt = BPF_CORE_READ(b, user_path.mnt);
		dentry = BPF_CORE_READ(b, user_path.dentry);
	}
	set_path(o, 0, s, mnt, dentry);
}

struct vma_file {
	struct file *file;
};

static long vma_found(struct task_struct *task, struct vm_area_struct *vma, struct vma_file *found)
{
	found->file = vma->vm_file;
	return 0;
}

SYSCALLS(mmap_exit)
{
	struct vma_file found = {};
	struct texts *s;
	struct out o;

	if (!(ARG3(r) & PROT_EXEC))
		return 0;
	if (c->form == FORM_MAP) {
		if (ARG4(r) & MAP_ANONYMOUS)
			return 0;
		/* What was mapped; the descriptor may mean another file by now. */
		if (ret >= 0 || ret < -4095)
			bpf_find_vma(bpf_get_current_task_btf(), ret, vma_found, &found, 0);
		if (!found.file)
			found.file = fd_file(ARG5(r));
		if (!found.file)
			return 0;
	} else {
		bpf_find_vma(bpf_get_current_task_btf(), ARG1(r), vma_found, &found, 0);
	}
	if (found.file && ret >= 0)
		library_changed(t, bpf_get_current_task_btf()->group_leader, 0, false);
	if (!emit_mmap)
		return 0;
	s = get_texts();
	if (!s)
		return 0;
	begin(&o, t, VIV_MMAP_EXEC, ret);
	if (found.file) {
		set_mapped_path(&o, s, found.file);
	} else {
		static const char anonymous[] = "[anon]";

		__builtin_memcpy(s->path, anonymous, sizeof(anonymous));
		set_text(&o, 0, s->path, sizeof(anonymous) - 1);
	}
	emit_outcome(t, &o);
	return 0;
}

LSM(mmap_file, VIV_MMAP_EXEC, file && prot & PROT_EXEC, struct file *file, unsigned long reqprot, unsigned long prot,
    unsigned long flags)
{
	pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
}

SYSCALLS(getdents_exit)
{
	struct file *dir = fd_file(ARG1(r));
	struct texts *s = get_texts();
	struct out o;

	if (!s)
		return 0;
	begin(&o, t, VIV_FILE_GETDENTS, ret);
	set_num(&o, 0, (__u32)ARG1(r));
	set_num(&o, 1, (__u32)ARG3(r));
	if (dir)
		set_file_path(&o, 0, s, dir);
	emit_outcome(t, &o);
	return 0;
}

/* Module and kexec files. */
SYSCALLS(read_file_exit)
{
	struct pending *p = pended();
	struct texts *s;
	struct file *file;
	struct out o;

	if (p)
		return emit_pending(t, p, ret, 0);
	file = fd_file(ARG1(r));
	s = get_texts();
	if (!s)
		return 0;
	begin(&o, t, VIV_KERNEL_READ_FILE, ret);
	set_num(&o, 0, c->value);
	set_num(&o, 1, 1);
	if (file)
		set_file_path(&o, 0, s, file);
	emit_outcome(t, &o);
	return 0;
}

LSM(kernel_read_file, VIV_KERNEL_READ_FILE, true, struct file *file, int id, bool contents)
{
	pend_num(p, 0, id);
	pend_num(p, 1, contents);
	if (file)
		pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
}

#endif
