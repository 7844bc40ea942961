/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Files: opened, mapped, listed, linked, renamed, removed; mounts. */
#ifndef VIV_FILE_H
#define VIV_FILE_H

#include "library.h"
#include "pending.h"

const volatile bool failed_opens = false;
const volatile bool emit_mmap = true;

/* The directory, name and flags of a call that opens a file; false: it is none. */
struct open_args {
	int dfd;
	const void *name;
	__u64 flags;
	__u32 how; /* NAME_ of the name */
};

static __always_inline bool open_args(struct open_args *a, int nr, struct pt_regs *r)
{
	struct open_how how = {};

	a->dfd = AT_FDCWD;
	a->how = NAME_USER;
	switch (nr) {
	case __NR_open:
		a->name = (void *)ARG1(r);
		a->flags = (__u32)ARG2(r);
		return true;
	case __NR_creat:
		a->name = (void *)ARG1(r);
		a->flags = O_CREAT | O_WRONLY | O_TRUNC;
		return true;
	case __NR_openat:
		a->dfd = ARG1(r);
		a->name = (void *)ARG2(r);
		a->flags = (__u32)ARG3(r);
		return true;
	case __NR_openat2:
		a->dfd = ARG1(r);
		a->name = (void *)ARG2(r);
		bpf_probe_read_user(&how, sizeof(how), (void *)ARG3(r));
		a->flags = how.flags;
		if (how.resolve & RESOLVE_IN_ROOT)
			a->how |= NAME_IN_ROOT;
		return true;
	case __NR_open_by_handle_at:
		a->name = 0;
		a->flags = (__u32)ARG3(r);
		return true;
	}
	return false;
}

SYSCALLS(open_exit)
{
	struct file *file;
	struct open_args a;
	struct texts *s;
	struct out o;

	if (ret < 0 && !failed_opens)
		return 0;
	s = get_texts();
	if (!s || !open_args(&a, nr, r))
		return 0;
	begin(&o, t, VIV_PATH_OPEN, ret);
	set_num(&o, 0, a.flags);
	file = ret < 0 ? 0 : fd_file(ret);
	if (file)
		set_file_path(&o, 0, s, file);
	else
		set_name_path(&o, 0, s, a.dfd, a.name, a.how);
	emit(&o);
	return 0;
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
	if (nr == __NR_mmap) {
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
		tell_library(t, bpf_get_current_task_btf()->group_leader, 0, false);
	if (!emit_mmap)
		return 0;
	s = get_texts();
	if (!s)
		return 0;
	begin(&o, t, VIV_MMAP_EXEC, ret);
	if (found.file) {
		set_file_path(&o, 0, s, found.file);
	} else {
		static const char anonymous[] = "[anon]";

		__builtin_memcpy(s->path, anonymous, sizeof(anonymous));
		set_text(&o, 0, s->path, sizeof(anonymous) - 1);
	}
	emit(&o);
	return 0;
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
	emit(&o);
	return 0;
}

/* Module and kexec files, enum kernel_read_file_id. */
#define READING_MODULE 2
#define READING_KEXEC_IMAGE 3

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
	set_num(&o, 0, nr == __NR_finit_module ? READING_MODULE : READING_KEXEC_IMAGE);
	set_num(&o, 1, 1);
	if (file)
		set_file_path(&o, 0, s, file);
	emit(&o);
	return 0;
}

/*
 * The calls that name files and change them. As the program named them: what
 * an entry leaves where there is no LSM hook, and what an exit shows of a call
 * that failed before it came to one.
 */
static __noinline int pend_names(struct task *t, int nr, struct pt_regs *r)
{
	enum { NONE, ONE, TWO, SYMLINK, MOUNT, OPEN_FILE } form = NONE;
	int dfd0 = AT_FDCWD, dfd1 = AT_FDCWD;
	const void *name0 = 0, *name1 = 0;
	enum kind kind = VIV_FILE_UNLINK;
	struct texts *s = get_texts();
	struct pending *p;
	__u64 mode = 0;

	if (!s || !r)
		return 0;
	switch (nr) {
	case __NR_unlink:
	case __NR_rmdir:
		form = ONE;
		name0 = (void *)ARG1(r);
		break;
	case __NR_unlinkat:
		form = ONE;
		dfd0 = ARG1(r);
		name0 = (void *)ARG2(r);
		break;
	case __NR_rename:
	case __NR_link:
		form = TWO;
		kind = nr == __NR_rename ? VIV_FILE_RENAME : VIV_FILE_HARDLINK;
		name0 = (void *)ARG1(r);
		name1 = (void *)ARG2(r);
		break;
	case __NR_renameat:
	case __NR_renameat2:
	case __NR_linkat:
		form = TWO;
		kind = nr == __NR_linkat ? VIV_FILE_HARDLINK : VIV_FILE_RENAME;
		dfd0 = ARG1(r);
		name0 = (void *)ARG2(r);
		dfd1 = ARG3(r);
		name1 = (void *)ARG4(r);
		break;
	case __NR_symlink:
		form = SYMLINK;
		kind = VIV_FILE_SYMLINK;
		name0 = (void *)ARG1(r);
		name1 = (void *)ARG2(r);
		break;
	case __NR_symlinkat:
		form = SYMLINK;
		kind = VIV_FILE_SYMLINK;
		name0 = (void *)ARG1(r);
		dfd1 = ARG2(r);
		name1 = (void *)ARG3(r);
		break;
	case __NR_chmod:
		form = ONE;
		kind = VIV_FILE_CHMOD;
		name0 = (void *)ARG1(r);
		mode = ARG2(r);
		break;
	case __NR_fchmodat:
	case __NR_fchmodat2:
		form = ONE;
		kind = VIV_FILE_CHMOD;
		dfd0 = ARG1(r);
		name0 = (void *)ARG2(r);
		mode = ARG3(r);
		break;
	case __NR_fchmod:
		form = OPEN_FILE;
		kind = VIV_FILE_CHMOD;
		mode = ARG2(r);
		break;
	case __NR_mount:
		form = MOUNT;
		kind = VIV_SB_MOUNT;
		name1 = (void *)ARG2(r);
		break;
	case __NR_move_mount:
		form = TWO;
		kind = VIV_SB_MOUNT;
		dfd0 = ARG1(r);
		name0 = (void *)ARG2(r);
		dfd1 = ARG3(r);
		name1 = (void *)ARG4(r);
		break;
	}
	if (form == NONE)
		return 0;
	p = pend(kind);
	if (!p)
		return 0;
	if (kind == VIV_FILE_CHMOD)
		pend_num(p, 0, mode & 07777);
	if (kind == VIV_SB_MOUNT)
		pend_num(p, 0, nr == __NR_mount ? ARG4(r) : MS_MOVE);
	if (form == OPEN_FILE) {
		struct file *file = fd_file(ARG1(r));

		if (file)
			pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
		return 0;
	}
	if (form == SYMLINK)
		pend_string(p, 0, name0, true);
	else if (form == MOUNT)
		pend_mount(p, (void *)ARG1(r), (void *)ARG3(r), true);
	else
		pend_name(p, 0, s, dfd0, name0);
	if (form != ONE)
		pend_name(p, 1, s, dfd1, name1);
	return 0;
}

SYSCALL_ENTRIES(names_enter)
{
	return pend_names(t, nr, r);
}

SYSCALLS(names_exit)
{
	struct pending *p = pended();

	/* What the entry could not read, the kernel has brought into memory by now. */
	if (p ? p->unread : ret < 0) {
		pend_names(t, nr, r);
		p = pended();
	}
	return p ? emit_pending(t, p, ret, 0) : 0;
}

/* What io_uring does then, no system call shows. */
SYSCALLS(io_uring_exit)
{
	if (ret >= 0)
		blind(t, VIV_BLIND_IO_URING);
	return 0;
}

#endif
