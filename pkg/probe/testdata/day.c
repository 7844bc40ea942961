/* What a busy machine does, again and again: day DIR. For each number on stdin
 * it makes that many processes, one after the other, each of which makes what
 * a probe keeps something about; then it says "done". */
#include "common.h"
#include <pthread.h>
#include <sys/un.h>

static void *thread(void *unused)
{
	close(must(sys_open(in_dir("f"), O_RDONLY)));
	rename(in_dir("none"), in_dir("no")); /* what a call's entry leaves for its exit */
	return unused;
}

static void process(int n)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/nonexistent/socket" };
	pthread_t t;
	int fd;

	pthread_create(&t, 0, thread, 0);
	close(must(sys_open(in_dir("f"), O_RDONLY)));
	unlink(in_dir("none"));
	fd = must(socket(AF_UNIX, SOCK_STREAM, 0));
	connect(fd, (void *)&addr, sizeof(addr));
	if (n % 4 == 0)
		raise(SIGKILL); /* with the thread in whatever it does */
	pthread_join(t, 0);
	if (n % 4 == 1)
		pthread_exit(0); /* a process outlives its first thread */
	if (n % 4 == 2)
		execl(in_dir("none"), "none", (char *)0);
	_exit(0);
}

int main(int argc, char **argv)
{
	int n;

	dir = argv[1];
	touch(in_dir("f"));
	while (scanf("%d", &n) == 1) {
		for (int i = 0; i < n; i++) {
			pid_t pid = must(fork());

			if (!pid)
				process(i);
			reap(pid);
		}
		tell("done");
	}
	return 0;
}
