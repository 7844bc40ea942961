/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spans WHAT TURNS: does so many turns of a call, or fires the probes of so many
 * methods, on the first CPU, and prints the nanoseconds that they took.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* A probe as <sys/sdt.h> makes it. */
#define PROBE(provider, name, args, ...)                                             \
	__asm__ volatile("990: nop\n"                                                \
			 ".pushsection .note.stapsdt,\"\",\"note\"\n"                \
			 ".balign 4\n"                                               \
			 ".4byte 992f-991f, 994f-993f, 3\n"                          \
			 "991: .asciz \"stapsdt\"\n"                                 \
			 "992: .balign 4\n"                                          \
			 "993: .8byte 990b, _.stapsdt.base, 0\n"                     \
			 ".asciz \"" provider "\"\n.asciz \"" name "\"\n.asciz \"" args "\"\n" \
			 "994: .balign 4\n"                                          \
			 ".popsection\n" ::__VA_ARGS__)

__asm__(".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
	".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
	"_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n"
	".popsection\n");

static const char *method = "Order#save", *file = "/srv/app/order.rb";

/* Begins with a push, as most functions do. */
__attribute__((noinline)) long worked(long i)
{
	__asm__ volatile("" : "+r"(i) :: "rbx");
	return i;
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	cpu_set_t first;
	struct stat st;

	if (argc != 3)
		return 2;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	long turns = atol(argv[2]);
	long long start = now();
	if (!strcmp(argv[1], "stat"))
		for (long i = 0; i < turns; i++)
			stat("/etc/passwd", &st);
	else if (!strcmp(argv[1], "marker"))
		for (long i = 0; i < turns; i++) {
			stat("viv://start/Order%23save?file=/srv/app/order.rb&line=12", &st);
			stat("viv://stop/Order%23save", &st);
		}
	else if (!strcmp(argv[1], "usdt"))
		for (long i = 0; i < turns; i++) {
			PROBE("vivarium_usdt", "start_probe", "8@%0 8@%1 -8@%2", "r"(method), "r"(file), "r"(12L));
			PROBE("vivarium_usdt", "stop_probe", "8@%0 8@%1 -8@%2", "r"(method), "r"(file), "r"(12L));
		}
	else if (!strcmp(argv[1], "func"))
		for (long i = 0; i < turns; i++)
			worked(i);
	else
		return 2;
	printf("%lld\n", now() - start);
	return 0;
}
