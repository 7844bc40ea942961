/* Asks for variables by names in pages that it has not touched: untouched DIR. */
#include "common.h"

static char *page(const char *path, int at, const char *text)
{
	int fd = must(open(path, O_CREAT | O_RDWR, 0600));
	char *p;

	must(ftruncate(fd, 1 << 20));
	must(pwrite(fd, text, strlen(text) + 1, at));
	p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	madvise(p, 1 << 20, MADV_RANDOM); /* no others with it */
	close(fd);
	return p + at;
}

int main(int argc, char **argv)
{
	char *names[3], *put, *last;

	dir = argv[1];
	for (int i = 0; i < 3; i++) {
		char text[32];

		snprintf(text, sizeof(text), "VIV_%d", i);
		names[i] = page(in_dir("%d", i), 100 + 4096 * 20 * i, text);
	}
	put = page(in_dir("put"), 4090, "VIV_PUT=hunter2"); /* over two pages */
	last = page(in_dir("last"), 8192, "VIV_LAST");
	for (int i = 0; i < 3; i++)
		getenv(names[i]);
	putenv(put);
	getenv(last);
	return 0;
}
