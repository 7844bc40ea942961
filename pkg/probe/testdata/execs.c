/* Executes itself, and things that cannot be executed, in every way there is:
 * execs DIR. Each row is a child, which execs itself as `execs exit N`. */
#include "common.h"

#define MAX_ARGS 2000

static char *self; /* a copy in dir, which is statically linked like this one */

static void put(const char *name, const char *text, int mode)
{
	int fd = must(sys_open(name, O_CREAT | O_WRONLY | O_TRUNC));

	must(write(fd, text, strlen(text)));
	must(fchmod(fd, mode));
	close(fd);
}

static char exe[4096];
static int copied, gone;

/* A path with a descriptor in it. */
static char *named(const char *format, int fd)
{
	char *path;

	must(asprintf(&path, format, fd));
	return path;
}

/* Writes this program into a file, and returns it. */
static int copy(int out)
{
	static char buf[4096];
	int in = must(sys_open(exe, O_RDONLY));
	ssize_t n;

	while ((n = must(read(in, buf, sizeof(buf)))))
		must(write(out, buf, n));
	close(in);
	return out;
}

#define ROW(name, ...)                        \
	do {                                  \
		mark(name);                   \
		pid_t row_pid = must(fork()); \
		if (!row_pid) {               \
			__VA_ARGS__;          \
			_exit(9);             \
		}                             \
		reap(row_pid);                \
	} while (0)

static void rows(void)
{
	char *args[MAX_ARGS + 4] = { self, "exit", "0" };
	/* In memory that a fork copies: what is not there cannot be read. */
	char *none[] = { strdup("none"), strdup("1"), 0 };
	char *odd[] = { "", "exit", "3", "", "caf\xe9 \n", "", 0 };
	char *ten = strdup("tenletters"), *big = malloc(20000), *lines = malloc(6000);
	char path[3 * 4096];
	int dfd, fd, sfd, pfd;

	memset(big, 'b', 19999);
	big[19999] = 0;
	memset(lines, 'l', 5999);
	lines[5999] = 0;
	for (int i = 3; i < 201; i++)
		must(asprintf(&args[i], "a%d", i));
	dfd = must(sys_open(dir, O_PATH | O_DIRECTORY));
	fd = must(sys_open(self, O_PATH | O_CLOEXEC));
	tell("dfd=%d", dfd);
	sfd = must(sys_open(in_dir("script"), O_PATH));
	pfd = must(sys_open(in_dir("plain"), O_PATH));
	tell("fd=%d", fd);
	tell("sfd=%d", sfd);
	tell("exe=%s", exe);
	gone = sys_open(in_dir("gone"), O_CREAT | O_WRONLY);
	close(copy(gone));
	chmod(in_dir("gone"), 0700);
	gone = sys_open(in_dir("gone"), O_PATH);
	must(syscall(SYS_unlink, in_dir("gone")));
	copied = copy(must(memfd_create("code", 0)));

	ROW("201 arguments", execv(self, args));
	ROW("empty arguments", execv(self, odd));
	args[3] = big;
	args[5] = 0;
	ROW("an argument too long", execv(self, args));
	args[3] = lines;
	args[4] = lines;
	args[5] = lines;
	args[6] = "last";
	args[7] = 0;
	ROW("arguments too long", execv(self, args));
	args[3] = 0;
	for (int i = 3; i < MAX_ARGS; i++)
		args[i] = "tenletters";
	args[MAX_ARGS] = 0;
	ROW("2000 arguments", execv(self, args));
	args[3] = 0;
	ROW("no arguments", syscall(SYS_execve, self, 0, 0));
	ROW("relative", chdir(dir); execv("./sub/../self", args));
	ROW("symlink", execv(in_dir("link"), args));
	ROW("script", args[0] = "script's name"; execv(in_dir("script"), args));
	ROW("execveat", syscall(SYS_execveat, dfd, "self", args, 0, 0));
	ROW("execveat, no name", syscall(SYS_execveat, fd, "", args, 0, AT_EMPTY_PATH));
	args[0] = "script's name";
	ROW("a script of a script", execv(in_dir("chain"), args));
	ROW("execveat, a script", syscall(SYS_execveat, dfd, "script", args, 0, 0));
	ROW("execveat, a script without a name", syscall(SYS_execveat, sfd, "", args, 0, AT_EMPTY_PATH));
	args[0] = self;
	ROW("thread fd", execv(named("/proc/thread-self/fd/%d", fd), args));
	args[0] = "script's name";
	ROW("proc fd, a script", execv(named("/proc/self/fd/%d", sfd), args));
	args[0] = self;
	ROW("own exe", execv("/proc/self/exe", args));
	ROW("memfd", syscall(SYS_execveat, copied, "", args, 0, AT_EMPTY_PATH));
	ROW("a removed file", syscall(SYS_execveat, gone, "", args, 0, AT_EMPTY_PATH));

	ROW("a descriptor that is none", execv("/dev/fd/777", none));
	ROW("execveat, EACCES, no name", syscall(SYS_execveat, pfd, "", none, 0, AT_EMPTY_PATH));
	ROW("proc fd, EACCES", execv(named("/proc/self/fd/%d", pfd), none));
	ROW("dev fd, ENOENT below it", execv(named("/dev/fd/%d/none", dfd), none));

	ROW("ENOENT", execv(in_dir("none"), none));
	ROW("ENOENT, execveat", syscall(SYS_execveat, dfd, "none", none, 0, 0));
	ROW("ENOENT, relative", chdir(in_dir("sub")); execv("none", none));
	ROW("EACCES", execv(in_dir("plain"), none));
	ROW("EACCES, a directory", execv(in_dir("sub"), none));
	ROW("ENOEXEC", execv(in_dir("text"), none));
	ROW("ENOENT, interpreter", execv(in_dir("lost"), none));
	ROW("EFAULT", syscall(SYS_execve, 1, none, 0));
	ROW("EFAULT, argv", syscall(SYS_execve, self, 1, 0));
	ROW("ENOENT, no arguments", syscall(SYS_execve, in_dir("none"), 0, 0));
	args[0] = none[0];
	args[1] = strdup("exit");
	args[2] = strdup("0");
	args[3] = lines;
	args[4] = lines;
	args[5] = "last";
	args[6] = 0;
	ROW("ENOENT, arguments too long", execv(in_dir("none"), args));
	for (int i = 3; i < MAX_ARGS; i++)
		args[i] = ten;
	ROW("ENOENT, 2000 arguments", execv(in_dir("none"), args));
	args[3] = 0;
	args[0] = strdup("self");
	snprintf(path, sizeof(path), "%s:%s:%s", in_dir("none"), in_dir("sub"), dir);
	ROW("search", setenv("PATH", path, 1); execvp(args[0], args));
	ROW("search in vain", setenv("PATH", path, 1); execvp("nowhere", none));
}

int main(int argc, char **argv)
{
	ssize_t n;

	if (argc < 2 || !strcmp(argv[1], "exit"))
		return argc < 3 ? 0 : atoi(argv[2]);
	dir = argv[1];
	n = must(readlink("/proc/self/exe", exe, sizeof(exe) - 1));
	exe[n] = 0;
	self = strdup(in_dir("self"));
	int out = copy(must(sys_open(self, O_CREAT | O_WRONLY)));
	must(fchmod(out, 0755));
	close(out);
	must(mkdir(in_dir("sub"), 0700));
	put(in_dir("sub/self"), "not executable", 0600);
	must(symlink(self, in_dir("link")));
	put(in_dir("plain"), "plain", 0600);
	put(in_dir("text"), "just text\n", 0755);
	put(in_dir("lost"), "#!/nonexistent/interpreter\n", 0755);
	put(in_dir("script"), "", 0755);
	FILE *f = fopen(in_dir("script"), "w");
	fprintf(f, "#! %s exit\n", self);
	fclose(f);
	put(in_dir("chain"), "", 0755);
	f = fopen(in_dir("chain"), "w");
	fprintf(f, "#! %s\n", in_dir("script"));
	fclose(f);
	rows();
	return 0;
}
