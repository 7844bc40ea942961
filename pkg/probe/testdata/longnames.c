/* Opens and removes files with names that are longer than most file systems
 * have them: longnames DIR. They are in a FUSE file system of its own, in which
 * names that begin with D are directories and all others are empty files. It says
 * refused=1 where it cannot mount one. */
#include "common.h"
#include <linux/fuse.h>
#include <sys/mount.h>

static void answer(int fd)
{
	static char in[1 << 17];
	struct fuse_in_header *h = (void *)in;
	struct fuse_attr attr = { .nlink = 1 };
	struct {
		struct fuse_out_header head;
		union {
			struct fuse_init_out init;
			struct fuse_attr_out attr;
			struct fuse_entry_out entry;
			struct fuse_open_out open;
		};
	} out = {};
	size_t len = 0;

	if (read(fd, in, sizeof(in)) < 0) {
		if (errno == EINTR || errno == ENOENT)
			return;
		_exit(0); /* it is no longer mounted */
	}
	/* Directories are odd, the root is 1. */
	attr.ino = h->opcode == FUSE_LOOKUP ? in[sizeof(*h)] == 'D' ? h->nodeid + 2 : 2 : h->nodeid;
	attr.mode = attr.ino & 1 ? S_IFDIR | 0755 : S_IFREG | 0644;
	switch (h->opcode) {
	case FUSE_INIT:
		out.init.major = FUSE_KERNEL_VERSION;
		out.init.minor = 31;
		out.init.max_write = 4096;
		len = sizeof(out.init);
		break;
	case FUSE_GETATTR:
		out.attr.attr = attr;
		len = sizeof(out.attr);
		break;
	case FUSE_LOOKUP:
		out.entry.nodeid = attr.ino;
		out.entry.attr = attr;
		len = sizeof(out.entry);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		len = sizeof(out.open);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	case FUSE_UNLINK:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_ACCESS:
		break;
	default:
		out.head.error = -ENOSYS;
	}
	out.head.unique = h->unique;
	out.head.len = sizeof(out.head) + (out.head.error ? 0 : len);
	if (write(fd, &out, out.head.len) < 0 && errno != ENOENT)
		_exit(0);
}

/* A name of n bytes. */
static char *name(char first, int n)
{
	char *s = malloc(n + 1);

	memset(s, 'n', n);
	s[0] = first;
	s[n - 1] = 'e';
	s[n] = 0;
	return s;
}

int main(int argc, char **argv)
{
	static const int lengths[] = { 254, 255, 256, 257, 509, 510, 511, 512, 765, 1000 };
	char options[100];
	pid_t server;
	int fd;

	dir = argv[1];
	must(mkdir(in_dir("mnt"), 0755));
	must(unshare(CLONE_NEWNS));
	must(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0));
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (fd < 0 || mount("test", in_dir("mnt"), "fuse", 0, options)) {
		tell("refused=1");
		return 0;
	}
	server = must(fork());
	if (!server) {
		alarm(60);
		for (;;)
			answer(fd);
	}
	close(fd);
	for (int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		mark(in_dir("%d", lengths[i]) + strlen(dir) + 1);
		must(sys_open(in_dir("mnt/%s", name('f', lengths[i])), O_RDONLY));
		must(syscall(SYS_unlink, in_dir("mnt/%s", name('f', lengths[i]))));
	}
	mark("directories");
	must(sys_open(in_dir("mnt/%s/%s/x", name('D', 300), name('D', 700)), O_RDONLY));
	mark("too many directories");
	must(chdir(in_dir("mnt")));
	for (int i = 0; i < 5; i++)
		must(chdir(name('D', 1000)));
	must(sys_open("x", O_RDONLY));
	mark("end");
	must(chdir("/"));
	must(umount2(in_dir("mnt"), MNT_DETACH));
	kill(server, SIGKILL);
	return 0;
}
