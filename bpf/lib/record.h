/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The record that the programs send to user space, the ring buffer that
 * carries it, and the count of what did not fit. pkg/probe decodes it by the
 * catalogue of pkg/event; a Go test holds the two layouts against each other.
 */
#ifndef VIV_RECORD_H
#define VIV_RECORD_H

#include "kernel.h"
#include "kinds.h"

/* What a process does that the hooks do not show. */
enum blind {
	VIV_BLIND_COMPAT = 1,	/* 32-bit system calls */
	VIV_BLIND_IO_URING = 2,
	VIV_BLIND_NAME = 4, /* a method's name was not in memory when a list was asked for it */
};

enum flag {
	VIV_TRUNCATED = 1,   /* a value was cut */
	VIV_PSEUDO = 2,	     /* the path is a file system's name, num[3] the inode: pipe, socket, ... */
	VIV_UNREACHABLE = 4, /* text 0 is a path that does not lead to the task's root */
	VIV_UNREACHABLE_1 = 8, /* as VIV_UNREACHABLE, of text 1 */
	VIV_UNKNOWN = 16,    /* the outcome is not known */
	VIV_UNDECIDED = 32,  /* a method that the list does not have yet */
	VIV_IN_METHOD = 64,  /* wanted only while the thread is in a method of Ruby's that is recorded */
	VIV_DELETED = 128,   /* the file's name had been removed; others may have it now */
};

#define VIV_NUMS 4
#define VIV_TEXTS 2

/* What every record begins with. Small, because every byte of it is taken from
 * the cache of the CPU that reads. */
struct head {
	__u64 ktime;  /* ns, CLOCK_MONOTONIC */
	__u64 span;   /* the thread's span id */
	__u64 parent; /* and its parent's */
	__u64 sp;     /* the thread's stack pointer, if it may be in a method of Ruby's; else 0 */
	__u32 pid, tid, uid, gid;
	char comm[16];
	__u32 lost; /* records that did not fit before this one, on this CPU */
	__u16 kind; /* enum kind, enum control */
	__u8 flags; /* enum flag */
	__u8 nums;  /* bit i: num[i] of a struct record is present */
};

/* An event, or a marker. Sent only up to the last number that is present; the
 * texts follow, one directly behind the other. */
struct record {
	struct head head;
	__s32 ret; /* below 0: -errno */
	__u16 len[VIV_TEXTS];
	__u64 num[VIV_NUMS];
	__u64 root; /* of a VIV_ROOT: the task's root; present if bit VIV_NUMS of nums is set */
};

/* The kinds of the other records, behind those of events. */
enum control {
	VIV_MARKER = VIV_KINDS, /* a struct record: text 0 is a marker, without its viv:// */
	VIV_FUNCTION,
	VIV_BLIND,
	VIV_LIBRARY,
	VIV_TLS,
	VIV_METHOD_JUMP, /* a struct head: methods below its sp were left */
	VIV_ROOT,	 /* a struct record: number 0 stands for a root, text 0 is its path as viv-probe sees it */
	VIV_ANSWERABLE,  /* a struct head: seccomp or a tracer can answer its calls */
};

/* VIV_FUNCTION: a function that probes are on was entered or left. */
struct function_record {
	struct head head;
	__u32 site; /* user space knows its name */
	__u32 left; /* else entered */
	__u64 stack_from, stack_to; /* the stack that a method of Ruby's begins on; 0: not known */
};

/* VIV_BLIND: the process does what the hooks do not show. */
struct blind_record {
	struct head head;
	__u32 what; /* enum blind */
	__u32 pad;
};

/* VIV_LIBRARY: a process can have another library now. */
struct library_record {
	struct head head;
	__u32 pid;
	__u32 parent; /* the process that made it, or 0 */
	__u32 exec;   /* 1: it runs another program */
	__u32 pad;
};

/* VIV_TLS: what happened to a connection beside writes. */
struct tls_record {
	struct head head;
	__u64 conn; /* the address of the library's object */
	__u32 call; /* enum call */
	__u32 pad;
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
const struct head *head_unused __attribute__((unused));
const struct record *record_unused __attribute__((unused));
const struct function_record *function_unused __attribute__((unused));
const struct blind_record *blind_record_unused __attribute__((unused));
const struct library_record *library_unused __attribute__((unused));
const struct tls_record *tls_unused __attribute__((unused));
const enum control *control_unused __attribute__((unused));
const enum kind *kind_unused __attribute__((unused));
const enum blind *blind_unused __attribute__((unused));
const enum flag *flag_unused __attribute__((unused));

#endif
