/* SPDX-License-Identifier: Apache-2.0 */
#include "mounted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

bool mount_new(struct mounted *m, const char *dir, const char *mkfs,
	       const char *type)
{
	char command[400];
	int fd;

	(void)snprintf(m->file, sizeof(m->file), "%s/refpoint-fs-XXXXXX",
		       dir ? dir : "/var/tmp");
	(void)snprintf(m->path, sizeof(m->path),
		       "/var/tmp/refpoint-mnt-XXXXXX");
	fd = mkstemp(m->file);
	if (fd < 0 || ftruncate(fd, FS_BYTES) < 0 || !mkdtemp(m->path))
		return false;
	(void)close(fd);
	(void)snprintf(command, sizeof(command),
		       "PATH=$PATH:/usr/sbin:/sbin; %s %s >/dev/null 2>&1 && "
		       "mount -t %s -o loop %s %s 2>/dev/null",
		       mkfs, m->file, type, m->file, m->path);
	if (system(command) == 0)
		return true;
	(void)unlink(m->file);
	(void)rmdir(m->path);
	return false;
}

bool mount_free(struct mounted *m)
{
	bool good = umount(m->path) == 0;

	(void)unlink(m->file);
	(void)rmdir(m->path);
	return good;
}
