/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for one test: made, held open, and removed with its files. */
#ifndef DISK_TEST_DIR_H
#define DISK_TEST_DIR_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct test_dir {
	char path[256];
	int fd;
};

/* BASE: NULL for $TMPDIR or /var/tmp, which is a disk's file system. */
static inline int test_dir_make(struct test_dir *dir, const char *base)
{
	if (!base)
		base = getenv("TMPDIR");
	(void)snprintf(dir->path, sizeof(dir->path), "%s/refpoint-disk-XXXXXX",
		       base ? base : "/var/tmp");
	if (!mkdtemp(dir->path))
		return -1;
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir->fd < 0 ? -1 : 0;
}

static inline void test_dir_remove(struct test_dir *dir)
{
	DIR *d = fdopendir(dir->fd);
	struct dirent *entry;

	while (d && (entry = readdir(d)) != NULL)
		if (unlinkat(dir->fd, entry->d_name, 0) < 0)
			(void)unlinkat(dir->fd, entry->d_name, AT_REMOVEDIR);
	(void)rmdir(dir->path);
	if (d)
		(void)closedir(d);
}

#endif
