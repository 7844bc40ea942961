/*
 * tls PORT PATH... [wait]: connections to a TLS server on 127.0.0.1, one for
 * each PATH, and three requests on each, in turn. With "wait" it says that it
 * is ready when they are open, and goes on when its stdin is closed.
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX 8

static SSL *open_connection(SSL_CTX *ctx, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL *s = SSL_new(ctx);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || !s || connect(fd, (struct sockaddr *)&to, sizeof(to)) || !SSL_set_fd(s, fd) || SSL_connect(s) != 1) {
		fprintf(stderr, "no connection to port %d\n", port);
		exit(1);
	}
	return s;
}

int main(int argc, char **argv)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *conns[MAX];
	int wait = argc > 3 && !strcmp(argv[argc - 1], "wait"), n = argc - 2 - wait;

	if (n < 1 || n > MAX)
		return 2;
	for (int i = 0; i < n; i++)
		conns[i] = open_connection(ctx, atoi(argv[1]));
	if (wait) {
		printf("ready\n");
		fflush(stdout);
		while (getchar() != EOF)
			;
	}
	for (int turn = 1; turn <= 3; turn++)
		for (int i = 0; i < n; i++) {
			char text[512], answer[4096];
			size_t done;
			int len = snprintf(text, sizeof(text),
					   "GET /%s/%d?token=hunter2 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hunter2\r\n\r\n",
					   argv[2 + i], turn);

			/* Both ways to write, in turn. */
			if (turn == 2 ? !SSL_write_ex(conns[i], text, len, &done) : SSL_write(conns[i], text, len) != len)
				return 1;
			if (SSL_read(conns[i], answer, sizeof(answer)) <= 0)
				return 1;
		}
	for (int i = 0; i < n; i++)
		SSL_free(conns[i]);
	SSL_CTX_free(ctx);
	return 0;
}
