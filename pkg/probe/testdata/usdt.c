/* Fires probes of vivarium's provider and of one of its own, whose notes are
 * written here as <sys/sdt.h> would, and calls functions: usdt DIR.
 * Its status is its semaphore. */
#include "common.h"

#define NOTE(provider, name, semaphore, args)                                        \
	"990: nop\n"                                                                 \
	".pushsection .note.stapsdt,\"\",\"note\"\n"                                 \
	".balign 4\n"                                                                \
	".4byte 992f-991f, 994f-993f, 3\n"                                           \
	"991: .asciz \"stapsdt\"\n"                                                  \
	"992: .balign 4\n"                                                           \
	"993: .8byte 990b\n"                                                         \
	".8byte _.stapsdt.base\n"                                                    \
	".8byte " semaphore "\n"                                                     \
	".asciz \"" provider "\"\n.asciz \"" name "\"\n.asciz \"" args "\"\n"        \
	"994: .balign 4\n"                                                           \
	".popsection\n"

__asm__(".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
	".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
	"_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n"
	".popsection\n");

__attribute__((section(".probes"), used)) volatile unsigned short gate; /* a semaphore */

static __attribute__((noinline)) void start_probe(const char *name, const char *file, long line)
{
	__asm__ volatile(NOTE("vivarium_usdt", "start_probe", "0", "8@%0 8@%1 -8@%2") ::"r"(name), "r"(file), "r"(line));
}

static __attribute__((noinline)) void stop_probe(const char *name, const char *file, long line)
{
	struct { long pad; const char *name; } where = { 0, name };

	__asm__ volatile(NOTE("vivarium_usdt", "stop_probe", "0", "8@8(%3) 8@%1 -8@%2") ::"r"(name), "r"(file), "r"(line), "r"(&where), "m"(where));
}

static __attribute__((noinline)) void raise_probe(const char *error, const char *message, const char *file, long line)
{
	__asm__ volatile(NOTE("vivarium_usdt", "raise_probe", "0", "8@%0 8@%1 8@%2 -8@%3") ::"r"(error), "r"(message), "r"(file), "r"(line));
}

/* Pointer and length, a class and a method, behind a semaphore. */
static __attribute__((noinline)) void enter(const char *class, int class_len, const char *method, short method_len)
{
	if (gate)
		__asm__ volatile(NOTE("own", "enter", "gate", "8@%0 -4@%k1 8@%2 -2@%w3 -4@$7") ::"r"(class), "r"(class_len), "r"(method), "r"(method_len));
}

static __attribute__((noinline)) void leave(const char *class, int class_len, const char *method, short method_len)
{
	if (gate)
		__asm__ volatile(NOTE("own", "leave", "gate", "8@%0 -4@%k1 8@%2 -2@%w3 -4@$7") ::"r"(class), "r"(class_len), "r"(method), "r"(method_len));
}

int worked(int depth);
static int (*volatile again)(int) = worked; /* so that the call is one */

__attribute__((noinline, noclone)) int worked(int depth)
{
	touch(in_dir("worked"));
	return depth ? again(depth - 1) + 1 : 0;
}

static void *in_thread(void *unused)
{
	enter("Thread", 6, "run", 3);
	touch(in_dir("thread"));
	leave("Thread", 6, "run", 3);
	return unused;
}

#include <pthread.h>

int main(int argc, char **argv)
{
	/* The name is in a page that the program itself never touches. */
	static const char untouched[3 * 4096] __attribute__((aligned(4096))) = { [4096 + 100] = 'U', '#', 'm' };
	pthread_t t;
	pid_t pid;
	int raised;

	dir = argv[1];
	if (argc > 2) { /* of a process that runs already */
		tell("ready");
		wait_for_test();
	}
	raised = gate;
	start_probe("Greeter#hello", "/srv/greeter.rb", 12);
	start_probe(untouched + 4096 + 100, "/srv/u.rb", 1);
	touch(in_dir("inner"));
	raise_probe("IOError", "no more", "/srv/u.rb", 2);
	stop_probe(untouched + 4096 + 100, "/srv/u.rb", 3);
	stop_probe("Greeter#hello", "/srv/greeter.rb", 13);
	enter("ClassXX", 5, "methodXX", 6);
	touch(in_dir("own"));
	leave("ClassXX", 5, "methodXX", 6);
	enter("Other", 5, "x", 1);
	leave("Other", 5, "x", 1);
	worked(1);
	must(pid = fork());
	if (!pid) {
		enter("Child", 5, "work", 4);
		touch(in_dir("child"));
		leave("Child", 5, "work", 4);
		_exit(0);
	}
	reap(pid);
	pthread_create(&t, 0, in_thread, 0);
	pthread_join(t, 0);
	return raised;
}
