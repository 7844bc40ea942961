/* Functions of the names of a TLS library's that call each other as versions of it
 * do that this machine does not have: tlsinner. */
#include "common.h"

static volatile size_t sink;

__attribute__((noinline)) int SSL_write_ex2(void *s, const void *data, size_t n, uint64_t flags, size_t *written)
{
	*written = sink = n + flags;
	return s && data;
}

__attribute__((noinline)) int SSL_write_ex(void *s, const void *data, size_t n, size_t *written)
{
	return SSL_write_ex2(s, data, n, 0, written);
}

__attribute__((noinline)) long gnutls_record_send2(void *s, const void *data, size_t n, size_t pad, unsigned flags)
{
	sink = n + pad + flags;
	return s && data ? n : 0;
}

__attribute__((noinline)) long gnutls_record_send(void *s, const void *data, size_t n)
{
	return gnutls_record_send2(s, data, n, 0, 0); /* a jump */
}

__attribute__((noinline)) long gnutls_record_send_range(void *s, const void *data, size_t n, void *range)
{
	long done = gnutls_record_send(s, data, n);

	sink += range != 0;
	return done + 1;
}

int main(void)
{
	static const char text[] = "0123456789";
	char s[4];
	size_t n;

	for (int i = 0; i < 3; i++) {
		SSL_write_ex(s, text, 1, &n);
		gnutls_record_send_range(s, text, 2, 0);
	}
	for (int i = 0; i < 2; i++)
		gnutls_record_send(s, text, 3);
	gnutls_record_send(s, text, 4);
	gnutls_record_send2(s, text, 4, 0, 0);
	SSL_write_ex(s, text, 5, &n);
	SSL_write_ex2(s, text, 5, 0, &n);
	return 0;
}
