/* What the programs that the tests watch have in common. Each is one static
 * program (cc -static -pthread), so that a recording holds what it does and
 * not what a dynamic loader does.
 *
 * A program that goes through the rows of a table opens DIR/NAME.mark before
 * each. What only the kernel knows (an inode, a port, a pid) it prints as
 * NAME=VALUE, for the test to put in place of ${NAME}. */
#ifndef COMMON_H
#define COMMON_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *dir; /* the directory that is the program's to use */

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(99);
}

/* Dies with what was tried if it failed. */
#define must(expr)                                \
	({                                        \
		long must_ret = (long)(expr);     \
		if (must_ret == -1)               \
			die(#expr);               \
		must_ret;                         \
	})

/* The path of a file in dir; of a ring of buffers. */
__attribute__((unused, format(printf, 1, 2))) static const char *in_dir(const char *format, ...)
{
	static __thread char buf[8][4096];
	static __thread int next;
	char *b = buf[next++ % 8];
	va_list ap;
	int n = snprintf(b, sizeof(buf[0]), "%s/", dir);

	va_start(ap, format);
	vsnprintf(b + n, sizeof(buf[0]) - n, format, ap);
	va_end(ap);
	return b;
}

/* open(2) itself: the C library's open is openat. */
__attribute__((unused)) static int sys_open(const char *path, int flags)
{
	return syscall(SYS_open, path, flags, 0600);
}

__attribute__((unused)) static void touch(const char *path)
{
	close(must(sys_open(path, O_CREAT | O_WRONLY)));
}

__attribute__((unused)) static void mark(const char *name)
{
	touch(in_dir("%s.mark", name));
}

__attribute__((unused, format(printf, 1, 2))) static void tell(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* Waits for the test, which closes or writes to our stdin. */
__attribute__((unused)) static void wait_for_test(void)
{
	char c;

	if (read(0, &c, 1) < 0)
		die("read stdin");
}

/* Waits for a child and returns its exit status. */
__attribute__((unused)) static int reap(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, __WALL));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A child that does something and ends. */
#define IN_CHILD(what)                    \
	do {                              \
		pid_t pid = must(fork()); \
		if (!pid) {               \
			what;             \
			_exit(0);         \
		}                         \
		reap(pid);                \
	} while (0)

/* Makes and enters directories of 200 letters until the path has len bytes. */
__attribute__((unused)) static void descend(int len)
{
	char name[201];
	int left = len - strlen(dir);

	must(chdir(dir));
	for (char c = 'a'; left > 1; c++) {
		int n = left > 202 ? 200 : left - 1;

		memset(name, c, n);
		name[n] = 0;
		if (mkdir(name, 0700) && errno != EEXIST)
			die("mkdir");
		must(chdir(name));
		left -= n + 1;
	}
}

/* A question for name in q, which is of QUESTION bytes; its length. */
#define QUESTION 600
__attribute__((unused)) static int question(char *q, const char *name, int type)
{
	int n = 12;

	memcpy(q, "\x12\x34\x01\0\0\1\0\0\0\0\0\0", 12);
	while (*name) {
		int label = strcspn(name, ".");

		q[n++] = label;
		memcpy(q + n, name, label);
		n += label;
		name += label + (name[label] == '.');
	}
	q[n++] = 0;
	memcpy(q + n, (char[]){ type >> 8, type, 0, 1 }, 4);
	return n + 4;
}

#endif
