/* Goes around hooks, or past them, in every way that we know: ways DIR. In
 * mount and network namespaces of its own. */
#include "common.h"
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/uio.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#define SYS_pidfd_getfd 438
#endif

static char *self; /* a copy in dir, which exits with its second argument */

/* What follows belongs to no row. */
#define PREPARE mark("end")

static void copy_self(int to)
{
	int from = must(open("/proc/self/exe", O_RDONLY));
	static char buf[1 << 16];
	ssize_t n;

	while ((n = must(read(from, buf, sizeof(buf)))))
		must(write(to, buf, n));
	close(from);
}

/* Names that do not say, at first sight, which file is meant. */

static void open_and_unlink(const char *name)
{
	must(sys_open(name, O_RDONLY | O_CREAT));
	must(syscall(SYS_unlink, name));
}

static long open2(int dfd, const char *name, uint64_t resolve)
{
	struct open_how how = { .flags = O_RDONLY, .resolve = resolve };

	return syscall(SYS_openat2, dfd, name, &how, sizeof(how));
}

static void names(void)
{
	struct file_handle *handle = malloc(sizeof(*handle) + MAX_HANDLE_SZ);
	int sub, top, mount_id;

	sub = must(open(in_dir("sub"), O_PATH | O_DIRECTORY));
	mark("a relative path after chdir");
	must(chdir(in_dir("sub")));
	open_and_unlink("./../sub/f");
	must(chdir("/"));
	mark("a path relative to a directory's descriptor");
	must(syscall(SYS_openat, sub, "f", O_RDONLY | O_CREAT, 0600));
	must(unlinkat(sub, "f", 0));

	mark("openat2, RESOLVE_BENEATH");
	must(open2(sub, "g", RESOLVE_BENEATH));
	open2(sub, "../top", RESOLVE_BENEATH);
	mark("openat2, RESOLVE_IN_ROOT");
	must(open2(sub, "/../g", RESOLVE_IN_ROOT));
	open2(sub, "/none", RESOLVE_IN_ROOT);
	mark("openat2, RESOLVE_NO_SYMLINKS");
	must(open2(sub, "g", RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS));

	mark("a path over 256 bytes");
	descend(300);
	open_and_unlink("x");
	mark("a path over 4096 bytes");
	descend(4200);
	open_and_unlink("x");
	must(chdir("/"));

	must(symlink("top", in_dir("link")));
	must(symlink(".", in_dir("way")));
	mark("a symbolic link changed between check and use");
	must(access(in_dir("link"), R_OK));
	must(access(in_dir("way/g"), F_OK) == -1 ? 0 : -1);
	must(unlink(in_dir("link")));
	must(symlink("sub/g", in_dir("link")));
	must(unlink(in_dir("way")));
	must(symlink("sub", in_dir("way")));
	must(sys_open(in_dir("link"), O_RDONLY));
	touch(in_dir("way/f"));
	must(syscall(SYS_unlink, in_dir("way/f")));

	mark("another name of the file");
	must(link(in_dir("sub/g"), in_dir("harmless")));
	must(sys_open(in_dir("harmless"), O_RDONLY));

	PREPARE;
	handle->handle_bytes = MAX_HANDLE_SZ;
	must(name_to_handle_at(AT_FDCWD, in_dir("top"), handle, &mount_id, 0));
	top = must(open(dir, O_RDONLY));
	mark("a file's handle instead of a name");
	must(open_by_handle_at(top, handle, O_RDONLY));

	PREPARE;
	must(mount("none", in_dir("mnt"), "tmpfs", 0, ""));
	touch(in_dir("mnt/x"));
	int below = must(open(in_dir("mnt"), O_PATH | O_DIRECTORY));
	must(mount("none", in_dir("mnt"), "tmpfs", 0, ""));
	mark("a file in a mount hidden by another");
	must(syscall(SYS_openat, below, "x", O_RDONLY));
	must(unlinkat(below, "x", 0));
	close(sub);
	PREPARE;
}

/*
 * A name whose end is in a page that is not there. When the kernel, which has
 * read the beginning, asks for it, the beginning becomes another one.
 */
#define PAGE 4096
#define REAL "real-longer-than-two-words"
#define FAKE "fake-longer-than-two-words"
static char *pages;
static char *beginning;

static void *supply(void *arg)
{
	int fd = (long)arg;
	struct uffd_msg msg;
	char page[2 * PAGE] = { 0 };
	const char *name = in_dir("sub/" REAL);
	char *at = page + PAGE - strlen(name);

	memcpy(at, name, strlen(name));
	strcpy(page + PAGE, "-file");
	beginning = pages + (at - page) + strlen(name) - strlen(REAL);
	for (int i = 0; i < 2; i++) {
		must(read(fd, &msg, sizeof(msg)));
		uint64_t to = msg.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
		int second = to != (uint64_t)pages;
		struct uffdio_copy copy = { .dst = to, .src = (uint64_t)(page + second * PAGE), .len = PAGE };

		if (second)
			memcpy(beginning, FAKE, strlen(FAKE));
		must(ioctl(fd, UFFDIO_COPY, &copy));
	}
	return 0;
}

static void changed_name(void)
{
	long fd = must(syscall(SYS_userfaultfd, O_CLOEXEC));
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;

	pages = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		die("mmap");
	range.range.start = (uint64_t)pages;
	range.range.len = 2 * PAGE;
	must(ioctl(fd, UFFDIO_API, &api));
	must(ioctl(fd, UFFDIO_REGISTER, &range));
	touch(in_dir("sub/" REAL "-file"));
	touch(in_dir("sub/" FAKE "-file"));
	mark("a name that another thread changes meanwhile");
	pthread_create(&thread, 0, supply, (void *)fd);
	must(syscall(SYS_unlink, pages + PAGE - strlen(in_dir("sub/" REAL))));
	pthread_join(thread, 0);
	must(access(in_dir("sub/" REAL "-file"), F_OK) == -1 ? 0 : -1);
}

/* Other ways to execute. */

static void *exec_here(void *args)
{
	tell("worker=%d", gettid());
	execv(self, args);
	die("execv");
	return 0;
}

static void execs(void)
{
	static char big[128 << 10];
	char *args[20] = { self, "exit", "0" };
	struct rlimit stack = { 64 << 20, 64 << 20 };
	pthread_t thread;
	pid_t pid;
	int fd;

	mark("an argv of 2 MiB");
	pid = must(fork());
	if (!pid) {
		memset(big, 'b', sizeof(big) - 1);
		for (int i = 3; i < 19; i++)
			args[i] = big;
		must(setrlimit(RLIMIT_STACK, &stack));
		execv(self, args);
		die("execv");
	}
	must(reap(pid) == 0 ? 0 : -1);

	mark("an exec from a thread");
	pid = must(fork());
	if (!pid) {
		pthread_create(&thread, 0, exec_here, args);
		pthread_join(thread, 0);
	}
	must(reap(pid) == 0 ? 0 : -1);

	mark("vfork");
	pid = vfork();
	if (!pid) {
		execv(self, args);
		_exit(9);
	}
	tell("vforked=%d", pid);
	reap(pid);

	PREPARE;
	fd = must(memfd_create("code", MFD_CLOEXEC));
	copy_self(fd);
	tell("code=%d", fd);
	mark("a program in no file");
	IN_CHILD(syscall(SYS_execveat, fd, "", args, 0, AT_EMPTY_PATH));
	close(fd);
}

/* System calls that the tracepoints do not show. */

static long call32(long nr, long a, long b)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b) : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

static void compat(void)
{
	char *name = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	strcpy(name, in_dir("sub/f"));
	touch(name);
	tell("compat=%d", getpid());
	mark("int 0x80");
	must(call32(5 /* open */, (long)name, O_RDONLY) < 0 ? -1 : 0);
	must(call32(10 /* unlink */, (long)name, 0) < 0 ? -1 : 0);
}

static struct ring {
	int fd;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned *flags, *tail, *mask, *array, *cq_head, *cq_tail, *cq_mask;
} ring;

static int make_ring(unsigned flags)
{
	struct io_uring_params p = { .flags = flags };
	char *at;

	ring.fd = syscall(SYS_io_uring_setup, 8, &p);
	if (ring.fd < 0)
		return -1;
	at = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	ring.sqes = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (at == MAP_FAILED || ring.sqes == MAP_FAILED)
		at = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	if (at == MAP_FAILED || ring.sqes == MAP_FAILED)
		die("mmap of a ring");
	ring.flags = (void *)(at + p.sq_off.flags);
	ring.tail = (void *)(at + p.sq_off.tail);
	ring.mask = (void *)(at + p.sq_off.ring_mask);
	ring.array = (void *)(at + p.sq_off.array);
	ring.cq_head = (void *)(at + p.cq_off.head);
	ring.cq_tail = (void *)(at + p.cq_off.tail);
	ring.cq_mask = (void *)(at + p.cq_off.ring_mask);
	ring.cqes = (void *)(at + p.cq_off.cqes);
	return 0;
}

/* Has the kernel do it, and returns what it returned. */
static int queued(struct io_uring_sqe sqe)
{
	unsigned tail = *ring.tail, i = tail & *ring.mask, flags = IORING_ENTER_GETEVENTS;
	int res;

	ring.sqes[i] = sqe;
	ring.array[i] = i;
	__atomic_store_n(ring.tail, tail + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(ring.flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP)
		flags |= IORING_ENTER_SQ_WAKEUP;
	must(syscall(SYS_io_uring_enter, ring.fd, 1, 1, flags, 0, 0));
	while (__atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE) == *ring.cq_head)
		must(syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0));
	res = ring.cqes[*ring.cq_head & *ring.cq_mask].res;
	__atomic_store_n(ring.cq_head, *ring.cq_head + 1, __ATOMIC_RELEASE);
	return res;
}

#define NAME(op, name, ...) \
	queued((struct io_uring_sqe){ .opcode = op, .fd = AT_FDCWD, .addr = (uint64_t)(name), ##__VA_ARGS__ })

static struct sockaddr_in to(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static void uring(void)
{
	struct sockaddr_in tcp = to(4000), dns = to(53);
	char q[600];
	int fd, n, refused;

	tell("uring=%d", getpid());
	mark("io_uring, unused");
	refused = make_ring(0);
	tell("uring_refused=%s", refused ? strerrorname_np(errno) : "");
	if (refused)
		return;
	mark("io_uring, openat");
	must(NAME(IORING_OP_OPENAT, in_dir("sub/g"), .open_flags = O_RDONLY) < 0 ? -1 : 0);
	mark("io_uring, openat in a thread of its own");
	must(NAME(IORING_OP_OPENAT, in_dir("sub/g"), .open_flags = O_RDONLY, .flags = IOSQE_ASYNC) < 0 ? -1 : 0);
	mark("io_uring, openat that fails");
	must(NAME(IORING_OP_OPENAT, in_dir("none"), .open_flags = O_RDONLY) == -ENOENT ? 0 : -1);
	PREPARE;
	touch(in_dir("sub/f"));
	mark("io_uring, renameat and unlinkat");
	must(NAME(IORING_OP_RENAMEAT, in_dir("sub/f"), .addr2 = (uint64_t)in_dir("way/f2"), .len = AT_FDCWD));
	must(NAME(IORING_OP_UNLINKAT, in_dir("way/f2")));
	mark("io_uring, connect");
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	must(queued((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uint64_t)&tcp, .off = sizeof(tcp) }));
	PREPARE;
	fd = must(socket(AF_INET, SOCK_DGRAM, 0));
	must(connect(fd, (void *)&dns, sizeof(dns)));
	mark("io_uring, a DNS question");
	n = question(q, "uring.example.org", ns_t_a);
	must(queued((struct io_uring_sqe){ .opcode = IORING_OP_SEND, .fd = fd, .addr = (uint64_t)q, .len = n }) == n ? 0 : -1);
	close(ring.fd);
	must(make_ring(IORING_SETUP_SQPOLL));
	mark("io_uring, openat by a polling thread");
	must(NAME(IORING_OP_OPENAT, in_dir("sub/g"), .open_flags = O_RDONLY) < 0 ? -1 : 0);
}

/* The network. */

static void network(void)
{
	struct sockaddr_in tcp = to(4000), dns = to(53), other = to(54);
	struct mmsghdr m[70] = { 0 };
	struct iovec iov[600];
	char q[600], q2[602];
	int fd, n, pipes[2];

	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	mark("MSG_FASTOPEN");
	must(sendto(fd, "hello", 5, MSG_FASTOPEN, (void *)&tcp, sizeof(tcp)));
	close(fd);
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	tcp.sin_addr.s_addr = 0; /* the own host */
	m[0].msg_hdr = (struct msghdr){ .msg_name = &tcp, .msg_namelen = sizeof(tcp), .msg_iov = iov, .msg_iovlen = 1 };
	iov[0] = (struct iovec){ "hello", 5 };
	mark("MSG_FASTOPEN, sendmsg");
	must(sendmsg(fd, &m[0].msg_hdr, MSG_FASTOPEN));
	close(fd);
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	mark("MSG_FASTOPEN, refused");
	sendto(fd, "hello", 5, MSG_FASTOPEN, (void *)&other, sizeof(other));
	close(fd);

	fd = must(socket(AF_INET, SOCK_DGRAM, 0));
	n = question(q, "pieces.example.org", ns_t_a);
	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ q + i, 1 };
	m[0].msg_hdr = (struct msghdr){ .msg_name = &dns, .msg_namelen = sizeof(dns), .msg_iov = iov, .msg_iovlen = n };
	mark("a DNS question in pieces of one byte");
	must(sendmsg(fd, &m[0].msg_hdr, 0));
	iov[0] = (struct iovec){ q, n };
	for (int i = 0; i < 70; i++)
		m[i].msg_hdr = (struct msghdr){
			.msg_name = i < 69 ? &other : &dns, .msg_namelen = sizeof(dns), .msg_iov = iov, .msg_iovlen = 1,
		};
	mark("a DNS question behind 69 other messages");
	must(sendmmsg(fd, m, 70, 0) == 70 ? 0 : -1);
	n = question(q, "pieces-of-a-name-of-more-than-sixty-four-bytes.example.org", ns_t_a);
	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ q + i, 1 };
	m[0].msg_hdr.msg_name = &dns;
	m[0].msg_hdr.msg_iovlen = n;
	mark("a DNS question in more than 64 pieces, and other messages");
	must(sendmmsg(fd, m, 2, 0) == 2 ? 0 : -1);
	PREPARE;
	n = question(q, "pieces.example.org", ns_t_a);
	must(connect(fd, (void *)&dns, sizeof(dns)));
	must(pipe(pipes));
	must(write(pipes[1], q, n));
	mark("a DNS question by splice");
	must(splice(pipes[0], 0, fd, 0, n, 0) == n ? 0 : -1);
	close(fd);

	q2[0] = n >> 8;
	q2[1] = n;
	memcpy(q2 + 2, q, n);
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	PREPARE;
	must(connect(fd, (void *)&dns, sizeof(dns)));
	mark("a DNS question over TCP in two");
	must(write(fd, q2, 17));
	must(write(fd, q2 + 17, n + 2 - 17));
	close(fd);
}

/* Other processes. */

static void others(void)
{
	pid_t child = must(fork());
	int pidfd;
	char path[64];

	if (!child) {
		pause();
		_exit(0);
	}
	tell("child=%d", child);
	pidfd = must(syscall(SYS_pidfd_open, child, 0));
	mark("another process's descriptor");
	must(syscall(SYS_pidfd_getfd, pidfd, 0, 0));
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	mark("another process's memory as a file");
	must(sys_open(path, O_RDWR));
	PREPARE;
	kill(child, SIGKILL);
	reap(child);
}

static void *nothing(void *arg)
{
	return arg;
}

static void namespaces(void)
{
	pid_t outer = must(fork());
	pthread_t thread;

	if (outer) {
		reap(outer);
		return;
	}
	must(unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS));
	pid_t inner = must(fork());
	if (!inner) {
		must(chroot(in_dir("jail")));
		must(chdir("/"));
		must(sys_open("f", O_RDONLY));
		must(syscall(SYS_unlink, "f"));
		must(kill(getpid(), SIGURG));
		pthread_create(&thread, 0, nothing, 0);
		pthread_join(thread, 0);
		_exit(0);
	}
	tell("inner=%d", inner);
	_exit(reap(inner));
}

static void listen_on(int port)
{
	struct sockaddr_in a = to(port);
	int fd = must(socket(AF_INET, SOCK_STREAM, 0));

	must(bind(fd, (void *)&a, sizeof(a)));
	must(listen(fd, 10));
}

int main(int argc, char **argv)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (!strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	if (!strcmp(argv[1], "try int 0x80")) /* ends by SIGSEGV where there are no 32-bit calls */
		return call32(20 /* getpid */, 0, 0) == getpid() ? 0 : 1;
	dir = argv[1];
	self = strdup(in_dir("self"));
	fd = must(open(self, O_CREAT | O_WRONLY, 0700));
	copy_self(fd);
	close(fd);
	must(mkdir(in_dir("sub"), 0700));
	must(mkdir(in_dir("mnt"), 0700));
	must(mkdir(in_dir("jail"), 0777));
	touch(in_dir("jail/f"));
	touch(in_dir("sub/g"));
	touch(in_dir("top"));
	must(unshare(CLONE_NEWNS | CLONE_NEWNET));
	must(mount("", "/", "", MS_REC | MS_PRIVATE, ""));
	must(ioctl(must(socket(AF_INET, SOCK_DGRAM, 0)), SIOCSIFFLAGS, &lo));
	listen_on(4000);
	listen_on(53);

	names();
	changed_name();
	execs();
	network();
	others();
	if (argc < 3)
		IN_CHILD(compat());
	IN_CHILD(uring());
	mark("namespaces and a root of its own");
	namespaces();
	mark("end");
	return 0;
}
