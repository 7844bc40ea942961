/* Makes processes without a pause: storm DIR. Two lines of them: each process
 * makes the next, every other one from a thread, and lives until that is gone.
 * When the test lets it, making ends and each task that has made a process, or
 * was the last, opens a file named after its process, itself and its maker. */
#include "common.h"
#include <pthread.h>
#include <sys/prctl.h>

#define MAX 1000 /* in a line */

static volatile int *stop; /* shared */
static int gate[2];	   /* ends when it is time to stop */

static void open_name(pid_t maker)
{
	touch(in_dir("%d.%d.%d", getpid(), gettid(), maker));
}

static void line(int level, pid_t maker);

/* Makes the next process, unless it is time to stop, and waits for its end. */
static void make_next(int level, pid_t maker)
{
	pid_t me = gettid(), pid = 0;
	char c;

	if (!*stop && level < MAX) {
		pid = must(fork());
		if (!pid) {
			usleep(2000);
			line(level + 1, me);
		}
	}
	must(read(gate[0], &c, 1));
	open_name(maker);
	if (pid && reap(pid))
		_exit(1);
}

struct level {
	int level;
	pid_t maker;
};

static void *in_thread(void *arg)
{
	struct level *l = arg;

	make_next(l->level, l->maker);
	return 0;
}

static void line(int level, pid_t maker)
{
	struct level l = { level, getpid() };
	pthread_t t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (level % 2) {
		pthread_create(&t, 0, in_thread, &l);
		pthread_join(t, 0);
		open_name(maker);
	} else {
		make_next(level, maker);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	pid_t pid[2];

	dir = argv[1];
	must(pipe(gate));
	stop = mmap(0, sizeof(*stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 2; i++) {
		pid[i] = must(fork());
		if (!pid[i]) {
			close(gate[1]);
			line(0, getppid());
		}
	}
	tell("ready");
	wait_for_test();
	*stop = 1;
	close(gate[1]);
	for (int i = 0; i < 2; i++)
		if (reap(pid[i]))
			return 1;
	return 0;
}
