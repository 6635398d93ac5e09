/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD: fstatfs(2) calls what lies below the directory
 * $REFPOINT_TEST_NFS an NFS, for as long as that directory holds a file called
 * `is-nfs`.
 */
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static bool below(int fd, const char *directory)
{
	char link[64], path[4096], flag[4096];
	size_t n = strlen(directory);
	ssize_t got;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	(void)snprintf(flag, sizeof(flag), "%s/is-nfs", directory);
	got = readlink(link, path, sizeof(path) - 1);
	if (got < 0)
		return false;
	path[got] = '\0';
	return strncmp(path, directory, n) == 0 && path[n] == '/' &&
	       access(flag, F_OK) == 0;
}

int fstatfs(int fd, struct statfs *buf)
{
	const char *directory = getenv("REFPOINT_TEST_NFS");
	int r = (int)syscall(SYS_fstatfs, fd, buf);

	if (r == 0 && directory && below(fd, directory))
		buf->f_type = NFS_SUPER_MAGIC;
	return r;
}
