/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What libraries say: uprobes on functions that programs call, attached by
 * pkg/probe for each watched process.
 *
 * None of them sleeps: whoever waits for memory of the program's here waits for
 * as long as the program likes (FUSE, userfaultfd), and with it everybody who
 * detaches a probe. See lib/late.h.
 */
#ifndef VIV_LIBRARY_H
#define VIV_LIBRARY_H

#include "../lib/late.h"
#include "../lib/calls.h"

/* A cookie: enum call, a number of the function's own, and how much lower the stack
 * pointer is at the probe than at the function's beginning. */
#define COOKIE_CALL(c) ((c) & 0xff)
#define COOKIE_FUNCTION(c) ((__u32)(c) >> 8)
#define COOKIE_DEPTH(c) ((c) >> 32)

SEC("uprobe")
int env_call(struct pt_regs *ctx)
{
	struct task *t = watched();
	struct library_call c = { .call = COOKIE_CALL(bpf_get_attach_cookie(ctx)), .kind = VIV_ENV_CACCESS };

	if (!t)
		return 0;
	if (c.call != VIV_CALL_CLEARENV)
		c.text = ARG1(ctx);
	library_called(t, &c);
	return 0;
}

SEC("uprobe")
int dlopen_call(struct pt_regs *ctx)
{
	struct task *t = watched();
	struct library_call c = { .call = COOKIE_CALL(bpf_get_attach_cookie(ctx)), .kind = VIV_DLOPEN };
	__u64 first = ARG1(ctx), second = ARG2(ctx);

	if (!t)
		return 0;
	barrier_var(first); /* the verifier wants a load of each, and no choice of an address */
	barrier_var(second);
	c.text = c.call == VIV_CALL_DLMOPEN ? second : first;
	if (c.text) /* else the program itself */
		library_called(t, &c);
	return 0;
}

/*
 * One write can be several calls: of a function of the library's, and of another
 * one that it is made of. The inner one has the same arguments, and is called
 * while the outer one's frame is there, with the address that it returns to; or
 * the outer one ended with a jump to it, and the frame is its own.
 */
struct tls_frame {
	__u64 conn, data, len;
	__u64 sp, ret;
	__u64 function;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_frame);
} tls_frames SEC(".maps"); /* the task's last write */

static __always_inline bool inner_write(struct tls_frame *f)
{
	struct tls_frame *o = bpf_task_storage_get(&tls_frames, bpf_get_current_task_btf(), 0,
						   BPF_LOCAL_STORAGE_GET_F_CREATE);
	__u64 ret = 0;

	if (!o || bpf_probe_read_user(&f->ret, sizeof(f->ret), (void *)f->sp))
		return false;
	if (o->conn == f->conn && o->data == f->data && o->len == f->len && o->function != f->function && f->sp <= o->sp &&
	    !bpf_probe_read_user(&ret, sizeof(ret), (void *)o->sp) && ret == o->ret)
		return true;
	*o = *f;
	return false;
}

#define BIO_TYPE_SSL 0x0207 /* openssl/bio.h */

/* The SSL object of a BIO of OpenSSL's, whose first members are a method, or,
 * since 3.0, a library context and a method; 0: it is another one's. */
static __noinline __u64 bio_ssl(__u64 bio)
{
	/* From the method to what the method's functions keep, which begins with it. */
	const __u64 private = 56;
	__u64 method = 0, at = bio, ssl = 0;
	int type = 0;

	for (int i = 0; i < 2; i++, at += 8) {
		if (bpf_probe_read_user(&method, sizeof(method), (void *)at) ||
		    bpf_probe_read_user(&type, sizeof(type), (void *)method) || type != BIO_TYPE_SSL)
			continue;
		if (bpf_probe_read_user(&ssl, sizeof(ssl), (void *)(at + private)) ||
		    bpf_probe_read_user(&ssl, sizeof(ssl), (void *)ssl))
			return 0;
		return ssl;
	}
	return 0;
}

SEC("uprobe")
int tls_call(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct tls_frame f = { .conn = ARG1(ctx), .data = ARG2(ctx), .len = ARG3(ctx), .sp = ctx->sp + COOKIE_DEPTH(cookie), .function = COOKIE_FUNCTION(cookie) };
	struct library_call c = { .call = COOKIE_CALL(cookie), .kind = VIV_SSL_WRITE };
	struct task *t = watched();

	if (!t)
		return 0;
	switch (c.call) {
	case VIV_CALL_TLS_END:
	case VIV_CALL_TLS_CORK:
	case VIV_CALL_TLS_UNCORK: {
		struct tls_record r = { .conn = f.conn, .call = c.call };

		before_record();
		set_task(&r.head, t, VIV_TLS);
		send(&r.head, sizeof(r), false);
		return 0;
	}
	case VIV_CALL_SSL_WRITE:
		f.len = (int)f.len < 0 ? 0 : (__u32)f.len;
		break;
	case VIV_CALL_SSL_SENDFILE: /* descriptor, offset, length: its data are never in the program's memory */
		f.len = ctx->cx;
		f.data = 0;
		break;
	case VIV_CALL_BIO_WRITE:
		f.conn = bio_ssl(f.conn);
		break;
	case VIV_CALL_GNUTLS_RECORD_SEND:
		if (!f.data)
			return 0; /* the one before goes on */
		break;
	}
	if (inner_write(&f))
		return 0;
	c.conn = f.conn;
	c.len = f.len;
	c.text = f.data;
	library_called(t, &c);
	return 0;
}

#endif
