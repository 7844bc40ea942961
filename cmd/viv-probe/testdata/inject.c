/* Says in which ways it can put input into the terminal that it has as standard
 * input, output and error output, and whether it has a controlling terminal:
 * inject FILE. Nothing is written for what fails. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	FILE *out = fopen(argv[1], "w");
	char name[32];
	int tty;

	for (int fd = 0; fd < 3; fd++) {
		if (!isatty(fd))
			fprintf(out, "no terminal %d\n", fd);
		if (ioctl(fd, TIOCSTI, "x") == 0)
			fprintf(out, "input by %d\n", fd);
		if (ioctl(fd, TIOCSCTTY, 0) == 0 && ioctl(fd, TIOCSTI, "x") == 0)
			fprintf(out, "input by a controlling %d\n", fd);
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		tty = open(name, O_RDWR);
		if (tty >= 0 && ioctl(tty, TIOCSTI, "x") == 0)
			fprintf(out, "input by %d opened again\n", fd);
	}
	tty = open("/dev/tty", O_RDWR);
	if (tty >= 0)
		fprintf(out, "controlling terminal\n");
	if (tty >= 0 && ioctl(tty, TIOCSTI, "x") == 0)
		fprintf(out, "input by /dev/tty\n");
	fprintf(out, "end\n");
	return fclose(out);
}
