/* Marks spans with every call that can, and makes other calls with paths that
 * are no markers: markers DIR. */
#include "common.h"

struct stat_room {
	char b[1024];
};

static struct stat_room room;

static void ask(long nr, const char *path)
{
	switch (nr) {
	case SYS_stat:
	case SYS_lstat:
		syscall(nr, path, &room);
		break;
	case SYS_access:
		syscall(nr, path, F_OK);
		break;
	case SYS_newfstatat:
		syscall(nr, AT_FDCWD, path, &room, 0);
		break;
	case SYS_statx:
		syscall(nr, AT_FDCWD, path, 0, STATX_MODE, &room);
		break;
	case SYS_faccessat:
		syscall(nr, AT_FDCWD, path, F_OK);
		break;
	case 439: /* faccessat2 */
		syscall(nr, AT_FDCWD, path, F_OK, 0);
		break;
	}
}

int main(int argc, char **argv)
{
	static const long calls[] = { SYS_stat, SYS_lstat, SYS_access, SYS_newfstatat, SYS_statx, SYS_faccessat, 439 };
	static char page[2 * 4096] __attribute__((aligned(4096)));
	char longest[4096 + 64];

	dir = argv[1];
	mark("calls");
	for (int i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		char path[64];

		snprintf(path, sizeof(path), "viv://start/%d", i);
		ask(calls[i], path);
		ask(calls[i], "/viv://start/no");
		ask(calls[i], "viv:/start/no");
		ask(calls[i], "viv://");
		ask(calls[i], "");
		ask(calls[i], 0);
		snprintf(path, sizeof(path), "viv://stop/%d", i);
		ask(calls[i], path);
	}
	mark("grammar");
	ask(SYS_stat, "viv://start/Net::HTTP%23get%2f%3Fa%26b?file=/srv/app.rb&line=12");
	ask(SYS_stat, "viv://raise/IO%45rror?message=gone%20away&file=a%26b.rb&line=3&color=red");
	ask(SYS_stat, "viv://start/50% of it?line=-1");
	ask(SYS_stat, "viv://stop");
	ask(SYS_stat, "viv://stop/");
	ask(SYS_stat, "viv://start");
	ask(SYS_stat, "viv://start/");
	ask(SYS_stat, "viv://raise/?message=x");
	ask(SYS_stat, "viv://strat/x");
	mark("bounds");
	/* The shortest path at the end of what is mapped. */
	must(mprotect(page + 4096, 4096, PROT_NONE));
	strcpy(page + 4096 - 7, "viv://");
	ask(SYS_stat, page + 4096 - 7);
	strcpy(page + 4096 - 11, "viv://stop");
	ask(SYS_stat, page + 4096 - 11);
	page[4095] = 'x';
	ask(SYS_stat, page + 4096 - 11);
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "viv://start/", 12);
	longest[4095] = 0; /* the longest path that the kernel takes */
	ask(SYS_stat, longest);
	longest[4095] = 'x';
	longest[sizeof(longest) - 1] = 0;
	ask(SYS_stat, longest);
	return 0;
}
