/* Opens and closes FILE, again and again: loop TIMES FILE. */
#include "common.h"

int main(int argc, char **argv)
{
	for (long n = atol(argv[1]); n > 0; n--)
		close(must(sys_open(argv[2], O_RDONLY)));
	return 0;
}
