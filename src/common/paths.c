/* SPDX-License-Identifier: Apache-2.0 */
#include "common/paths.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int paths_init(struct paths *paths, const char *root, struct err *err)
{
	char full[PATH_BYTES];
	_cleanup_free_ char *cwd = NULL;

	if (!root) {
		*paths = (struct paths){.rooted = false,
					.lib = "/var/lib/refpoint",
					.run = "/run/refpoint",
					.cim = "/var/lib/refpoint-cim"};
		return 0;
	}
	if (root[0] != '/') {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return err_set(err, -errno, "current directory");
	}
	if (!root[0] || snprintf(full, sizeof(full), "%s%s%s", cwd ? cwd : "",
				 cwd ? "/" : "", root) >= ROOT_BYTES)
		return err_set(err, -RP_EPARAM,
			       "the root directory's name is empty or longer "
			       "than %d bytes",
			       ROOT_BYTES - 1);
	paths->rooted = true;
	(void)snprintf(paths->lib, sizeof(paths->lib), "%s/lib", full);
	(void)snprintf(paths->run, sizeof(paths->run), "%s/run", full);
	(void)snprintf(paths->cim, sizeof(paths->cim), "%s/lib-cim", full);
	return 0;
}

static bool letter_or_digit(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z');
}

bool name_is_valid(const char *name, size_t bytes)
{
	size_t n = strnlen(name, bytes);

	if (n == 0 || n == bytes || !letter_or_digit(name[0]))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!letter_or_digit(name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

/* U+0080 to U+009F are two bytes. */
bool text_has_controls(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			return true;
	return false;
}

void paths_store(const struct paths *paths, const char *vm,
		 char ret_path[PATH_BYTES])
{
	(void)snprintf(ret_path, PATH_BYTES, "%s/vms/%s", paths->lib, vm);
}

void paths_vm_run(const struct paths *paths, const char *vm, const char *file,
		  char ret_path[PATH_BYTES])
{
	(void)snprintf(ret_path, PATH_BYTES, "%s/vm/%s%s%s", paths->run, vm,
		       file[0] ? "/" : "", file);
}

void paths_snapshot(const struct paths *paths, const char *vm,
		    const struct guid *snapshot, char ret_path[PATH_BYTES])
{
	char id[GUID_TEXT_BYTES], name[SNAPSHOT_SOCKET_BYTES];

	guid_format(snapshot, id);
	(void)snprintf(name, sizeof(name), "%.18s.sock", id);
	paths_vm_run(paths, vm, name, ret_path);
}

int paths_root_id(const struct paths *paths, char ret_id[ROOT_ID_BYTES],
		  struct err *err)
{
	struct stat st;
	uint64_t h = 0xcbf29ce484222325u;
	uint64_t words[2];

	if (stat(paths->lib, &st) < 0)
		return err_set(err, -errno, "'%s'", paths->lib);
	words[0] = st.st_dev;
	words[1] = st.st_ino;
	/* FNV-1a: a name, nothing that has to resist anybody */
	for (size_t i = 0; i < sizeof(words); i++) {
		h ^= ((const uint8_t *)words)[i];
		h *= 0x100000001b3u;
	}
	(void)snprintf(ret_id, ROOT_ID_BYTES, "%016llx", (unsigned long long)h);
	return 0;
}

/* Opens NAME in DIRFD (AT_FDCWD: a whole path), made and given away first if
 * CREATE. */
static int open_private(int dirfd, const char *name, const char *path,
			uid_t uid, gid_t gid, bool create, int *ret_fd,
			struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (create && mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s'", path);
	fd = openat(dirfd, name, DIR_FLAGS);
	if (fd < 0) {
		r = errno == ELOOP || errno == ENOTDIR ? -RP_EDENIED : -errno;
		return err_set(err, r, "'%s' is not a directory of ours", path);
	}
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "'%s'", path);
	/* made by us, then we died before it was given away */
	if (create && st.st_uid == geteuid() && uid != geteuid()) {
		if (fchown(fd, uid, gid) < 0)
			return err_set(err, -errno, "give '%s' to uid %u", path,
				       (unsigned)uid);
		st.st_uid = uid;
	}
	if (st.st_uid != uid || (st.st_mode & 077))
		return err_set(err, -RP_EDENIED,
			       "'%s' should belong to uid %u alone but belongs "
			       "to uid %u, mode %03o; remove it",
			       path, (unsigned)uid, (unsigned)st.st_uid,
			       (unsigned)st.st_mode & 0777);
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static bool is_tmpfs(const char *path)
{
	struct statfs sf;

	return statfs(path, &sf) == 0 && sf.f_type == TMPFS_MAGIC;
}

static bool fd_is_tmpfs(int fd)
{
	struct statfs sf;

	return fstatfs(fd, &sf) == 0 && sf.f_type == TMPFS_MAGIC;
}

/* /run/refpoint holds what workers must reach, whoever they are: whatever our
 * umask is, and if an earlier one of us died before it was opened. */
static void make_run_dir(void)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	(void)mkdir("/run/refpoint", 0755);
	fd = open("/run/refpoint", DIR_FLAGS);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	    (st.st_mode & 0755) != 0755)
		(void)fchmod(fd, 0755);
}

/* LIVE itself: below /run where we may, else in /dev/shm. */
static int open_live(const struct paths *paths, uid_t uid, gid_t gid,
		     bool create, int *ret_fd, struct err *err)
{
	char id[ROOT_ID_BYTES], path[128];
	struct err why = {0};
	int r;

	r = paths_root_id(paths, id, err);
	if (r < 0)
		return r;
	if (is_tmpfs("/run")) {
		if (create)
			make_run_dir();
		(void)snprintf(path, sizeof(path), "/run/refpoint/%s", id);
		r = open_private(AT_FDCWD, path, path, uid, gid, create, ret_fd,
				 &why);
		if (r == 0)
			return 0;
		if (r != -ENOENT && r != -EACCES && r != -EROFS) {
			if (err)
				*err = why;
			return r;
		}
	}
	if (!is_tmpfs("/dev/shm"))
		return err_set(
		    err, -RP_EUNSUPPORTED,
		    "they need a tmpfs, and neither /run nor "
		    "/dev/shm is one that we may use: mount one there");
	(void)snprintf(path, sizeof(path), "/dev/shm/refpoint-%u-%s",
		       (unsigned)uid, id);
	return open_private(AT_FDCWD, path, path, uid, gid, create, ret_fd,
			    err);
}

int paths_live_open(const struct paths *paths, const char *vm, uid_t uid,
		    gid_t gid, bool create, int *ret_dirfd, struct err *err)
{
	_cleanup_close_ int live = -1;
	_cleanup_close_ int fd = -1;
	int r;

	r = open_live(paths, uid, gid, create, &live, err);
	if (r < 0)
		return err_wrap(err, "live bitmaps");
	r = open_private(live, vm, vm, uid, gid, create, &fd, err);
	if (r < 0)
		return err_wrap(err, "live bitmaps");
	if (!fd_is_tmpfs(live) || !fd_is_tmpfs(fd))
		return err_set(err, -RP_EUNSUPPORTED,
			       "live bitmaps of '%s' are not on a tmpfs", vm);
	*ret_dirfd = fd;
	fd = -1;
	return 0;
}
