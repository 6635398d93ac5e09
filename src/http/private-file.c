/* SPDX-License-Identifier: Apache-2.0 */
#include "http/private-file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"

static int check(const char *path, const struct stat *st, bool any_owner,
		 size_t bytes_max, struct err *err)
{
	if (!S_ISREG(st->st_mode))
		return err_set(err, -RP_EDENIED, "'%s' is no file", path);
	if (!any_owner && st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(err, -RP_EDENIED,
			       "'%s' belongs to uid %u, neither root nor us",
			       path, (unsigned)st->st_uid);
	if (st->st_mode & 027)
		return err_set(err, -RP_EDENIED,
			       "'%s' has mode %03o: others can get at it; "
			       "chmod 640 or less",
			       path, (unsigned)st->st_mode & 0777);
	if ((uint64_t)st->st_size > bytes_max)
		return err_set(err, -RP_ELIMIT, "'%s' is larger than %zu bytes",
			       path, bytes_max);
	return 0;
}

static int read_all(int fd, char *buf, size_t bytes, size_t *ret_bytes)
{
	size_t have = 0;
	ssize_t n;

	while (have < bytes) {
		n = read(fd, buf + have, bytes - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	*ret_bytes = have;
	return 0;
}

int private_file_read(const char *path, bool any_owner, size_t bytes_max,
		      char **ret_text, struct stat *ret_stat, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	size_t bytes = 0;
	char *text;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "'%s'", path);
	r = check(path, &st, any_owner, bytes_max, err);
	if (r < 0)
		return r;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_set(err, -ENOMEM, "'%s'", path);
	r = read_all(fd, text, (size_t)st.st_size, &bytes);
	if (r < 0) {
		free(text);
		return err_set(err, r, "read '%s'", path);
	}
	text[bytes] = '\0';
	*ret_text = text;
	*ret_stat = st;
	return 0;
}

static int write_all(int fd, const char *data, size_t bytes)
{
	ssize_t n;

	while (bytes) {
		n = write(fd, data, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int sync_directory(const char *path)
{
	_cleanup_free_ char *dir = strdup(path);
	_cleanup_close_ int fd = -1;
	char *slash = dir ? strrchr(dir, '/') : NULL;

	if (!dir)
		return -ENOMEM;
	if (slash)
		slash[slash == dir] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int private_file_write(const char *path, mode_t mode, uid_t uid, gid_t gid,
		       const void *data, size_t bytes, struct err *err)
{
	_cleanup_close_ int fd = -1;
	char beside[PATH_BYTES];
	int r;

	if (snprintf(beside, sizeof(beside), "%s.XXXXXX", path) >=
	    (int)sizeof(beside))
		return err_set(err, -ENAMETOOLONG, "'%s'", path);
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "'%s'", beside);
	r = write_all(fd, data, bytes);
	if (r == 0 && (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0 ||
		       fsync(fd) < 0 || rename(beside, path) < 0))
		r = -errno;
	if (r < 0) {
		(void)unlink(beside);
		return err_set(err, r, "write '%s'", path);
	}
	r = sync_directory(path);
	return r < 0 ? err_set(err, r, "sync the directory of '%s'", path) : 0;
}
