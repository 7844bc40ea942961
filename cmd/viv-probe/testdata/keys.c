/* Says in FILE, a line each, which signals reach it, and ends with status 7
 * half a second after the last SIGINT: keys FILE. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int out;
static volatile int interrupted;

static void say(const char *s)
{
	if (write(out, s, strlen(s)) < 0)
		_exit(1);
}

static void handle(int sig)
{
	char line[32];

	snprintf(line, sizeof(line), "SIG%s\n", sigabbrev_np(sig));
	say(line);
	if (sig == SIGINT)
		interrupted = 1;
}

int main(int argc, char **argv)
{
	int sigs[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT };
	struct sigaction act = { .sa_handler = handle, .sa_flags = SA_RESTART };

	out = open(argv[1], O_CREAT | O_WRONLY | O_APPEND, 0644);
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(*sigs); i++)
		sigaction(sigs[i], &act, 0);
	say("ready\n");
	for (int left = 1000; left > 0; left--) {
		usleep(10000);
		if (interrupted) {
			interrupted = 0;
			left = 50;
		}
	}
	say("end\n");
	return 7;
}
