/* Makes each event happen, by each system call that is behind it, and makes
 * the call fail: events DIR. In a mount namespace of its own. */
#include "common.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <linux/mount.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/uio.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif

/* Tells of what device, path in its file system and type a path in dir is, as
 * DEVICE[/PATH] and fstype. */
static void tell_bound(const char *path)
{
	char line[4096], root[1024], at[1024], type[64], dev[1024], best[4096] = "", best_type[64] = "";
	FILE *f = fopen("/proc/self/mountinfo", "r");
	size_t longest = 0;

	while (f && fgets(line, sizeof(line), f)) {
		char *rest = strstr(line, " - ");
		size_t len;

		if (sscanf(line, "%*s %*s %*s %1023s %1023s", root, at) != 2 || !rest ||
		    sscanf(rest, " - %63s %1023s", type, dev) != 2)
			continue;
		len = !strcmp(at, "/") ? 0 : strlen(at);
		if (len < longest || strncmp(path, at, len) || path[len] != '/')
			continue;
		longest = len;
		snprintf(best, sizeof(best), "%s[%s%s]", dev, !strcmp(root, "/") ? "" : root, path + len);
		strcpy(best_type, type);
	}
	fclose(f);
	tell("bound=%s", best);
	tell("bound_type=%s", best_type);
}

/* Tells how the last call failed, as the test writes it. */
static void tell_error(const char *name, long ret)
{
	tell("%s=%s%s", name, ret < 0 ? " error=" : "", ret < 0 ? strerrorname_np(errno) : "");
}

/* The string in memory that no page is mapped for yet. */
static const char *unread(const char *text)
{
	int fd = must(open(in_dir("unread"), O_CREAT | O_RDWR | O_TRUNC, 0600));
	const char *p;

	must(write(fd, text, strlen(text) + 1));
	p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	close(fd);
	return p;
}

static void names(void)
{
	static char no_name[1] = { 0 };
	int sub, fd, pipes[2];
	struct stat st;

	must(mkdir(in_dir("sub"), 0700));
	must(symlink("sub", in_dir("way")));
	sub = must(open(in_dir("sub"), O_PATH | O_DIRECTORY));
	for (int i = 0; i < 6; i++)
		touch(in_dir("sub/f%d", i));

	mark("unlink");
	must(syscall(SYS_unlink, in_dir("sub/f0")));
	mark("unlink, relative");
	must(chdir(in_dir("sub")));
	must(syscall(SYS_unlink, "f1"));
	must(chdir("/"));
	mark("unlink, through a link");
	must(syscall(SYS_unlink, in_dir("way/f2")));
	mark("unlink, ENOENT");
	syscall(SYS_unlink, in_dir("none"));
	mark("unlink, EISDIR");
	syscall(SYS_unlink, in_dir("sub"));
	mark("unlink, EFAULT");
	syscall(SYS_unlink, 1);
	mark("unlink, a name that is not in memory");
	must(syscall(SYS_unlink, unread(in_dir("sub/f5"))));
	touch(in_dir("sub/f5"));
	mark("unlinkat");
	must(unlinkat(sub, "f3", 0));
	mark("unlinkat, EBADF");
	unlinkat(77, "f3", 0);
	mark("unlinkat, a directory");
	must(mkdir(in_dir("sub/dir"), 0700));
	must(unlinkat(sub, "dir", AT_REMOVEDIR));
	mark("rmdir");
	must(mkdir(in_dir("sub/dir"), 0700));
	must(syscall(SYS_rmdir, in_dir("sub/dir")));
	mark("rmdir, ENOTEMPTY");
	syscall(SYS_rmdir, in_dir("sub"));

	mark("rename");
	must(syscall(SYS_rename, in_dir("sub/f4"), in_dir("sub/g4")));
	mark("rename, through a link");
	must(syscall(SYS_rename, in_dir("way/g4"), in_dir("sub/f4")));
	mark("rename, ENOENT");
	syscall(SYS_rename, in_dir("none"), in_dir("sub/none"));
	mark("rename, ENOTEMPTY");
	must(mkdir(in_dir("dir"), 0700));
	syscall(SYS_rename, in_dir("dir"), in_dir("sub"));
	mark("renameat");
	must(syscall(SYS_renameat, sub, "f4", sub, "g4"));
	mark("renameat2");
	must(syscall(SYS_renameat2, sub, "g4", AT_FDCWD, in_dir("f4"), 0));
	mark("renameat2, exchanged");
	must(syscall(SYS_renameat2, AT_FDCWD, in_dir("f4"), sub, "f5", 2 /* RENAME_EXCHANGE */));
	mark("renameat2, EEXIST");
	syscall(SYS_renameat2, AT_FDCWD, in_dir("f4"), sub, "f5", 1 /* RENAME_NOREPLACE */);

	mark("link");
	must(syscall(SYS_link, in_dir("f4"), in_dir("l1")));
	mark("link, EEXIST");
	syscall(SYS_link, in_dir("f4"), in_dir("l1"));
	mark("link, ENOENT");
	syscall(SYS_link, in_dir("none"), in_dir("l2"));
	mark("linkat");
	must(linkat(sub, "f5", sub, "l5", 0));
	mark("linkat, a descriptor");
	fd = must(open(in_dir("f4"), O_RDONLY));
	must(linkat(fd, "", sub, "l6", AT_EMPTY_PATH));

	mark("symlink");
	must(syscall(SYS_symlink, "some/where else", in_dir("s1")));
	mark("symlink, EEXIST");
	syscall(SYS_symlink, "x", in_dir("s1"));
	mark("symlinkat");
	must(symlinkat("/else/../where", sub, "s2"));

	mark("chmod");
	must(syscall(SYS_chmod, in_dir("f4"), 0640));
	mark("chmod, through a link");
	must(syscall(SYS_chmod, in_dir("way/f5"), 0640));
	mark("chmod, special bits");
	must(syscall(SYS_chmod, in_dir("f4"), 0100000 | 06755));
	mark("chmod, ENOENT");
	syscall(SYS_chmod, in_dir("none"), 0600);
	mark("fchmod");
	must(fchmod(fd, 0600));
	mark("fchmod, a pipe");
	must(pipe(pipes));
	must(fstat(pipes[0], &st));
	tell("pipe=%lu", (long)st.st_ino);
	must(fchmod(pipes[0], 0600));
	mark("fchmod, EBADF");
	fchmod(77, 0600);
	mark("fchmodat");
	must(syscall(SYS_fchmodat, sub, "f5", 0600));
	mark("fchmodat2");
	((volatile char *)no_name)[0] = 0; /* in memory, where the kernel does not look at it */
	tell_error("fchmodat2", syscall(SYS_fchmodat2, fd, no_name, 0644, AT_EMPTY_PATH));

}

static void truncates(void)
{
	int fd;

	mark("truncate");
	must(syscall(SYS_truncate, in_dir("f4"), 7));
	mark("truncate, through a link");
	must(syscall(SYS_truncate, in_dir("way/f5"), 0));
	mark("truncate, ENOENT");
	syscall(SYS_truncate, in_dir("none"), 7);
	mark("truncate, EINVAL");
	syscall(SYS_truncate, in_dir("f4"), -1L);
	mark("ftruncate");
	fd = must(open(in_dir("f4"), O_WRONLY));
	must(ftruncate(fd, 5000000000));
	mark("ftruncate, memfd");
	must(ftruncate(must(syscall(SYS_memfd_create, "cut", 0)), 3));
	mark("ftruncate, EBADF");
	ftruncate(77, 3);
	mark("open, O_TRUNC");
	must(open(in_dir("f4"), O_WRONLY | O_TRUNC));
}

static void maps(void)
{
	int fd = must(open(in_dir("f4"), O_RDWR)), wr = must(open(in_dir("f4"), O_WRONLY)), mem;
	void *p;

	must(ftruncate(fd, 8192));
	mark("mmap");
	p = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	mark("mmap, not executable");
	p = mmap(0, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
	mark("mprotect");
	must(mprotect(p, 4096, PROT_READ | PROT_EXEC));
	mark("pkey_mprotect");
	must(syscall(SYS_pkey_mprotect, p, 8192, PROT_READ | PROT_EXEC, -1));
	mark("mprotect, back");
	must(mprotect(p, 4096, PROT_READ));
	mark("mprotect, anonymous");
	p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(mprotect(p, 4096, PROT_READ | PROT_EXEC));
	mark("mprotect, ENOMEM");
	must(munmap(p, 4096));
	mprotect(p, 4096, PROT_READ | PROT_EXEC);
	mark("mmap, anonymous");
	mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mark("mmap, EACCES");
	mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, wr, 0);
	mark("mmap, memfd");
	mem = must(memfd_create("code", 0));
	must(ftruncate(mem, 4096));
	mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, mem, 0);
}

static void lists(void)
{
	char buf[1024];
	int fd = must(open(in_dir("sub"), O_RDONLY | O_DIRECTORY)), file = must(open(in_dir("f4"), O_RDONLY));

	tell("list=%d", fd);
	tell("file=%d", file);
	mark("getdents64");
	must(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
	mark("getdents");
	must(syscall(SYS_getdents, fd, buf, 512));
	mark("getdents64, ENOTDIR");
	syscall(SYS_getdents64, file, buf, sizeof(buf));
	mark("getdents64, EBADF");
	syscall(SYS_getdents64, 77, buf, sizeof(buf));
}

/* What is looked for in libraries, which a static program carries itself. */
__attribute__((noinline)) void *dlopen(const char *path, int flags)
{
	__asm__ volatile("" ::"r"(path), "r"(flags) : "memory");
	return 0;
}

__attribute__((noinline)) int SSL_write(void *conn, const void *data, int len)
{
	__asm__ volatile("" ::"r"(conn), "r"(data) : "memory");
	return len;
}

static void run(const char *path)
{
	execl(path, "x", "exit", (char *)0);
}

/* One row each of the events that other programs make in all their ways. */
static void basics(const char *self)
{
	static const char question[] = "\x12\x34\x01\0\0\1\0\0\0\0\0\0\3www\7example\3org\0\0\1\0";
	static const char request[] = "GET /index.html HTTP/1.1\r\nHost: example.org\r\n\r\n";
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(4000) };
	struct stat st;
	int fd;
	pid_t pid;

	must(unshare(CLONE_NEWNET));
	fd = must(socket(AF_INET, SOCK_DGRAM, 0));
	must(ioctl(fd, SIOCSIFFLAGS, &lo));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	mark("open");
	close(must(sys_open(in_dir("text"), O_RDONLY)));
	mark("connect");
	must(connect(fd, (void *)&to, sizeof(to)));
	mark("socket");
	close(must(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)));
	to.sin_port = htons(53);
	mark("DNS question");
	must(sendto(fd, question, sizeof(question), 0, (void *)&to, sizeof(to)));
	mark("fork and exit");
	pid = must(fork());
	if (!pid)
		_exit(3);
	tell("forked=%d", pid);
	reap(pid);
	mark("execve");
	IN_CHILD(run(self));
	mark("dlopen");
	dlopen("libnone.so", 1);
	mark("getenv");
	getenv("VIV_NONE");
	mark("SSL_write");
	SSL_write(&to, request, sizeof(request) - 1);
	mark("marker");
	syscall(SYS_stat, "viv://start/job?file=/srv/run.c&line=7", &st);
	syscall(SYS_stat, "viv://raise/EIO", &st);
	syscall(SYS_stat, "viv://stop/job", &st);
}

static pid_t child; /* waits to be ended */

static void make_child(void)
{
	signal(SIGUSR1, SIG_IGN);
	child = must(fork());
	if (!child)
		for (;;)
			pause();
	signal(SIGUSR1, SIG_DFL);
	must(setpgid(child, child));
	tell("child=%d", child);
	tell("self=%d", getpid());
}

static void as_nobody(void)
{
	must(syscall(SYS_setresgid, 65534, 65534, 65534));
	must(syscall(SYS_setresuid, 65534, 65534, 65534));
}

static void signals(void)
{
	siginfo_t info = { .si_code = SI_QUEUE };
	int pidfd = must(syscall(SYS_pidfd_open, child, 0));
	pid_t nobody;
	int ready[2];

	must(pipe(ready));
	mark("kill");
	must(kill(child, SIGUSR1));
	mark("kill, no signal");
	must(kill(child, 0));
	mark("kill, a group");
	must(kill(-child, SIGUSR1));
	mark("kill, ESRCH");
	kill(0x3fffffff, SIGUSR1);
	mark("kill, EINVAL");
	kill(child, 99);
	nobody = must(fork());
	if (!nobody) {
		char c;

		as_nobody();
		must(read(ready[0], &c, 1));
		kill(child, SIGTERM);
		_exit(0);
	}
	mark("kill, EPERM");
	must(write(ready[1], "", 1));
	reap(nobody);
	mark("tkill");
	must(syscall(SYS_tkill, child, SIGUSR1));
	mark("tgkill");
	must(syscall(SYS_tgkill, child, child, SIGUSR1));
	mark("tgkill, ESRCH");
	syscall(SYS_tgkill, child, getpid(), SIGUSR1);
	mark("pidfd_send_signal");
	must(syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, 0, 0));
	mark("pidfd_send_signal, EBADF");
	syscall(SYS_pidfd_send_signal, 77, SIGUSR1, 0, 0);
	mark("rt_sigqueueinfo");
	must(syscall(SYS_rt_sigqueueinfo, child, SIGUSR1, &info));
	mark("rt_tgsigqueueinfo");
	must(syscall(SYS_rt_tgsigqueueinfo, child, child, SIGUSR1, &info));
}

static void traces(void)
{
	static int value = 1;
	struct iovec mine = { &(int){ 0 }, sizeof(int) }, its = { &value, sizeof(int) };
	siginfo_t si;

	mark("ptrace, attach");
	must(ptrace(PTRACE_ATTACH, child, 0, 0));
	must(waitid(P_PID, child, &si, WSTOPPED | __WALL));
	mark("ptrace, once attached");
	must(ptrace(PTRACE_PEEKDATA, child, &value, 0) == 1 ? 0 : -1);
	must(ptrace(PTRACE_DETACH, child, 0, 0));
	mark("ptrace, seize");
	must(ptrace(PTRACE_SEIZE, child, 0, 0));
	must(ptrace(PTRACE_INTERRUPT, child, 0, 0));
	must(waitid(P_PID, child, &si, WSTOPPED | __WALL));
	must(ptrace(PTRACE_DETACH, child, 0, 0));
	mark("ptrace, ESRCH");
	ptrace(PTRACE_ATTACH, 0x3fffffff, 0, 0);
	mark("ptrace, EPERM");
	ptrace(PTRACE_ATTACH, getpid(), 0, 0);
	mark("process_vm_readv");
	must(process_vm_readv(child, &mine, 1, &its, 1, 0));
	mark("process_vm_writev");
	must(process_vm_writev(child, &mine, 1, &its, 1, 0));
	mark("process_vm_readv, ESRCH");
	process_vm_readv(0x3fffffff, &mine, 1, &its, 1, 0);
}

static void ids(void)
{
	mark("setuid");
	IN_CHILD(syscall(SYS_setuid, 1000));
	mark("setgid");
	IN_CHILD(syscall(SYS_setgid, 1000));
	mark("setreuid");
	IN_CHILD(syscall(SYS_setreuid, -1, 1000));
	mark("setregid");
	IN_CHILD(syscall(SYS_setregid, 1000, -1));
	mark("setresuid");
	IN_CHILD(syscall(SYS_setresuid, 1000, 1001, 1002));
	mark("setresgid");
	IN_CHILD(syscall(SYS_setresgid, 1000, 1001, 1002));
	mark("setfsuid");
	IN_CHILD(syscall(SYS_setfsuid, 1000));
	mark("setfsgid");
	IN_CHILD(syscall(SYS_setfsgid, 1000));
	mark("setresuid, nothing");
	IN_CHILD(syscall(SYS_setresuid, -1, -1, -1));
	mark("setuid, EPERM");
	IN_CHILD(syscall(SYS_setuid, 1000); syscall(SYS_setuid, 0));
	mark("setfsuid, refused");
	IN_CHILD(syscall(SYS_setuid, 1000); syscall(SYS_setfsuid, 0));
}

static void mounts(void)
{
	int fd;

	must(mkdir(in_dir("mnt"), 0700));
	must(mkdir(in_dir("mnt2"), 0700));
	must(mkdir(in_dir("bound"), 0700));
	mark("CAP_SYS_ADMIN, unshare");
	must(unshare(CLONE_NEWNS));
	mark("mount, propagation");
	must(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0));
	mark("mount");
	must(mount("none", in_dir("mnt"), "tmpfs", MS_NOSUID, ""));
	mark("mount, bind");
	must(mount(in_dir("sub"), in_dir("bound"), "", MS_BIND, 0));
	mark("mount, relative");
	must(chdir(dir));
	must(mount("none", "mnt2", "tmpfs", 0, 0));
	must(umount2("mnt2", MNT_DETACH));
	must(chdir("/"));
	mark("mount, ENODEV");
	mount("none", in_dir("mnt"), "nofs", 0, 0);
	mark("mount, ENOENT");
	mount("none", in_dir("none"), "tmpfs", 0, 0);
	mark("mount, move");
	must(mount(in_dir("mnt"), in_dir("mnt2"), 0, MS_MOVE, 0));
	mark("move_mount");
	must(syscall(SYS_move_mount, AT_FDCWD, in_dir("mnt2"), AT_FDCWD, in_dir("mnt"), 0));
	tell_bound(in_dir("sub"));
	mark("move_mount, a detached one");
	fd = must(syscall(SYS_open_tree, AT_FDCWD, in_dir("sub"), 1 /* OPEN_TREE_CLONE */));
	must(syscall(SYS_move_mount, fd, "", AT_FDCWD, in_dir("mnt2"), 4 /* MOVE_MOUNT_F_EMPTY_PATH */));
	mark("move_mount, a detached file system");
	fd = must(syscall(SYS_open_tree, AT_FDCWD, in_dir("mnt"), 1));
	must(syscall(SYS_move_mount, fd, "", AT_FDCWD, in_dir("mnt2"), 4));
	mark("move_mount, a new one");
	fd = must(syscall(SYS_fsopen, "tmpfs", 0));
	must(syscall(SYS_fsconfig, fd, 1 /* FSCONFIG_SET_STRING */, "source", "a source", 0));
	must(syscall(SYS_fsconfig, fd, 6 /* FSCONFIG_CMD_CREATE */, 0, 0, 0));
	fd = must(syscall(SYS_fsmount, fd, 0, 0));
	must(syscall(SYS_move_mount, fd, "", AT_FDCWD, in_dir("mnt2"), 4));
	mark("move_mount, a new one, ENOENT");
	fd = must(syscall(SYS_fsopen, "tmpfs", 0));
	must(syscall(SYS_fsconfig, fd, 6, 0, 0, 0));
	fd = must(syscall(SYS_fsmount, fd, 0, 0));
	syscall(SYS_move_mount, fd, "", AT_FDCWD, in_dir("none"), 4);
	mark("move_mount, EINVAL");
	syscall(SYS_move_mount, AT_FDCWD, in_dir("sub"), AT_FDCWD, in_dir("mnt"), 0);
}

static void kernel_files(void)
{
	int fd = must(open(in_dir("text"), O_RDONLY));

	mark("finit_module");
	tell_error("finit", syscall(SYS_finit_module, fd, "", 0));
	mark("finit_module, EBADF");
	tell_error("finit_bad", syscall(SYS_finit_module, 77, "", 0));
	mark("kexec_file_load");
	tell_error("kexec", syscall(SYS_kexec_file_load, fd, -1, 1, "", 4 /* KEXEC_FILE_NO_INITRAMFS */));
}

static void execs(const char *self)
{
	mark("exec");
	IN_CHILD(run(self));
	mark("exec, a script");
	IN_CHILD(run(in_dir("script")));
	mark("exec, setuid");
	must(chmod(self, 04755));
	IN_CHILD(run(self));
	mark("exec, setgid");
	must(chmod(self, 02755));
	IN_CHILD(run(self));
	must(chmod(self, 0755));
	mark("exec, ENOENT");
	run(in_dir("none"));
	mark("exec, ENOEXEC");
	run(in_dir("text"));
}

static void capabilities(void)
{
	char name[65];
	struct timeval tv = { 0 };
	int fd;

	touch(in_dir("closed"));
	must(chmod(in_dir("closed"), 0));
	must(gethostname(name, sizeof(name)));
	mark("CAP_DAC_OVERRIDE");
	fd = must(sys_open(in_dir("closed"), O_RDWR));
	mark("CAP_SETUID");
	IN_CHILD(syscall(SYS_setuid, 1000));
	mark("CAP_SYS_ADMIN");
	must(sethostname(name, strlen(name)));
	mark("CAP_CHOWN, not a risky one");
	must(fchown(fd, 1, 1));
	mark("CAP_SYS_TIME, refused");
	IN_CHILD(syscall(SYS_setuid, 1000); settimeofday(&tv, 0));
}

/* A copy of this program. */
static const char *copy_self(void)
{
	const char *self = in_dir("self");
	char buf[65536];
	int from = must(open("/proc/self/exe", O_RDONLY)), to = must(open(self, O_CREAT | O_WRONLY, 0755));
	ssize_t n;

	while ((n = must(read(from, buf, sizeof(buf)))) > 0)
		must(write(to, buf, n));
	close(from);
	close(to);
	return self;
}

static void put(const char *path, const char *text)
{
	int fd = must(open(path, O_CREAT | O_WRONLY, 0755));

	must(write(fd, text, strlen(text)));
	close(fd);
}

int main(int argc, char **argv)
{
	char script[4200];
	const char *self;

	if (argc > 1 && (!strcmp(argv[1], "exit") || argc > 3))
		return 0;
	dir = argv[1];
	if (argc > 2 && !strcmp(argv[2], "exit"))
		return 0;
	umask(022);
	self = strdup(copy_self());
	snprintf(script, sizeof(script), "#!%s exit\n", self);
	put(in_dir("script"), script);
	put(in_dir("text"), "no program\n");
	basics(self);
	make_child();
	names();
	maps();
	lists();
	truncates();
	signals();
	traces();
	ids();
	kernel_files();
	execs(self);
	capabilities();
	mounts();
	mark("end");
	kill(child, SIGKILL);
	reap(child);
	return 0;
}
