/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Tasks: their forks, execs and exits. */
#ifndef VIV_PROC_H
#define VIV_PROC_H

#include "../lib/late.h"
#include "../lib/lsm.h"

#define ARGC_MAX (1 << 17) /* pointers of argv that are counted */

const volatile bool emit_exec = true;

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task *t = watched(), *c;
	struct out o;

	if (!t || (!follow && child->tgid != parent->tgid))
		return 0;
	begin(&o, t, VIV_PROC_FORK, 0);
	c = bpf_task_storage_get(&tasks, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (c) {
		c->span = new_span_id();
		c->parent = t->span;
		c->tid = own_level ? own_id(child) : 0;
		c->renamed = t->renamed;
		__builtin_memcpy(c->comm, t->comm, sizeof(c->comm));
		set_num(&o, 2, c->span);
	} else {
		lose(); /* no memory: the child goes unwatched */
	}
	set_num(&o, 0, own_level ? own_id(child->group_leader) : child->tgid);
	set_num(&o, 1, own_level ? own_id(child) : child->pid);
	emit(&o);
	if (child->tgid != parent->tgid)
		library_changed(t, child, parent->group_leader, false);
	return 0;
}

/* bprm_creds where no LSM hook saw the credentials being made. */
bool exec_creds = false;

static __always_inline void exec_creds_record(struct out *o, struct task *t, struct texts *s, struct linux_binprm *bprm)
{
	struct file *file = bprm->file;
	__u16 mode = file->f_inode->i_mode;

	begin(o, t, VIV_BPRM_CREDS, 0);
	set_num(o, 0, 1);
	set_num(o, 1, !!(mode & S_ISUID));
	set_num(o, 2, !!(mode & S_ISGID));
	set_file_path(o, 0, s, file);
	emit(o);
}

#define FD_DIGITS 8	/* more descriptors a process cannot have */

/* How a program can name a descriptor of its own. */
#define FD_DIRS 3
#define FD_DIR_MAX 22
static const char fd_dirs[FD_DIRS][FD_DIR_MAX] = { "/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/" };
static const char own_exe[] = "/proc/self/exe";

static __always_inline bool begins_with(const char *text, const char *with, __u32 size)
{
	for (__u32 i = 0; i < size && with[i]; i++)
		if (text[i] != with[i])
			return false;
	return true;
}

/* A name of the form DIR/N or DIR/N/REST: *dfd becomes N. Returns how long it is
 * up to REST; 0: it is none. */
static __always_inline __u32 named_fd(const char *name, int *dfd)
{
	__u32 at = 0, n = 0;

	for (int i = 0; i < FD_DIRS; i++)
		if (begins_with(name, fd_dirs[i], FD_DIR_MAX))
			at = __builtin_strlen(fd_dirs[i]);
	if (!at)
		return 0;
	for (int i = 0; i < FD_DIGITS; i++) {
		__u32 digit = name[(at + i) & (HEAD_MAX - 1)] - '0';

		if (digit > 9) {
			if (!i || (digit != (__u32)('/' - '0') && digit != (__u32)(0 - '0')))
				return 0;
			*dfd = n;
			return at + i + (digit == (__u32)('/' - '0'));
		}
		n = n * 10 + digit;
	}
	return 0;
}

/* Text 0 becomes the path of a program as it was called: of what a descriptor
 * means, if it is called by one. */
static __always_inline void set_exec_name(struct out *o, struct texts *s, int dfd, const void *str, __u32 how)
{
	int fd = -1;
	__u32 len;

	read_str(s->head, sizeof(s->head), str, how & NAME_USER);
	len = named_fd(s->head, &fd);
	if (len && fd_file(fd)) {
		str += len;
		dfd = fd;
		how |= NAME_IN_ROOT; /* what follows is relative, whatever it begins with */
	}
	set_name_path(o, 0, s, dfd, str, how);
}

/*
 * The file that runs. Of a script the kernel has no file any more, but what it
 * was called.
 */
static __always_inline void set_exec_path(struct out *o, struct texts *s, struct linux_binprm *bprm)
{
	struct file *file = bprm->executable;

	if (!file && bprm->interp == bprm->filename)
		file = bprm->file;
	if (file)
		set_file_path(o, 0, s, file);
	else
		set_exec_name(o, s, AT_FDCWD, bprm->filename, 0);
}

/* Before Linux 6.14 a program that was called by a descriptor alone is named by
 * its number: it gets its file's name, as since then. */
static __always_inline void name_by_file(struct task *t, struct texts *s, struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = bprm->file;
	__u32 len;
	int fd = -1;

	t->renamed = 0;
	if (!is_digit(task->comm[0]))
		return;
	read_str(s->head, sizeof(s->head), bprm->filename, false);
	len = named_fd(s->head, &fd);
	if (!len || s->head[len & (HEAD_MAX - 1)])
		return;
	if (bprm->interp != bprm->filename)
		file = fd_file(fd);
	if (file && bpf_probe_read_kernel_str(t->comm, sizeof(t->comm), BPF_CORE_READ(file, f_path.dentry, d_name.name)) > 1)
		t->renamed = 1;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct task *t = watched();
	struct texts *s;
	__u64 start, len;
	struct out o;

	if (!t)
		return 0;
	t->methods = 0;
	library_changed(t, task, 0, true);
	s = get_texts();
	if (!s)
		return 0;
	name_by_file(t, s, bprm);
	if (emit_exec || old_pid != task->pid) { /* a thread that becomes the leader changes its tid */
		begin(&o, t, VIV_PROC_EXEC, 0);
		set_num(&o, 0, bprm->argc);
		if (old_pid != task->pid)
			set_num(&o, 1, own_level ? t->tid : old_pid);
		set_exec_path(&o, s, bprm);
		start = task->mm->arg_start;
		len = task->mm->arg_end - start;
		if (len > ARGS_MAX) {
			len = ARGS_MAX;
			set_flags(&o, VIV_TRUNCATED);
		}
		if (len && !bpf_probe_read_user(s->args, len, (void *)start))
			set_text(&o, 1, s->args, len);
		else if (len)
			set_flags(&o, VIV_TRUNCATED);
		emit(&o);
	}
	if (exec_creds)
		exec_creds_record(&o, t, s, bprm);
	return 0;
}

/* argv of a failed exec: the new image, which would hold it in one piece,
 * was never made. */
struct argv_walk {
	char *buf; /* ARGS_MAX bytes */
	const __u64 *argv;
	__u32 len, argc;
	bool cut;
};

static long argv_step(__u32 i, struct argv_walk *w)
{
	__u64 arg = 0;
	__u32 pos = w->len;
	long n;

	if (bpf_probe_read_user(&arg, sizeof(arg), &w->argv[i]) || !arg)
		return 1;
	w->argc++;
	if (w->cut)
		return 0;
	if (pos >= ARGS_MAX - PATH_MAX) {
		w->cut = true;
		return 0;
	}
	n = read_str(&w->buf[pos], PATH_MAX, (void *)arg, true);
	if (n <= 0 || n == PATH_MAX) {
		w->cut = true;
		if (n <= 0)
			return 0;
	}
	w->len = pos + n;
	return 0;
}

static __always_inline void set_failed_exec_path(struct out *o, struct texts *s, int dfd, const void *str)
{
	struct file *exe = 0;

	read_str(s->head, sizeof(s->head), str, true);
	if (begins_with(s->head, own_exe, sizeof(own_exe)) && !s->head[sizeof(own_exe) - 1])
		exe = BPF_CORE_READ(bpf_get_current_task_btf(), mm, exe_file);
	if (exe)
		set_file_path(o, 0, s, exe);
	else
		set_exec_name(o, s, dfd, str, NAME_USER);
}

SYSCALLS(exec_exit)
{
	struct pending *p = pended_exec(); /* of an LSM hook */
	struct argv_walk w = {};
	struct texts *s;
	struct out o;

	if (p)
		emit_pending(t, p, ret, 0);
	if (ret >= 0 || !emit_exec)
		return 0;
	s = get_texts();
	if (!s)
		return 0;
	pick_args(s, r);
	begin(&o, t, VIV_PROC_EXEC, ret);
	w.buf = s->args;
	w.len = unknown_zero;
	w.argc = unknown_zero;
	w.cut = unknown_zero;
	w.argv = (void *)PICKED(s, c->extra);
	if (bpf_loop(ARGC_MAX, argv_step, &w, 0) == ARGC_MAX)
		w.cut = true;
	if (w.cut)
		set_flags(&o, VIV_TRUNCATED);
	set_num(&o, 0, w.argc);
	set_failed_exec_path(&o, s, PICKED(s, c->dfd[0]), (void *)PICKED(s, c->name[0]));
	if (w.len <= ARGS_MAX)
		set_text(&o, 1, s->args, w.len);
	else
		set_flags(&o, VIV_TRUNCATED);
	emit_outcome(t, &o);
	return 0;
}

LSM(bprm_creds_from_file, VIV_BPRM_CREDS, file, struct linux_binprm *bprm, struct file *file)
{
	struct inode *inode = LOAD(file, f_inode);
	__u16 mode = LOAD(inode, i_mode);

	pend_num(p, 0, 1);
	pend_num(p, 1, !!(mode & S_ISUID));
	pend_num(p, 2, !!(mode & S_ISGID));
	pend_path(p, 0, LOAD(file, f_path.mnt), LOAD(file, f_path.dentry));
}

/* Is this exit the process's? When two threads end at once, both see that no
 * thread is left: the first to ask is the one. */
static __always_inline bool ends_process(struct task *t, struct task_struct *task)
{
	struct task *l;

	if (task->signal->live.counter > 0)
		return false;
	l = bpf_task_storage_get(&tasks, task->group_leader, 0, 0);
	if (!l)
		l = t;
	if (l->told & PROCESS_ENDED)
		return false;
	l->told |= PROCESS_ENDED;
	return true;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	struct task *t = watched();
	struct signal_struct *signal = task->signal;
	bool last;
	struct out o;
	int code;

	if (!t)
		return 0;
	before_record(); /* its memory is gone, or going */
	/* Another thread executes a program, and takes the first one's place. */
	if (task->pid == task->tgid && signal->group_exec_task && signal->group_exec_task != task)
		return 0;
	if (t->interrupted)
		end_interrupted(t);
	last = ends_process(t, task);
	begin(&o, t, VIV_PROC_EXIT, 0);
	code = last ? signal->group_exit_code : task->exit_code;
	set_num(&o, 0, code >> 8 & 0xff);
	if (code & 0x7f)
		set_num(&o, 1, code & 0x7f);
	set_num(&o, 2, last);
	emit(&o);
	return 0;
}

#endif
