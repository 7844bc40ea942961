/* Calls whose end is another one's, or nobody's: interrupted, traced, answered by a
 * filter, with a descriptor that is exchanged meanwhile: calls DIR. */
#include "common.h"
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/un.h>

static struct sockaddr_in to(const char *host, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, host, &a.sin_addr);
	return a;
}

static int connect_to(int fd, const char *host, int port)
{
	struct sockaddr_in a = to(host, port);

	return connect(fd, (void *)&a, sizeof(a));
}

static int listen_on(int port, int backlog)
{
	struct sockaddr_in a = to("0.0.0.0", port);
	int fd = must(socket(AF_INET, SOCK_STREAM, 0));

	must(bind(fd, (void *)&a, sizeof(a)));
	must(listen(fd, backlog));
	return fd;
}

/* A child that does something, and is waited for. */
#define IN_CHILD(what)                     \
	do {                               \
		pid_t child = must(fork()); \
		if (!child) {              \
			what;              \
			_exit(0);          \
		}                          \
		must(waitpid(child, 0, 0)); \
	} while (0)

/* Signals. */

static void stopped(void)
{
	pid_t pid = must(fork());

	if (!pid) {
		mark("a connect after a stop");
		kill(getpid(), SIGSTOP);
		connect_to(must(socket(AF_INET, SOCK_STREAM, 0)), "127.0.0.1", 4001);
		_exit(0);
	}
	tell("stopped=%d", pid);
	must(waitpid(pid, 0, WUNTRACED));
	syscall(SYS_tkill, pid, SIGCONT); /* seen, too, in the row */
	must(waitpid(pid, 0, 0));
}

static void traced(void)
{
	pid_t pid = must(fork());
	int status;

	if (!pid) {
		mark("traced");
		must(ptrace(PTRACE_TRACEME, 0, 0, 0));
		kill(getpid(), SIGSTOP);
		mark("a kill under a tracer");
		kill(getpid(), SIGURG);
		connect_to(must(socket(AF_INET, SOCK_STREAM, 0)), "127.0.0.1", 4001);
		_exit(0);
	}
	tell("traced=%d", pid);
	for (;;) {
		must(waitpid(pid, &status, 0));
		if (!WIFSTOPPED(status))
			break;
		must(ptrace(PTRACE_SYSCALL, pid, 0, 0));
	}
}

/* A timer's signal comes while another one is sent. */
static void timed(void)
{
	struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { { 0, 0 }, { 0, 0 } };

	signal(SIGALRM, SIG_IGN);
	must(setitimer(ITIMER_REAL, &often, 0));
	for (int i = 0; i < 1000; i++)
		kill(1, 0);
	must(setitimer(ITIMER_REAL, &never, 0));
}

/* Interrupted calls. */

static struct sockaddr_un busy = { .sun_family = AF_UNIX };
static int listener;
static sigjmp_buf back;

static void nothing(int sig)
{
}

static void take(int sig) /* so that the next one can connect */
{
	must(accept(listener, 0, 0));
}

static void jump(int sig)
{
	siglongjmp(back, 1);
}

static void both_ends(int sig)
{
	must(sys_open(in_dir("fifo"), O_RDWR | O_NONBLOCK));
}

static void on_alarm(void (*handler)(int), int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };
	struct itimerval soon = { { 0, 0 }, { 0, 100000 } };

	must(sigaction(SIGALRM, &sa, 0));
	must(setitimer(ITIMER_REAL, &soon, 0));
}

/* A connect that has to wait. */
static int wait_for_it(void)
{
	int fd = must(socket(AF_UNIX, SOCK_STREAM, 0));

	return connect(fd, (void *)&busy, sizeof(busy));
}

static void interrupted(void)
{
	pid_t pid;
	int fd;

	mark("end");
	strcpy(busy.sun_path, in_dir("busy"));
	listener = must(socket(AF_UNIX, SOCK_STREAM, 0));
	must(bind(listener, (void *)&busy, sizeof(busy)));
	must(listen(listener, 0));
	must(wait_for_it()); /* the one that has room */
	must(mkfifo(in_dir("fifo"), 0600));

	mark("interrupted");
	on_alarm(nothing, 0);
	wait_for_it();
	mark("interrupted and restarted");
	on_alarm(take, SA_RESTART);
	must(wait_for_it());
	mark("interrupted and left");
	IN_CHILD({
		if (!sigsetjmp(back, 1)) {
			on_alarm(jump, SA_RESTART);
			wait_for_it();
		}
	});
	mark("interrupted and left for another one");
	IN_CHILD({
		if (!sigsetjmp(back, 1)) {
			on_alarm(jump, SA_RESTART);
			wait_for_it();
		}
		on_alarm(nothing, 0);
		wait_for_it();
	});
	mark("interrupted and killed");
	IN_CHILD({
		on_alarm(SIG_DFL, 0);
		wait_for_it();
	});
	mark("stopped meanwhile");
	pid = must(fork());
	if (!pid) {
		must(wait_for_it());
		_exit(0);
	}
	tell("meanwhile=%d", pid);
	usleep(50000);
	must(kill(pid, SIGSTOP));
	must(waitpid(pid, 0, WUNTRACED));
	must(kill(pid, SIGCONT));
	usleep(50000);
	take(0);
	must(waitpid(pid, 0, 0));
	mark("an open, interrupted");
	on_alarm(nothing, 0);
	sys_open(in_dir("fifo"), O_RDONLY);
	mark("an open, interrupted and restarted");
	on_alarm(both_ends, SA_RESTART);
	fd = must(sys_open(in_dir("fifo"), O_WRONLY));
	close(fd);
}

/* Descriptors that are exchanged. */

static int fd, evil, good;

static void *exchange(void *arg)
{
	usleep(100000);
	dup(fd);
	dup2(good, fd);
	usleep(50000);
	for (int i = 0; i < 3; i++) {
		accept(evil, 0, 0);
		usleep(10000);
	}
	return 0;
}

static void exchanged(void)
{
	pthread_t thread;

	mark("end");
	listen_on(4002, 5);
	evil = listen_on(4003, 0);
	good = must(socket(AF_INET, SOCK_STREAM, 0));
	must(connect_to(good, "127.0.0.1", 4002));
	for (int i = 0; i < 2; i++) /* fill the queue */
		connect_to(must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)), "127.0.0.2", 4003);
	usleep(50000);
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	mark("another socket under the number of a connect");
	pthread_create(&thread, 0, exchange, 0);
	must(connect_to(fd, "127.0.0.3", 4003));
	pthread_join(thread, 0);
}

static int server;

static void *exchange_full(void *arg)
{
	char b[65536];
	int from = must(accept(server, 0, 0));

	usleep(200000);
	dup(fd);
	dup2(good, fd);
	usleep(50000);
	while (recv(from, b, sizeof(b), MSG_DONTWAIT) > 0)
		usleep(1000);
	return 0;
}

/* The write of a question waits for room. */
static void exchanged_write(void)
{
	char q[QUESTION + 2], fill[4096] = { 0 };
	int n = question(q + 2, "hidden.example.org", ns_t_a);
	pthread_t thread;

	q[0] = n >> 8;
	q[1] = n;
	mark("end");
	server = listen_on(53, 5);
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	must(connect_to(fd, "127.0.0.1", 53));
	while (send(fd, fill, sizeof(fill), MSG_DONTWAIT) > 0)
		;
	while (send(fd, fill, 1, MSG_DONTWAIT) > 0)
		;
	mark("another socket under the number of a write");
	pthread_create(&thread, 0, exchange_full, 0);
	must(write(fd, q, n + 2));
	pthread_join(thread, 0);
}

/* Calls that a filter answers. */

static void filter(int call, unsigned answer)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(*code), code };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void answered(void)
{
	int s = must(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in dns = to("127.0.0.1", 53);
	char q[QUESTION];
	int n = question(q, "www.example.org", ns_t_a);

	tell("answered=%d", getpid());
	signal(SIGSYS, nothing);
	mark("end");
	/* Until it is seen that calls are answered, and where that is seen. */
	filter(SYS_getppid, SECCOMP_RET_ERRNO);
	for (int i = 0; i < 100; i++) {
		syscall(SYS_getppid);
		usleep(5000);
	}
	mark("allowed");
	must(connect_to(s, "127.0.0.1", 4000));
	touch(in_dir("there"));
	must(syscall(SYS_unlink, in_dir("there")));
	filter(SYS_connect, SECCOMP_RET_ERRNO);
	mark("answered: done");
	connect_to(s, "127.0.0.1", 22);
	mark("answered: not permitted");
	filter(SYS_unlink, SECCOMP_RET_ERRNO | 1);
	syscall(SYS_unlink, in_dir("x"));
	mark("answered: a signal");
	filter(SYS_rmdir, SECCOMP_RET_TRAP);
	rmdir(in_dir("y"));
	mark("answered: opened");
	filter(SYS_openat, SECCOMP_RET_ERRNO);
	openat(AT_FDCWD, in_dir("z"), O_RDONLY);
	mark("answered: sent");
	filter(SYS_sendto, SECCOMP_RET_ERRNO);
	s = must(socket(AF_INET, SOCK_DGRAM, 0));
	sendto(s, q, n, 0, (void *)&dns, sizeof(dns));
	mark("answered: killed");
	filter(SYS_kill, SECCOMP_RET_ERRNO);
	kill(getpid(), SIGKILL);
	mark("answered: mounted");
	filter(SYS_mount, SECCOMP_RET_ERRNO);
	mount("forged", "/mnt", "tmpfs", 0, 0);
}

int main(int argc, char **argv)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	dir = argv[1];
	must(unshare(CLONE_NEWNET));
	must(ioctl(must(socket(AF_INET, SOCK_DGRAM, 0)), SIOCSIFFLAGS, &lo));
	listen_on(4000, 10);
	signal(SIGURG, SIG_IGN);
	stopped();
	traced();
	mark("timers");
	timed();
	interrupted();
	exchanged();
	exchanged_write();
	IN_CHILD(answered());
	mark("end");
	return 0;
}
