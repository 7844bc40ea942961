/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The record that the programs send to user space, the ring buffer that
 * carries it, and the count of what did not fit. pkg/probe decodes it by the
 * catalogue of pkg/event; a Go test holds the two layouts against each other.
 */
#ifndef VIV_RECORD_H
#define VIV_RECORD_H

#include "kernel.h"

/* In the order of event.Kinds. */
enum kind {
	VIV_PATH_OPEN,
	VIV_MMAP_EXEC,
	VIV_DLOPEN,
	VIV_SOCK_CONNECT,
	VIV_ODD_SOCKET,
	VIV_DNS_REQ,
	VIV_PROC_FORK,
	VIV_PROC_EXEC,
	VIV_PROC_EXIT,
	VIV_PTRACE_CHECK,
	VIV_SB_MOUNT,
	VIV_KERNEL_READ_FILE,
	VIV_TASK_KILL,
	VIV_SETID_CHANGE,
	VIV_CAPABLE_CHECK,
	VIV_BPRM_CREDS,
	VIV_FILE_SYMLINK,
	VIV_FILE_HARDLINK,
	VIV_FILE_RENAME,
	VIV_FILE_UNLINK,
	VIV_FILE_CHMOD,
	VIV_FILE_GETDENTS,
	VIV_SSL_WRITE,
	VIV_ENV_CACCESS,
	VIV_SPAN_START,
	VIV_SPAN_STOP,
	VIV_SPAN_RAISE,
	VIV_KINDS,
	VIV_BLIND = VIV_KINDS, /* no event: num[0] says what cannot be seen, enum blind */
	VIV_LIBRARY,	       /* no event: process num[0], made by num[1] or 0, can have another library */
	VIV_TLS_END,	       /* no event: connection num[2] is over */
	VIV_METHOD_JUMP,       /* no event: methods below sp were left */
};

/* What a process does that the hooks do not show. */
enum blind {
	VIV_BLIND_COMPAT = 1,	/* 32-bit system calls */
	VIV_BLIND_IO_URING = 2,
};

enum flag {
	VIV_TRUNCATED = 1,   /* a value was cut */
	VIV_PSEUDO = 2,	     /* the path is a file system's name, num[3] the inode: pipe, socket, ... */
	VIV_UNREACHABLE = 4, /* text 0 is a path that does not lead to the task's root */
	VIV_UNKNOWN = 8,     /* the outcome is not known */
	VIV_MARKER = 16,     /* text 0 is a marker, without its viv:// */
	VIV_FUNCTION = 32,   /* num 0 is the number of a function's site */
	VIV_UNDECIDED = 64,  /* a method that the list does not have yet */
	VIV_UNREACHABLE_1 = 128, /* as VIV_UNREACHABLE, of text 1 */
};

#define VIV_NUMS 4
#define VIV_TEXTS 2

/* Sent only up to the last number that is present; the texts follow, one
 * directly behind the other. Small, because every byte of it is taken from the
 * cache of the CPU that reads. */
struct record {
	__u64 ktime;  /* ns, CLOCK_MONOTONIC */
	__u64 span;   /* the thread's span id */
	__u64 parent; /* and its parent's */
	__u64 sp;     /* the thread's stack pointer, if it may be in a method of Ruby's; else 0 */
	__u32 pid, tid, uid, gid;
	char comm[16];
	__u32 lost; /* records that did not fit before this one, on this CPU */
	__s32 ret;  /* below 0: -errno */
	__u16 len[VIV_TEXTS];
	__u16 kind;
	__u8 flags; /* enum flag */
	__u8 nums;  /* bit i: num[i] is present */
	__u64 num[VIV_NUMS];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20); /* --buffer-size */
} events SEC(".maps");

/* Wake the reader only when this much waits for it; it looks by itself every
 * few milliseconds. A wake-up per record costs the watched program 1 us. */
const volatile __u64 wakeup_bytes = 4 << 20;

struct count {
	__u64 lost; /* not yet told to user space */
	__u64 emitted;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

/* Keeps the types in the object's type information, from which Go's are made. */
const struct record *record_unused __attribute__((unused));
const enum kind *kind_unused __attribute__((unused));
const enum blind *blind_unused __attribute__((unused));
const enum flag *flag_unused __attribute__((unused));

#endif
