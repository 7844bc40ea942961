/* Reads and changes the environment in each way, then loads a library. With
 * an argument it first says that it is ready and waits, as the tests' start
 * wants it, or goes on late, or only asks
 * for one variable after the other, or measures how long it takes to ask. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char whole[] = "VIV_PUT=hunter2", name[] = "VIV_BARE";
	char *page = aligned_alloc(4096, 3 * 4096), *over = page + 4096 - 6;
	char longest[400];

	if (argc > 1 && !strcmp(argv[1], "wait")) {
		puts("ready");
		fflush(stdout);
		getchar();
	}
	if (argc > 1 && !strcmp(argv[1], "late")) /* when everything is attached */
		usleep(500000);
	if (argc > 2 && !strcmp(argv[1], "loop")) {
		long n = atol(argv[2]);
		struct timespec a, b;

		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
		for (long i = 0; i < n; i++)
			getenv("VIV_LOOP");
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
		printf("ns=%ld\n", ((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec) / n);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "gap")) {
		for (int i = 0; i < 2000; i++, usleep(100)) {
			char key[32];

			snprintf(key, sizeof(key), "VIV_%d", i);
			getenv(key);
		}
		return 0;
	}
	getenv("VIV_GET");
	secure_getenv("VIV_SECURE");
	setenv("VIV_SET", "hunter2", 1);
	unsetenv("VIV_UNSET");
	putenv(whole);
	putenv(name);
	strcpy(over, "VIV_OVER_TWO_PAGES");
	getenv(over);
	memset(longest, 'L', sizeof(longest));
	memcpy(longest, "VIV_", 4);
	longest[299] = 0;
	getenv(longest);
	if (!fork()) {
		getenv("VIV_CHILD");
		_exit(0);
	}
	wait(0);
	clearenv();
	if (argc > 1 && !strcmp(argv[argc - 1], "dlopen"))
		dlopen("viv-none.so", RTLD_NOW);
	return 0;
}
