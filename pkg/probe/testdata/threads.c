/* A process with threads and descendants from before it is watched, which does
 * everything that makes or ends a task, one step after another: threads DIR. */
#include "common.h"
#include <linux/sched.h>
#include <pthread.h>
#include <spawn.h>

static char self[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t started;
static pid_t first; /* the first worker's thread id */
static int turn; /* whose it is: 1 to 3 the workers', 0 main's */

static void await(int who)
{
	pthread_mutex_lock(&lock);
	while (turn != who)
		pthread_cond_wait(&moved, &lock);
	pthread_mutex_unlock(&lock);
}

static void next(int who)
{
	pthread_mutex_lock(&lock);
	turn = who;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&lock);
}

static void expect(pid_t pid, int status)
{
	if (reap(pid) != status)
		die("a child ended otherwise than it should");
}

static void *opener(void *name)
{
	touch(in_dir("%s", (char *)name));
	return 0;
}

static void open_in_thread(char *name)
{
	pthread_t t;

	pthread_create(&t, 0, opener, name);
	pthread_join(t, 0);
}

static void *worker(void *arg)
{
	int me = (long)arg;
	char *args[] = { self, "exit", me == 1 ? "7" : "4", 0 };
	pid_t pid;

	if (me == 1)
		first = gettid();
	pthread_barrier_wait(&started);
	await(me);
	switch (me) {
	case 1:
		pid = must(fork());
		if (!pid) {
			touch(in_dir("fork"));
			_exit(3);
		}
		expect(pid, 3);
		break;
	case 2:
		pid = must(vfork());
		if (!pid) {
			execv(self, args);
			_exit(9);
		}
		expect(pid, 4);
		break;
	case 3:
		open_in_thread("thread");
		break;
	}
	next(0);
	if (me == 1) {
		await(me);
		execv(self, args);
	}
	await(-1);
	return 0;
}

/* A child with a thread and a child of its own, all of which wait. */
static pthread_barrier_t ready;

static void *old_thread(void *fd)
{
	char c;

	pthread_barrier_wait(&ready);
	read(*(int *)fd, &c, 1);
	touch(in_dir("old-thread"));
	return 0;
}

static void old_child(int fd, int child_fd, int child_let)
{
	char c;
	pthread_t t;
	pid_t pid;
	int let[2];

	must(pipe(let));
	pthread_barrier_init(&ready, 0, 2);
	pid = must(fork());
	if (!pid) {
		read(child_fd, &c, 1);
		touch(in_dir("grandchild"));
		_exit(0);
	}
	pthread_create(&t, 0, old_thread, &let[0]);
	pthread_barrier_wait(&ready);
	write(1, "", 1);
	read(fd, &c, 1);
	touch(in_dir("old"));
	write(let[1], "", 1);
	pthread_join(t, 0);
	write(child_let, "", 1);
	expect(pid, 0);
	_exit(6);
}

static pid_t fork_with_pid(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};

	return must(syscall(SYS_clone3, &args, sizeof(args)));
}

int main(int argc, char **argv)
{
	char *args[] = { self, "exit", "5", 0 };
	int let[2], child_let[2], said[2];
	pthread_t t[4];
	pid_t old, pid;
	char c;

	if (!strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	dir = argv[1];
	must(readlink("/proc/self/exe", self, sizeof(self) - 1));
	must(pipe(let));
	must(pipe(child_let));
	must(pipe(said));
	old = must(fork());
	if (!old) {
		must(dup2(said[1], 1));
		old_child(let[0], child_let[0], child_let[1]);
	}
	must(read(said[0], &c, 1));
	pthread_barrier_init(&started, 0, 4);
	for (long i = 1; i <= 3; i++)
		pthread_create(&t[i], 0, worker, (void *)i);
	tell("self=%s", self);
	pthread_barrier_wait(&started);
	tell("worker=%d", first);
	tell("ready");
	wait_for_test();

	for (int i = 1; i <= 3; i++) {
		next(i);
		await(0);
	}
	touch(in_dir("main"));
	must(posix_spawn(&pid, self, 0, 0, args, 0));
	expect(pid, 5);

	for (int i = 0; i < 2; i++) {
		pid = i == 0 ? must(fork()) : fork_with_pid(pid);
		if (!pid) {
			touch(in_dir("same-pid-%d", i));
			_exit(i);
		}
		expect(pid, i);
	}

	must(write(let[1], "", 1));
	expect(old, 6);
	next(1);
	await(-1);
}
