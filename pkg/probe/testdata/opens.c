/* Opens files in every way there is: opens DIR [failed]. */
#include "common.h"
#include <linux/openat2.h>
#include <sys/mount.h>

static void reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(sys_open(path, flags));
}

/* Threads whose root is not that of the others. */
static void roots(void)
{
	int dfd, top;

	mark("what roots need");
	dfd = must(sys_open(in_dir("sub"), O_PATH | O_DIRECTORY));
	top = must(sys_open("/", O_PATH | O_DIRECTORY));
	must(mkdir(in_dir("sub/in"), 0700));
	touch(in_dir("sub/in/x"));
	must(mkdir(in_dir("pivot"), 0700));

	mark("chroot in a chroot");
	IN_CHILD({
		must(chroot(in_dir("sub")));
		must(chroot("/in"));
		must(sys_open("/x", O_RDONLY));
	});
	mark("children in a chroot");
	IN_CHILD({
		must(chroot(in_dir("sub")));
		must(sys_open("/g", O_RDONLY));
		IN_CHILD(must(sys_open("/in/x", O_RDONLY)));
	});
	mark("out of a chroot again");
	IN_CHILD({
		must(chroot(in_dir("sub")));
		must(sys_open("/g", O_RDONLY));
		must(fchdir(top));
		must(chroot("."));
		must(sys_open(in_dir("f"), O_RDONLY));
	});
	mark("a root that is renamed");
	IN_CHILD({
		must(chroot(in_dir("sub/in")));
		must(sys_open("/x", O_RDONLY));
		must(syscall(SYS_renameat, dfd, "in", dfd, "out"));
		must(sys_open("/x", O_RDONLY));
	});
	mark("the root of another mount namespace");
	IN_CHILD({
		must(unshare(CLONE_NEWNS));
		must(sys_open(in_dir("f"), O_RDONLY));
	});
	mark("a chroot in another mount namespace");
	IN_CHILD({
		must(unshare(CLONE_NEWNS));
		must(chroot(in_dir("sub")));
		must(sys_open("/g", O_RDONLY));
	});
	mark("pivot_root");
	IN_CHILD({
		must(unshare(CLONE_NEWNS));
		must(mount("none", in_dir("pivot"), "tmpfs", 0, ""));
		must(chdir(in_dir("pivot")));
		must(mkdir("old", 0700));
		must(syscall(SYS_pivot_root, ".", "old"));
		must(umount2("old", MNT_DETACH));
		must(sys_open("/x", O_RDONLY | O_CREAT));
	});
}

static void successes(void)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH };
	int dfd, fd, pipes[2];
	struct stat st;
	pid_t pid;

	mark("open");
	must(sys_open(in_dir("f"), O_RDWR | O_APPEND));
	mark("creat");
	must(syscall(SYS_creat, in_dir("created"), 0600));
	mark("openat");
	must(syscall(SYS_openat, AT_FDCWD, in_dir("f"), O_RDONLY));
	mark("dirfd");
	dfd = must(sys_open(in_dir("sub"), O_PATH | O_DIRECTORY));
	must(syscall(SYS_openat, dfd, "g", O_RDONLY));
	mark("openat2");
	must(syscall(SYS_openat2, dfd, "g", &how, sizeof(how)));
	mark("relative");
	must(chdir(in_dir("sub")));
	must(sys_open(".././sub//g", O_RDONLY));
	mark("symlink");
	must(sys_open(in_dir("link"), O_RDONLY));
	mark("symlink itself");
	must(sys_open(in_dir("link"), O_PATH | O_NOFOLLOW));
	mark("root");
	must(sys_open("/", O_RDONLY));
	mark("proc");
	must(sys_open("/proc/self/status", O_RDONLY));
	tell("pid=%d", getpid());
	mark("odd name");
	must(sys_open(in_dir("caf\xe9\n"), O_RDONLY | O_CREAT));

	mark("by its descriptor");
	fd = must(sys_open(in_dir("f"), O_RDONLY));
	reopen(fd, O_RDONLY);
	mark("memfd");
	reopen(must(memfd_create("secret", 0)), O_RDWR);
	mark("pipe");
	must(pipe(pipes));
	must(fstat(pipes[0], &st));
	tell("pipe=%lu", st.st_ino);
	reopen(pipes[0], O_RDONLY);
	mark("namespace");
	must(fstat(must(sys_open("/proc/self/ns/net", O_RDONLY)), &st));
	tell("netns=%lu", st.st_ino);
	mark("deleted");
	fd = must(sys_open(in_dir("gone"), O_RDONLY | O_CREAT));
	must(unlink(in_dir("gone")));
	reopen(fd, O_RDONLY);
	mark("unnamed");
	fd = must(sys_open(in_dir("sub"), O_TMPFILE | O_WRONLY));
	must(fstat(fd, &st));
	tell("tmpfile=%lu", st.st_ino);

	mark("300 bytes");
	descend(300);
	must(sys_open("x", O_RDONLY | O_CREAT));
	mark("4000 bytes");
	descend(4000);
	must(sys_open("x", O_RDONLY | O_CREAT));
	mark("4200 bytes");
	descend(4200);
	must(sys_open("x", O_RDONLY | O_CREAT));

	mark("another mount");
	must(unshare(CLONE_NEWNS));
	must(mount("", "/", "", MS_REC | MS_PRIVATE, ""));
	must(mount("none", in_dir("mnt"), "tmpfs", 0, ""));
	must(sys_open(in_dir("mnt/x"), O_RDONLY | O_CREAT));
	mark("bind mount");
	must(mount(in_dir("sub"), in_dir("bound"), "", MS_BIND, ""));
	must(sys_open(in_dir("bound/g"), O_RDONLY));
	mark("mount that is gone");
	must(chdir(in_dir("mnt")));
	must(umount2(in_dir("mnt"), MNT_DETACH));
	must(sys_open("x", O_RDONLY));
	mark("chroot");
	pid = must(fork());
	if (!pid) {
		must(chroot(in_dir("sub")));
		must(sys_open("/g", O_RDONLY));
		_exit(0);
	}
	reap(pid);
	roots();
}

static void failures(void)
{
	char name[5000];
	int dfd;

	mark("ENOENT");
	sys_open(in_dir("none"), O_RDONLY);
	mark("ENOENT, relative");
	must(chdir(in_dir("sub")));
	sys_open("none", O_RDONLY);
	mark("ENOENT, dirfd");
	must(chdir("/"));
	dfd = must(sys_open(in_dir("sub"), O_PATH | O_DIRECTORY));
	openat(dfd, "none", O_RDONLY);
	mark("ENOENT, relative to the root");
	sys_open("none", O_RDONLY);
	mark("ENOENT, no name");
	sys_open("", O_RDONLY);
	mark("EISDIR");
	syscall(SYS_creat, in_dir("sub"), 0600);
	mark("ENOTDIR");
	sys_open(in_dir("f/x"), O_RDONLY);
	mark("ELOOP");
	sys_open(in_dir("link"), O_RDONLY | O_NOFOLLOW);
	mark("EEXIST");
	sys_open(in_dir("f"), O_RDONLY | O_CREAT | O_EXCL);
	mark("EBADF");
	openat(77, "f", O_RDONLY);
	mark("EFAULT");
	sys_open((char *)1, O_RDONLY);
	mark("ENAMETOOLONG");
	memset(name, 'n', sizeof(name));
	name[0] = '/';
	name[sizeof(name) - 1] = 0;
	sys_open(name, O_RDONLY);
	mark("EXDEV");
	struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_BENEATH };
	syscall(SYS_openat2, dfd, "../f", &how, sizeof(how));
	mark("a success among them");
	must(sys_open(in_dir("f"), O_RDONLY));
}

int main(int argc, char **argv)
{
	dir = argv[1];
	touch(in_dir("f"));
	must(symlink(in_dir("f"), in_dir("link")));
	must(mkdir(in_dir("sub"), 0700));
	must(mkdir(in_dir("mnt"), 0700));
	must(mkdir(in_dir("bound"), 0700));
	touch(in_dir("sub/g"));
	if (argc > 2)
		failures();
	else
		successes();
	return 0;
}
