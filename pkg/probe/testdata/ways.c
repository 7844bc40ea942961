/* Goes past the hooks, and into namespaces of its own: ways DIR. */
#include "common.h"

static long call32(long nr)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr) : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

int main(int argc, char **argv)
{
	char params[120] = { 0 };
	pid_t outer;

	dir = argv[1];
	tell("self=%d", getpid());
	must(mkdir(in_dir("jail"), 0777));
	touch(in_dir("jail/f"));

	call32(20 /* getpid */);
	call32(20);
	tell("uring=%ld", syscall(SYS_io_uring_setup, 4, params));
	memset(params, 0, sizeof(params));
	syscall(SYS_io_uring_setup, 4, params);

	outer = must(fork());
	if (!outer) {
		pid_t inner;

		must(unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS));
		inner = must(fork());
		if (!inner) {
			must(chroot(in_dir("jail")));
			must(chdir("/"));
			must(sys_open("f", O_RDONLY));
			must(syscall(SYS_unlink, "f"));
			must(kill(getpid(), SIGURG));
			_exit(0);
		}
		tell("inner=%d", inner);
		_exit(reap(inner));
	}
	return reap(outer);
}
