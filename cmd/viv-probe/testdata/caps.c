/* Executes CMD with no more than these capabilities, by number: caps 38,39 CMD ARG...
 * It stays root, who without capabilities is just an owner of files. */
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { 0 } };
	unsigned long long keep = 0;

	for (char *s = strtok(argv[1], ","); s; s = strtok(0, ","))
		keep |= 1ULL << atoi(s);
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			perror("PR_CAPBSET_DROP");
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted = keep >> 32 * i;
	if (syscall(SYS_capset, &head, data))
		perror("capset");
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 126;
}
