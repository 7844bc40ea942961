/* Opens FILE and ends, when the test lets it: once FILE. With a process id
 * behind it, a child with that id opens the file: once FILE PID. */
#include "common.h"
#include <linux/sched.h>

int main(int argc, char **argv)
{
	pid_t pid = argc > 2 ? atoi(argv[2]) : 0;
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };

	tell("ready");
	wait_for_test();
	if (pid) {
		pid = must(syscall(SYS_clone3, &args, sizeof(args)));
		if (pid)
			return reap(pid);
	}
	touch(argv[1]);
	return 0;
}
