/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Tasks: their forks, execs and exits. */
#ifndef VIV_PROC_H
#define VIV_PROC_H

#include "../lib/library.h"
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
	if (emit_exec || old_pid != task->pid) { /* a thread that becomes the leader changes its tid */
		begin(&o, t, VIV_PROC_EXEC, 0);
		set_num(&o, 0, bprm->argc);
		if (old_pid != task->pid)
			set_num(&o, 1, own_level ? t->tid : old_pid);
		set_name_path(&o, 0, s, AT_FDCWD, bprm->filename, 0);
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

SYSCALLS(exec_exit)
{
	struct pending *p = pended(); /* of an LSM hook */
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
	set_name_path(&o, 0, s, PICKED(s, c->dfd[0]), (void *)PICKED(s, c->name[0]), NAME_USER);
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

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	struct task *t = watched();
	struct out o;
	int code;

	if (!t)
		return 0;
	if (t->interrupted)
		end_interrupted(t);
	begin(&o, t, VIV_PROC_EXIT, 0);
	code = task->exit_code;
	set_num(&o, 0, code >> 8 & 0xff);
	if (code & 0x7f)
		set_num(&o, 1, code & 0x7f);
	emit(&o);
	return 0;
}

#endif
