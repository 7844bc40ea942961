/* A process whose first thread ends while another goes on: leader DIR WHEN.
 * It ends before it is watched, or inside what it observes. */
#include "common.h"
#include <pthread.h>
#include <stdbool.h>

static bool leader_ended(void)
{
	char name[64], stat[512], *state;
	int fd;

	snprintf(name, sizeof(name), "/proc/self/task/%d/stat", getpid());
	fd = must(open(name, O_RDONLY));
	stat[must(read(fd, stat, sizeof(stat) - 1))] = 0;
	close(fd);
	state = strrchr(stat, ')');
	return state && state[2] == 'Z';
}

static void *other(void *before)
{
	pid_t pid;

	while (!leader_ended())
		usleep(1000);
	if (before) {
		tell("ready");
		wait_for_test();
	}
	touch(in_dir("thread"));
	pid = must(fork());
	if (!pid) {
		touch(in_dir("child"));
		_exit(0);
	}
	reap(pid);
	touch(in_dir("last"));
	_exit(5);
}

int main(int argc, char **argv)
{
	bool before = !strcmp(argv[2], "before");
	pthread_t t;

	dir = argv[1];
	if (!before) {
		tell("ready");
		wait_for_test();
		touch(in_dir("unseen"));
		access("viv://start/Vivarium.observe", F_OK);
	}
	must(pthread_create(&t, 0, other, before ? "" : 0));
	pthread_exit(0);
}
