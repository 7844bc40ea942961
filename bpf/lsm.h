/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * BPF LSM hooks: the objects that the kernel really acts on. In a call whose
 * exit is watched a hook only leaves the object for it; elsewhere (io_uring, a
 * 32-bit call) it sends the event at once, with its outcome unknown.
 *
 * These programs can be preempted, so they build their texts in the task's own
 * memory and not in the CPU's.
 */
#ifndef VIV_LSM_H
#define VIV_LSM_H

#include "authority.h"
#include "file.h"
#include "net.h"
#include "proc.h"

/* As watched, also for the threads that io_uring makes in a process. */
static __always_inline struct task *watched_worker(void)
{
	struct task_struct *task = bpf_get_current_task_btf(), *leader;
	struct task *t = bpf_task_storage_get(&tasks, task, 0, 0);

	if (!t && task->flags & PF_IO_WORKER) {
		leader = task->group_leader;
		if (leader)
			t = bpf_task_storage_get(&tasks, leader, 0, 0);
	}
	return t;
}

/* Where a hook puts what it sees: for the exit of its own call, or to be sent at once. */
static __always_inline struct pending *pend_for(bool own_call, enum kind kind)
{
	return own_call ? pend(kind) : pend_aside(kind);
}

/* The end of a hook that filled p: the call's exit sends it, or we do. */
static __always_inline int settle(struct task *t, struct pending *p, bool own_call)
{
	if (!own_call)
		emit_pending(t, p, 0, VIV_UNKNOWN);
	return 0;
}

static __always_inline bool names_call(void)
{
	switch (current_call()) {
	case __NR_unlink:
	case __NR_unlinkat:
	case __NR_rmdir:
	case __NR_rename:
	case __NR_renameat:
	case __NR_renameat2:
	case __NR_link:
	case __NR_linkat:
	case __NR_symlink:
	case __NR_symlinkat:
	case __NR_chmod:
	case __NR_fchmod:
	case __NR_fchmodat:
	case __NR_fchmodat2:
	case __NR_mount:
	case __NR_move_mount:
		return true;
	}
	return false;
}

/* Set when any program opens a file, if the kernel asks BPF at all. */
bool lsm_asked = false;

SEC("lsm/file_open")
int BPF_PROG(lsm_try, struct file *file)
{
	lsm_asked = true;
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(lsm_file_open, struct file *file)
{
	struct pending *p;
	struct task *t = watched_worker();

	if (!t || file->f_flags & FMODE_EXEC)
		return 0;
	switch (current_call()) {
	case __NR_open:
	case __NR_creat:
	case __NR_openat:
	case __NR_openat2:
	case __NR_open_by_handle_at:
		return 0; /* the exit has the file itself */
	case __NR_pidfd_open: /* a pidfd is a file to newer kernels */
	case __NR_clone:
	case __NR_clone3:
		return 0;
	}
	p = pend_aside(VIV_PATH_OPEN);
	if (!p)
		return 0;
	pend_num(p, 0, file->f_flags & ~O_LARGEFILE); /* which the kernel adds */
	pend_path(p, 0, file->f_path.mnt, file->f_path.dentry);
	return settle(t, p, false);
}

SEC("lsm/mmap_file")
int BPF_PROG(lsm_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	struct pending *p;
	struct task *t;

	if (!file || !(prot & PROT_EXEC))
		return 0;
	t = watched_worker();
	if (!t)
		return 0;
	switch (current_call()) {
	case __NR_mmap:
	case __NR_execve: /* the program and its loader, which proc_exec stands for */
	case __NR_execveat:
		return 0;
	}
	p = pend_aside(VIV_MMAP_EXEC);
	if (!p)
		return 0;
	pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
	return settle(t, p, false);
}

SEC("lsm/socket_connect")
int BPF_PROG(lsm_socket_connect, struct socket *sock, struct sockaddr *address, int addrlen)
{
	struct address *a;
	struct pending *p;
	struct task *t = watched_worker();
	bool own;
	__u32 len = addrlen, size;

	if (!t)
		return 0;
	switch (current_call()) {
	case __NR_sendto: /* MSG_FASTOPEN: their exits show it, whether or not a kernel asks */
	case __NR_sendmsg:
	case __NR_sendmmsg:
		return 0;
	}
	own = current_call() == __NR_connect;
	p = pend_for(own, VIV_SOCK_CONNECT);
	if (!p)
		return 0;
	size = len > sizeof(*a) ? sizeof(*a) : len;
	a = (void *)p->text[0]; /* moved to where it belongs below */
	__builtin_memset(a, 0, sizeof(*a));
	bpf_probe_read_kernel(a, size, address);
	pend_num(p, 0, a->family);
	if (a->family == AF_INET || a->family == AF_INET6) {
		pend_num(p, 1, bpf_ntohs(a->port));
		p->len[0] = a->family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
		bpf_probe_read_kernel(p->text[0], p->len[0] & 31, a->family == AF_INET ? a->v4 : a->v6);
	} else if (a->family == AF_UNIX && len > 2) {
		p->len[1] = sun_path_len(len);
		bpf_probe_read_kernel(p->text[1], SUN_PATH, &a->port);
	}
	return settle(t, p, own);
}

SEC("lsm/socket_create")
int BPF_PROG(lsm_socket_create, int family, int type, int protocol, int kern)
{
	struct pending *p;
	struct task *t;
	int nr;

	type &= SOCK_TYPE_MASK;
	if (kern || !is_odd(family, type))
		return 0;
	t = watched_worker();
	nr = current_call();
	if (!t || nr == __NR_socket || nr == __NR_socketpair)
		return 0; /* their arguments cannot change */
	p = pend_aside(VIV_ODD_SOCKET);
	if (!p)
		return 0;
	pend_num(p, 0, family);
	pend_num(p, 1, type);
	pend_num(p, 2, protocol);
	return settle(t, p, false);
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(lsm_ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	struct pending *p;
	struct task *t = watched_worker();
	int nr = current_call();
	bool own;

	if (!t)
		return 0;
	own = nr == __NR_ptrace || nr == __NR_process_vm_readv || nr == __NR_process_vm_writev;
	p = pend_for(own, VIV_PTRACE_CHECK);
	if (!p)
		return 0;
	pend_num(p, 0, mode);
	pend_process(p, 1, child);
	return settle(t, p, own);
}

SEC("lsm/sb_mount")
int BPF_PROG(lsm_sb_mount, const char *dev, const struct path *path, const char *type, unsigned long flags)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = names_call();
	p = pend_for(own, VIV_SB_MOUNT);
	if (!p)
		return 0;
	pend_num(p, 0, flags);
	pend_mount(p, dev, type, false);
	pend_path(p, 1, path->mnt, path->dentry);
	return settle(t, p, own);
}

SEC("lsm/move_mount")
int BPF_PROG(lsm_move_mount, const struct path *from, const struct path *to)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = names_call();
	p = pend_for(own, VIV_SB_MOUNT);
	if (!p)
		return 0;
	pend_num(p, 0, MS_MOVE);
	pend_path(p, 0, from->mnt, from->dentry);
	pend_path(p, 1, to->mnt, to->dentry);
	return settle(t, p, own);
}

SEC("lsm/kernel_read_file")
int BPF_PROG(lsm_kernel_read_file, struct file *file, int id, bool contents)
{
	struct pending *p;
	struct task *t = watched_worker();
	int nr = current_call();
	bool own;

	if (!t)
		return 0;
	own = nr == __NR_finit_module || nr == __NR_kexec_file_load;
	p = pend_for(own, VIV_KERNEL_READ_FILE);
	if (!p)
		return 0;
	pend_num(p, 0, id);
	pend_num(p, 1, contents);
	if (file)
		pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
	return settle(t, p, own);
}

SEC("lsm/task_kill")
int BPF_PROG(lsm_task_kill, struct task_struct *to, void *info, int sig)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = kill_call();
	p = pend_for(own, VIV_TASK_KILL);
	if (!p)
		return 0;
	pend_num(p, 0, sig);
	pend_process(p, 1, to);
	return settle(t, p, own);
}

SEC("lsm/task_fix_setuid")
int BPF_PROG(lsm_task_fix_setuid, struct cred *new, const struct cred *old, int flags)
{
	struct task *t = watched_worker();
	struct pending *p;
	bool own;

	if (!t)
		return 0;
	own = setid_flags(current_call());
	p = pend_for(own, VIV_SETID_CHANGE);
	pend_ids(p, flags, false, old, new);
	return settle(t, p, own);
}

SEC("lsm/task_fix_setgid")
int BPF_PROG(lsm_task_fix_setgid, struct cred *new, const struct cred *old, int flags)
{
	struct task *t = watched_worker();
	struct pending *p;
	bool own;

	if (!t)
		return 0;
	own = setid_flags(current_call());
	p = pend_for(own, VIV_SETID_CHANGE);
	pend_ids(p, flags, true, old, new);
	return settle(t, p, own);
}

SEC("lsm/capable")
int BPF_PROG(lsm_capable, const struct cred *cred, void *ns, int cap, unsigned int opts)
{
	struct task *t;
	struct out o;

	if (cap < 0 || cap > 63 || !(RISKY >> cap & 1))
		return 0;
	t = watched_worker();
	if (!t)
		return 0;
	begin(&o, t, VIV_CAPABLE_CHECK, 0);
	set_num(&o, 0, cap);
	set_num(&o, 1, opts);
	emit(&o);
	return 0;
}

SEC("lsm/bprm_creds_from_file")
int BPF_PROG(lsm_bprm_creds_from_file, struct linux_binprm *bprm, struct file *file)
{
	struct task *t = watched_worker();
	struct pending *p;
	struct inode *inode;
	__u16 mode;
	int nr;
	bool own;

	if (!t || !file)
		return 0;
	nr = current_call();
	own = nr == __NR_execve || nr == __NR_execveat;
	p = pend_for(own, VIV_BPRM_CREDS);
	if (!p)
		return 0;
	inode = LOAD(file, f_inode);
	mode = LOAD(inode, i_mode);
	pend_num(p, 0, 1);
	pend_num(p, 1, !!(mode & S_ISUID));
	pend_num(p, 2, !!(mode & S_ISGID));
	pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
	return settle(t, p, own);
}

SEC("lsm/path_symlink")
int BPF_PROG(lsm_path_symlink, const struct path *dir, struct dentry *dentry, const char *target)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = names_call();
	p = pend_for(own, VIV_FILE_SYMLINK);
	if (!p)
		return 0;
	pend_string(p, 0, target, false);
	pend_path(p, 1, dir->mnt, dentry);
	return settle(t, p, own);
}

SEC("lsm/path_link")
int BPF_PROG(lsm_path_link, struct dentry *old, const struct path *dir, struct dentry *dentry)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = names_call();
	p = pend_for(own, VIV_FILE_HARDLINK);
	if (!p)
		return 0;
	pend_path(p, 0, dir->mnt, old); /* a hard link stays in its mount */
	pend_path(p, 1, dir->mnt, dentry);
	return settle(t, p, own);
}

SEC("lsm/path_rename")
int BPF_PROG(lsm_path_rename, const struct path *old_dir, struct dentry *old, const struct path *dir,
	     struct dentry *dentry)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = names_call();
	p = pend_for(own, VIV_FILE_RENAME);
	if (!p)
		return 0;
	pend_path(p, 0, old_dir->mnt, old);
	pend_path(p, 1, dir->mnt, dentry);
	return settle(t, p, own);
}

static __always_inline int removed(const struct path *dir, struct dentry *dentry)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = names_call();
	p = pend_for(own, VIV_FILE_UNLINK);
	if (!p)
		return 0;
	pend_path(p, 0, dir->mnt, dentry);
	return settle(t, p, own);
}

SEC("lsm/path_unlink")
int BPF_PROG(lsm_path_unlink, const struct path *dir, struct dentry *dentry)
{
	return removed(dir, dentry);
}

SEC("lsm/path_rmdir")
int BPF_PROG(lsm_path_rmdir, const struct path *dir, struct dentry *dentry)
{
	return removed(dir, dentry);
}

SEC("lsm/path_chmod")
int BPF_PROG(lsm_path_chmod, const struct path *path, unsigned short mode)
{
	struct pending *p;
	struct task *t = watched_worker();
	bool own;

	if (!t)
		return 0;
	own = names_call();
	p = pend_for(own, VIV_FILE_CHMOD);
	if (!p)
		return 0;
	pend_num(p, 0, mode & 07777);
	pend_path(p, 0, path->mnt, path->dentry);
	return settle(t, p, own);
}

#endif
