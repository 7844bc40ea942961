/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop open|getppid TURNS: says that it is ready, and for each byte that it
 * reads does so many turns of one system call or of open and close, and prints
 * the nanoseconds that they took.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	char byte;

	if (argc != 3)
		return 2;
	long turns = atol(argv[2]);
	int opens = !strcmp(argv[1], "open");

	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) == 1) {
		long long start = now();

		for (long i = 0; i < turns; i++) {
			if (opens)
				close(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
			else
				syscall(SYS_getppid);
		}
		printf("%lld\n", now() - start);
		fflush(stdout);
	}
	return 0;
}
