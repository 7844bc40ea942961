/* Opens files and makes processes for as many milliseconds, or (0) until its
 * stdin ends: busy FILE MS. The file then says "begun" and, if it got there,
 * "done". */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	int file = open(argv[1], O_CREAT | O_WRONLY | O_APPEND, 0600);
	long end = ms() + atol(argv[2]);
	struct pollfd in = { 0, atol(argv[2]) ? 0 : POLLIN, 0 };

	if (write(file, "begun\n", 6) != 6)
		return 1;
	while (in.events ? poll(&in, 1, 0) == 0 : ms() < end) {
		pid_t pid = fork();

		for (int i = 0; i < 20; i++)
			close(open("/etc/passwd", O_RDONLY));
		if (!pid)
			_exit(0);
		waitpid(pid, 0, 0);
		usleep(2000);
	}
	if (write(file, "done\n", 5) != 5)
		return 1;
	return 0;
}
