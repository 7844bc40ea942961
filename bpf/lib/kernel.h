/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The kernel types that viv's programs read, each with only the fields that
 * they use. CO-RE finds the fields' true offsets when a program is loaded, so
 * neither order nor padding matters here.
 */
#ifndef VIV_KERNEL_H
#define VIV_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

typedef _Bool bool;
enum { false, true };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	__u32 hash, len;
	const unsigned char *name;
};

struct super_block;

struct inode {
	struct super_block *i_sb;
	__u16 i_mode;
	unsigned long i_ino;
	void *i_private;
};

struct proc_ns_operations {
	const char *name;
};

struct ns_common { /* what the inode of a namespace is of */
	const struct proc_ns_operations *ops;
	unsigned int inum;
};

struct file_system_type {
	const char *name;
};

struct super_block {
	struct file_system_type *s_type;
	unsigned long s_magic;
	unsigned long s_flags;
};

struct hlist_bl_node {
	void **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	void *mnt_ns; /* a negative error: the kernel's own */
	const char *mnt_devname;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

typedef struct {
	long counter;
} atomic_long_t;

typedef struct {
	atomic_long_t refcnt;
} file_ref_t;

struct file {
	atomic_long_t f_count; /* references, until Linux 6.12 */
	file_ref_t f_ref;      /* from then on: one less */
	struct path f_path;
	unsigned int f_flags;
	struct inode *f_inode;
	void *private_data;
};

struct backing_file { /* a file of another file system's, since Linux 6.5 */
	struct path user_path;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct files_struct {
	atomic_t count; /* tasks that share it */
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	struct file *exe_file;
};

struct task_struct;

struct signal_struct {
	atomic_t live; /* threads */
	struct task_struct *group_exec_task; /* the thread that executes a program, while the others end */
	int group_exit_code;
};

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

struct cred {
	kuid_t uid, euid, suid, fsuid;
	kgid_t gid, egid, sgid, fsgid;
};

struct vm_area_struct {
	struct file *vm_file;
	unsigned long vm_start, vm_end, vm_flags;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct thread_info {
	unsigned long syscall_work; /* bits of enum syscall_work_bit */
	__u32 status;
};

enum syscall_work_bit {
	SYSCALL_WORK_BIT_SECCOMP,
	SYSCALL_WORK_BIT_SYSCALL_EMU,
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	const struct cred *cred;
	int pid;
	int tgid;
	int exit_code;
	int exit_state;
	char comm[16];
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct signal_struct *signal;
	void *bpf_storage;
};

struct linux_binprm {
	struct file *file;	 /* what is run: of a script its interpreter */
	struct file *executable; /* of binfmt_misc: the program that its interpreter gets opened */
	const char *filename;	 /* as it was called; of a descriptor /dev/fd/N */
	const char *interp;	 /* the same pointer, unless an interpreter runs */
	int argc;
};

struct in6_addr {
	__u8 s6_addr[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be16 skc_dport;
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
	atomic64_t skc_cookie;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	int sk_err;
};

struct socket {
	struct sock *sk;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, cx, r10, r8, r9, ax, orig_ax, ip, sp;
};
#endif

struct kernel_siginfo {
	int si_code;
};

struct sigaction {
	void *sa_handler;
	unsigned long sa_flags;
};

struct k_sigaction {
	struct sigaction sa;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* Stable user-space layouts (uapi), not relocated. */

struct open_how { /* include/uapi/linux/openat2.h */
	__u64 flags;
	__u64 mode;
	__u64 resolve;
};

struct iovec_user {
	__u64 base;
	__u64 len;
};

struct msghdr_user { /* struct user_msghdr, without what follows */
	__u64 name;
	__u32 namelen;
	__u32 pad;
	__u64 iov;
	__u64 iovlen;
};

struct mmsghdr_user {
	struct msghdr_user hdr;
	__u64 control[3];
	__u32 len;
	__u32 pad;
};

#define RESOLVE_IN_ROOT 0x10
#define SB_KERNMOUNT (1 << 22)

#define NSFS_MAGIC 0x6e736673
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_ISUID 04000
#define S_ISGID 02000
#define PROT_EXEC 4
#define MAP_ANONYMOUS 0x20
#define MS_MOVE 8192
#define FMODE_EXEC 0x20	     /* in f_flags of a file that is being executed */
#define PF_IO_WORKER 0x10    /* a thread of io_uring's */
#define TS_COMPAT 2	     /* in a 32-bit system call */
#define O_WRONLY 01
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_LARGEFILE 0100000
#define AT_FDCWD -100
#define EINTR 4
#define ENOMEM 12
#define ENOSYS 38
#define EINPROGRESS 115
#define ERESTARTSYS 512		 /* include/linux/errno.h: no program sees these */
#define ERESTARTNOINTR 513
#define ERESTART_RESTARTBLOCK 516
#define SA_RESTART 0x10000000

/*
 * A field of the kernel object at p. From Linux 6.2 on it is a plain load, which
 * the kernel makes safe; before, a helper's call, which is ten times as slow.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

#define LOAD(p, field)                                                                              \
	({                                                                                          \
		typeof((p)->field) value;                                                           \
		if (bpf_rdonly_cast)                                                                \
			value = ((typeof(p))bpf_rdonly_cast((p), bpf_core_type_id_kernel(typeof(*(p)))))->field; \
		else                                                                                \
			value = BPF_CORE_READ((p), field);                                          \
		value;                                                                              \
	})

#endif
