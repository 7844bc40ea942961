/* SPDX-License-Identifier: Apache-2.0 */
/*
 * greeter HOME greets, and does a little more than it says: it has a child
 * read its user's cloud credentials, looks a host up, connects, and tidies up
 * behind itself. `make demo` watches it. It needs no server: its question
 * and its connection go to this machine, where nobody has to answer.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/*
 * What it is doing, for whoever watches: asking whether such a path exists is
 * all that a program has to do to mark a span (docs/markers.md).
 */
#define TEXT(x) #x
#define LINE(x) TEXT(x)
#define START(name) \
	((void)access("viv://start/" name "?file=greeter.c&line=" LINE(__LINE__), F_OK))
#define STOP(name) ((void)access("viv://stop/" name, F_OK))

static void greet(void)
{
	char name[64] = "";
	FILE *conf = fopen(".config/greeter.conf", "r");

	if (!conf || !fgets(name, sizeof(name), conf))
		die(".config/greeter.conf");
	fclose(conf);
	printf("hello, %s", name);
	fflush(stdout);
}

static void read_credentials(void)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		die("fork");
	if (child == 0) {
		int fd = open("loot", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
			die("loot");
		close(fd);
		/* No environment, so that no locale adds its files. */
		execle("/bin/cat", "cat", ".aws/credentials", (char *)NULL,
		       (char *const[]){ NULL });
		die("/bin/cat");
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		exit(1);
}

/* The question as a resolver would send it; nobody waits for the answer. */
static void look_up(void)
{
	static const unsigned char question[] =
		"\x76\x76\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
		"\x07" "collect" "\x07" "example" "\x03" "com" "\x00"
		"\x00\x01\x00\x01";
	struct sockaddr_in server = {
		.sin_family = AF_INET,
		.sin_port = htons(53),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || sendto(fd, question, sizeof(question) - 1, 0,
			     (struct sockaddr *)&server, sizeof(server)) < 0)
		die("dns");
	close(fd);
}

static void send_away(void)
{
	struct sockaddr_in host = {
		.sin_family = AF_INET,
		.sin_port = htons(4444),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	/* Refused, unless somebody happens to listen. */
	(void)connect(fd, (struct sockaddr *)&host, sizeof(host));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1]) < 0)
		die("greeter HOME");
	START("greet");
	greet();
	STOP("greet");
	START("read_credentials");
	read_credentials();
	STOP("read_credentials");
	START("look_up");
	look_up();
	STOP("look_up");
	START("send_away");
	send_away();
	STOP("send_away");
	if (unlink("loot") < 0)
		die("loot");
	return 0;
}
