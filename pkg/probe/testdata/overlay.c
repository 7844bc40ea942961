/* Maps a file of an overlay, which is one of its layers': overlay DIR. It says
 * refused=1 where it cannot mount one. */
#include "common.h"
#include <sys/mount.h>

static void map(const char *path)
{
	int fd = must(open(path, O_RDONLY));
	void *p = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	close(fd);
	must(mprotect(p, 4096, PROT_READ));
	must(mprotect(p, 4096, PROT_READ | PROT_EXEC));
	must(munmap(p, 4096));
}

static void fill(const char *path)
{
	int fd = must(open(path, O_CREAT | O_WRONLY, 0755));

	must(ftruncate(fd, 4096));
	close(fd);
}

int main(int argc, char **argv)
{
	char options[3 * 4096];

	dir = argv[1];
	must(unshare(CLONE_NEWNS));
	must(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0));
	must(mount("none", dir, "tmpfs", 0, 0));
	must(mkdir(in_dir("lower"), 0755));
	must(mkdir(in_dir("upper"), 0755));
	must(mkdir(in_dir("work"), 0755));
	must(mkdir(in_dir("merged"), 0755));
	fill(in_dir("lower/below"));
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", in_dir("lower"), in_dir("upper"), in_dir("work"));
	if (mount("overlay", in_dir("merged"), "overlay", 0, options)) {
		tell("refused=1");
		return 0;
	}
	fill(in_dir("merged/above"));
	mark("a lower file");
	map(in_dir("merged/below"));
	mark("an upper file");
	map(in_dir("merged/above"));
	mark("a file of a layer");
	map(in_dir("lower/below"));
	mark("end");
	return 0;
}
