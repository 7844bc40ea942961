/* Opens and closes FILE, again and again, in each of as many threads:
 * loop TIMES FILE [THREADS]. */
#include "common.h"
#include <pthread.h>

static char **args;

static void *loop(void *unused)
{
	for (long n = atol(args[1]); n > 0; n--)
		close(must(sys_open(args[2], O_RDONLY)));
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t t[64];
	int threads = argc > 3 ? atoi(argv[3]) : 0;

	args = argv;
	for (int i = 0; i < threads; i++)
		pthread_create(&t[i], 0, loop, 0);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], 0);
	if (!threads)
		loop(0);
	return 0;
}
