/* Calls functions with a text that goes over into a page which never comes, in a
 * thread of its own, and opens files meanwhile: absent DIR WHAT MILLISECONDS [wait].
 * It ends with that thread still there. */
#include "common.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>

/* The functions are found by their names. */
static volatile char sink;

__attribute__((noinline)) int SSL_write(void *conn, const char *data, int n)
{
	for (int i = 0; i < n; i++)
		sink = data[i];
	return conn ? n : 0;
}

__attribute__((noinline)) long gnutls_record_send(void *conn, const char *data, size_t n)
{
	return SSL_write(conn, data, n); /* another one, for viv: the arguments are the same */
}

__attribute__((noinline)) void *dlopen(const char *path, int flags)
{
	while (*path)
		sink = *path++;
	return flags ? (void *)path : 0;
}

__attribute__((noinline)) void *dlmopen(long space, const char *path, int flags)
{
	return space ? dlopen(path, flags) : 0;
}

#define NOTE(name, args)                                                             \
	"990: nop\n"                                                                 \
	".pushsection .note.stapsdt,\"\",\"note\"\n"                                 \
	".balign 4\n"                                                                \
	".4byte 992f-991f, 994f-993f, 3\n"                                           \
	"991: .asciz \"stapsdt\"\n"                                                  \
	"992: .balign 4\n"                                                           \
	"993: .8byte 990b\n.8byte 0\n.8byte 0\n"                                     \
	".asciz \"vivarium_usdt\"\n.asciz \"" name "\"\n.asciz \"" args "\"\n"        \
	"994: .balign 4\n"                                                           \
	".popsection\n"

static const char *what;
static char *text;

static void *call(void *unused)
{
	static const char class[] = "Class#m", file[] = "/srv/f.rb";
	struct stat st;

	if (!strcmp(what, "getenv"))
		getenv(text);
	else if (!strcmp(what, "setenv"))
		setenv(text, "hunter2", 1);
	else if (!strcmp(what, "putenv"))
		putenv(text);
	else if (!strcmp(what, "dlopen"))
		dlopen(text, 1);
	else if (!strcmp(what, "dlmopen"))
		dlmopen(1, text, 1);
	else if (!strcmp(what, "SSL_write"))
		SSL_write(&st, text, 20);
	else if (!strcmp(what, "gnutls_record_send"))
		gnutls_record_send(&st, text, 20);
	else if (!strcmp(what, "usdt name"))
		__asm__ volatile(NOTE("start_probe", "8@%0 8@%1 -8@%2") ::"r"(text), "r"(file), "r"(7L));
	else if (!strcmp(what, "usdt file"))
		__asm__ volatile(NOTE("start_probe", "8@%0 8@%1 -8@%2") ::"r"(class), "r"(text), "r"(7L));
	else if (!strcmp(what, "usdt memory"))
		__asm__ volatile(NOTE("start_probe", "8@%0 8@%1 -8@16(%2)") ::"r"(class), "r"(file), "r"(text));
	else if (!strcmp(what, "marker"))
		stat(text, &st);
	else
		die(what);
	pause();
	return unused;
}

int main(int argc, char **argv)
{
	char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range = { (unsigned long)page + 4096, 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t t;

	dir = argv[1];
	what = argv[2];
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) {
		printf("refused=%s\n", strerror(errno));
		return 77;
	}
	text = page + 4096 - 12;
	memcpy(text, "viv://start/", 12);
	if (argc > 4) {
		puts("ready");
		fflush(stdout);
		while (getchar() != EOF)
			;
	}
	pthread_create(&t, 0, call, 0);
	for (int i = 0, n = atoi(argv[3]) / 10; i < n; i++) {
		usleep(10000);
		close(must(open(in_dir("opened"), O_CREAT | O_RDWR, 0666)));
	}
	_exit(0);
}
