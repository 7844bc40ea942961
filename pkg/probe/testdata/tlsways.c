/* tlsways PORT: writes to a TLS server on 127.0.0.1 in each way that OpenSSL has,
 * on one connection. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static SSL *s;

static const char *request(const char *path)
{
	static char text[256];

	snprintf(text, sizeof(text), "GET /%s?token=hunter2 HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
	return text;
}

static void answered(void)
{
	char answer[4096];

	if (SSL_read(s, answer, sizeof(answer)) <= 0)
		exit(3);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *b = BIO_new(BIO_f_ssl()), *buffer;
	const char *r;
	size_t n;

	s = SSL_new(ctx);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) || !SSL_set_fd(s, fd) || SSL_connect(s) != 1)
		return 2;
	BIO_set_ssl(b, s, BIO_NOCLOSE);
	r = request("SSL_write");
	SSL_write(s, r, strlen(r));
	answered();
	for (int i = 0; i < 2; i++) { /* the same, from the same place */
		r = request("SSL_write_ex");
		SSL_write_ex(s, r, strlen(r), &n);
		answered();
	}
	r = request("BIO_write");
	BIO_write(b, r, strlen(r));
	answered();
	BIO_puts(b, request("BIO_puts"));
	answered();
	buffer = BIO_push(BIO_new(BIO_f_buffer()), b);
	r = request("BIO_f_buffer");
	BIO_write(buffer, r, 10);
	BIO_write(buffer, r + 10, strlen(r) - 10);
	BIO_flush(buffer);
	answered();
	r = request("parts");
	SSL_write(s, r, 8);
	SSL_write(s, r + 8, 20);
	SSL_write(s, r + 28, strlen(r) - 28);
	answered();
	SSL_sendfile(s, open("/etc/passwd", O_RDONLY), 0, 10, 0); /* which wants TLS in the kernel, and fails */
	return 0;
}
