/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/opener.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"

#define RANDOM_LETTERS   6
#define TRIES_MAX        100
#define JUDGED_BYTES_MAX MIB(1) /* a longer one is no export's */
#define ACL_BYTES_MAX    4096
#define DISKS_VERSION    1

struct export_files {
	char dir[PATH_BYTES];        /* as it was given, for messages */
	char name[NAME_MAX + 1];     /* its last component */
	char partial[NAME_MAX + 1];  /* beside it */
	char leftover[NAME_MAX + 1]; /* "" if there is none */
	int parent, self;            /* directories; -1 */
	mode_t mode; /* of a directory, by the umask; or of the one there */
	bool made, finished;
	unsigned n;
	char names[EXPORT_FILES_MAX][EXPORT_NAME_BYTES];
	int fds[EXPORT_FILES_MAX];
};

void export_file_name(const char *disk, const struct guid *id,
		      char ret_name[EXPORT_NAME_BYTES])
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	(void)snprintf(ret_name, EXPORT_NAME_BYTES, "%.*s-%s.qcow2",
		       DISK_ID_BYTES - 1, disk, text);
}

void export_log_name(const char *disk, unsigned number, bool sidecar,
		     char ret_name[EXPORT_NAME_BYTES])
{
	(void)snprintf(ret_name, EXPORT_NAME_BYTES, "%.*s-%04u.%s",
		       DISK_ID_BYTES - 1, disk, number,
		       sidecar ? "side" : "hrl");
}

/* ---- Where it goes --------------------------------------------------------
 */

/* Splits DIR into the directory that it is in, open, and its own name. */
static int open_parent(struct export_files *f, const char *dir, struct err *err)
{
	char path[PATH_BYTES];
	size_t n = strlen(dir);
	char *slash;

	while (n > 1 && dir[n - 1] == '/')
		n--;
	if (n == 0 || n >= sizeof(path))
		return err_set(err, -RP_EPARAM,
			       "the name of the directory is empty or too "
			       "long");
	memcpy(path, dir, n);
	path[n] = '\0';
	(void)strcpy(f->dir, path);
	slash = strrchr(path, '/');
	n = strlen(slash ? slash + 1 : path);
	if (n + sizeof(EXPORT_PARTIAL) + RANDOM_LETTERS > sizeof(f->name))
		return err_set(err, -RP_EPARAM, "'%.64s...': too long a name",
			       slash ? slash + 1 : path);
	(void)strcpy(f->name, slash ? slash + 1 : path);
	if (!*f->name || strcmp(f->name, ".") == 0 ||
	    strcmp(f->name, "..") == 0)
		return err_set(err, -RP_EPARAM,
			       "'%s' can be no new directory's name", f->dir);
	if (slash)
		slash[slash == path] = '\0';
	f->parent =
	    open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->parent < 0)
		return err_set(err, -errno, "'%s'", slash ? path : ".");
	return 0;
}

static bool is_empty(int parent, const char *name)
{
	int fd = openat(parent, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	bool empty = d != NULL;

	if (!d && fd >= 0)
		(void)close(fd);
	while (empty && (entry = readdir(d)))
		empty = strcmp(entry->d_name, ".") == 0 ||
			strcmp(entry->d_name, "..") == 0;
	if (d)
		(void)closedir(d);
	return empty;
}

/* Then no other directory can take its place.  Kernels before 5.8 do not say,
 * but for another file system. */
static bool is_mounted(const struct export_files *f, const struct stat *st)
{
	struct statx stx;
	struct stat parent;

	if (statx(f->parent, f->name, AT_SYMLINK_NOFOLLOW, 0, &stx) == 0 &&
	    (stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
		return stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	return fstat(f->parent, &parent) == 0 && parent.st_dev != st->st_dev;
}

static int check_free(const struct export_files *f, struct err *err)
{
	struct stat st;

	if (fstatat(f->parent, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0
				       : err_set(err, -errno, "'%s'", f->dir);
	if (S_ISDIR(st.st_mode) && is_mounted(f, &st))
		return err_set(err, -RP_EPARAM,
			       "'%s' is where something is mounted, which "
			       "cannot be replaced: give a directory in it",
			       f->dir);
	if (S_ISDIR(st.st_mode) && is_empty(f->parent, f->name))
		return 0;
	return err_set(err, -RP_EALREADY,
		       "'%s' is there already, and no empty directory", f->dir);
}

/* For a message alone. */
static void path_of(int dir, char ret_path[PATH_BYTES])
{
	char link[32];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	n = readlink(link, ret_path, PATH_BYTES - 1);
	if (n < 0)
		(void)strcpy(ret_path, "a directory above it");
	else
		ret_path[n] = '\0';
}

/* The next one up; -1 at the root, or where it may not be searched. */
static int open_above(int dir)
{
	int above = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat here, there;

	if (above < 0)
		return -1;
	if (fstat(dir, &here) == 0 && fstat(above, &there) == 0 &&
	    (here.st_ino != there.st_ino || here.st_dev != there.st_dev))
		return above;
	(void)close(above);
	return -1;
}

/* What put_metadata() writes, and nobody else. */
static bool is_metadata(int fd)
{
	json_t *all = json_loadfd(fd, 0, NULL);
	bool is = json_is_integer(json_object_get(all, "version")) &&
		  json_is_string(json_object_get(all, "vm")) &&
		  json_is_string(json_object_get(all, "id")) &&
		  json_is_array(json_object_get(all, "disks"));

	json_decref(all);
	return is;
}

/* The caller's, or root's: another's file says nothing. */
static bool is_export(int dir)
{
	_cleanup_close_ int fd =
	    openat(dir, EXPORT_METADATA_NAME,
		   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (st.st_uid == geteuid() || st.st_uid == 0) &&
	       st.st_size <= (off_t)JUDGED_BYTES_MAX && is_metadata(fd);
}

/* No directory that it would be in, wherever links lead, is an export. */
static int check_above(const struct export_files *f, struct err *err)
{
	int dir = openat(f->parent, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char path[PATH_BYTES];

	while (dir >= 0 && !is_export(dir)) {
		int above = open_above(dir);

		(void)close(dir);
		dir = above;
	}
	if (dir < 0)
		return 0;
	path_of(dir, path);
	(void)close(dir);
	return err_set(err, -RP_EALREADY,
		       "'%s' would be within '%s', which is an export", f->dir,
		       path);
}

/* Whoever fills one holds a lock on it. */
static bool is_left(int parent, const char *name)
{
	_cleanup_close_ int fd =
	    openat(parent, name,
		   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static void find_leftover(struct export_files *f)
{
	int fd = openat(f->parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t n = strlen(f->name), m = strlen(EXPORT_PARTIAL);
	const struct dirent *entry;

	if (!d && fd >= 0)
		(void)close(fd);
	while (d && !*f->leftover && (entry = readdir(d)))
		if (strncmp(entry->d_name, f->name, n) == 0 &&
		    strncmp(entry->d_name + n, EXPORT_PARTIAL, m) == 0 &&
		    strlen(entry->d_name) == n + m + RANDOM_LETTERS &&
		    is_left(f->parent, entry->d_name))
			(void)snprintf(f->leftover, sizeof(f->leftover), "%s",
				       entry->d_name);
	if (d)
		(void)closedir(d);
}

/* ---- What is made ---------------------------------------------------------
 */

static int draw_name(struct export_files *f, struct err *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint8_t bytes[RANDOM_LETTERS];
	char text[RANDOM_LETTERS + 1] = "";

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return err_set(err, -EIO, "getrandom");
	for (unsigned i = 0; i < RANDOM_LETTERS; i++)
		text[i] = letters[bytes[i] % 32];
	(void)snprintf(f->partial, sizeof(f->partial), "%s" EXPORT_PARTIAL "%s",
		       f->name, text);
	return 0;
}

/* What mode the umask, or an ACL, leaves to a directory there. */
static int learn_mode(struct export_files *f)
{
	struct stat st;
	int r = 0;

	if (mkdirat(f->self, "mode", 0777) < 0)
		return -errno;
	if (fstatat(f->self, "mode", &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	else
		f->mode = st.st_mode & 07777;
	(void)unlinkat(f->self, "mode", AT_REMOVEDIR);
	return r;
}

static int make_partial(struct export_files *f, struct err *err)
{
	int r;

	for (int i = 0; i < TRIES_MAX; i++) {
		r = draw_name(f, err);
		if (r < 0)
			return r;
		if (mkdirat(f->parent, f->partial, 0700) == 0) {
			f->made = true;
			break;
		}
		if (errno != EEXIST)
			return err_set(err, -errno,
				       "make '%s" EXPORT_PARTIAL "...'",
				       f->dir);
	}
	f->self = openat(f->parent, f->partial,
			 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = f->self < 0 ? -errno : learn_mode(f);
	if (r < 0)
		return err_set(err, r, "'%s'", f->partial);
	/* where there are no locks nothing is found to be left */
	(void)flock(f->self, LOCK_EX | LOCK_NB);
	return 0;
}

static int make_file(struct export_files *f, const char *name, int *ret_fd,
		     struct err *err)
{
	int fd =
	    openat(f->self, name,
		   O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);

	if (fd < 0)
		return err_set(err, -errno, "make '%s' in '%s'", name,
			       f->partial);
	*ret_fd = fd;
	return 0;
}

static int make_files(struct export_files *f, const char *const *names,
		      unsigned n, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n; i++) {
		(void)snprintf(f->names[i], sizeof(f->names[0]), "%s",
			       names[i]);
		r = make_file(f, f->names[i], &f->fds[i], err);
		if (r == 0)
			f->n++;
	}
	return r;
}

int export_files_new(const char *dir, const char *const *names, unsigned n,
		     struct export_files **ret_files, struct err *err)
{
	struct export_files *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return err_set(err, -ENOMEM, "export");
	f->parent = f->self = -1;
	r = n > EXPORT_FILES_MAX
		? err_set(err, -RP_ELIMIT, "an export has at most %d files",
			  EXPORT_FILES_MAX)
		: open_parent(f, dir, err);
	if (r == 0)
		r = check_free(f, err);
	if (r == 0)
		r = check_above(f, err);
	if (r == 0) {
		find_leftover(f);
		r = make_partial(f, err);
	}
	if (r == 0)
		r = make_files(f, names, n, err);
	if (r < 0) {
		export_files_free(f);
		return r;
	}
	*ret_files = f;
	return 0;
}

const int *export_files_fds(const struct export_files *files)
{
	return files->fds;
}

const char *export_files_leftover(const struct export_files *files)
{
	return *files->leftover ? files->leftover : NULL;
}

/* ---- The end --------------------------------------------------------------
 */

static int write_all(int fd, const char *text)
{
	size_t n = strlen(text);

	while (n > 0) {
		ssize_t m = write(fd, text, n);

		if (m < 0 && errno == EINTR)
			continue;
		if (m < 0)
			return -errno;
		text += m;
		n -= (size_t)m;
	}
	return 0;
}

static int put_document(struct export_files *f, const char *name,
			const char *text, const char *end, struct err *err)
{
	_cleanup_close_ int fd = -1;
	int r = make_file(f, name, &fd, err);

	if (r < 0)
		return r;
	r = write_all(fd, text);
	if (r == 0)
		r = write_all(fd, end);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? err_set(err, r, "write '%s/%s'", f->partial, name) : 0;
}

/* What whoever has the key has made ready. */
static int put_ready(struct export_files *f, const json_t *documents,
		     struct err *err)
{
	const char *config =
	    json_string_value(json_object_get(documents, "config"));
	const char *state =
	    json_string_value(json_object_get(documents, "state"));
	int r;

	if (!config || !state)
		return err_set(err, -RP_EWIRE,
			       "the export's 'documents' are none");
	r = put_document(f, EXPORT_METADATA_NAME, config, "", err);
	return r < 0 ? r : put_document(f, METADATA_STATE_NAME, state, "", err);
}

static int put_metadata(struct export_files *f, const json_t *exported,
			struct err *err)
{
	json_t *all = json_pack("{s:i}", "version", DISKS_VERSION);
	char *text = NULL;
	int r;

	if (all && json_object_update(all, (json_t *)exported) == 0 &&
	    json_object_set_new(all, "version", json_integer(DISKS_VERSION)) ==
		0)
		text = json_dumps(all, JSON_INDENT(2));
	json_decref(all);
	r = text ? put_document(f, EXPORT_METADATA_NAME, text, "\n", err)
		 : err_set(err, -ENOMEM, EXPORT_METADATA_NAME);
	free(text);
	return r;
}

static int put_documents(struct export_files *f, const json_t *exported,
			 struct err *err)
{
	const json_t *documents = json_object_get(exported, "documents");

	return json_is_object(documents) ? put_ready(f, documents, err)
					 : put_metadata(f, exported, err);
}

static bool is_stopped(const volatile int *stop)
{
	return stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
}

static int sync_files(struct export_files *f, const volatile int *stop,
		      struct err *err)
{
	for (unsigned i = 0; i < f->n; i++) {
		if (is_stopped(stop))
			return err_set(err, -RP_ECANCELLED, "interrupted");
		if (fsync(f->fds[i]) < 0)
			return err_set(err, -errno, "sync '%s/%s'", f->partial,
				       f->names[i]);
	}
	if (is_stopped(stop))
		return err_set(err, -RP_ECANCELLED, "interrupted");
	return 0;
}

/* What FROM has under NAME, or does not have, TO has then too. */
static int copy_attribute(int from, int to, const char *name)
{
	char value[ACL_BYTES_MAX];
	ssize_t n = fgetxattr(from, name, value, sizeof(value));

	if (n >= 0)
		return fsetxattr(to, name, value, (size_t)n, 0) < 0 ? -errno
								    : 0;
	if (errno != ENODATA && errno != EOPNOTSUPP)
		return -errno;
	return fremovexattr(to, name) < 0 && errno != ENODATA &&
		       errno != EOPNOTSUPP
		   ? -errno
		   : 0;
}

/* The one that is replaced said who may look into it: that stays so.  If its
 * group cannot stay, no group may. */
static int take_after(struct export_files *f, int old)
{
	struct stat st;
	int r;

	if (fstat(old, &st) < 0)
		return -errno;
	f->mode = st.st_mode & 07777;
	if (fchown(f->self, st.st_uid, st.st_gid) < 0 &&
	    fchown(f->self, (uid_t)-1, st.st_gid) < 0)
		f->mode &= 05707;
	r = copy_attribute(old, f->self, "system.posix_acl_default");
	return r < 0 ? r
		     : copy_attribute(old, f->self, "system.posix_acl_access");
}

static int set_rights(struct export_files *f)
{
	_cleanup_close_ int old =
	    openat(f->parent, f->name,
		   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = old < 0 ? 0 : take_after(f, old);

	if (r < 0)
		return r;
	/* where a service may not set it, S_ISGID is not to be had */
	if (fchmod(f->self, f->mode) < 0 &&
	    (errno != EPERM || fchmod(f->self, f->mode & 01777) < 0))
		return -errno;
	return 0;
}

/* A directory takes the place of an empty one, and of nothing else. */
static int give_name(struct export_files *f, struct err *err)
{
	struct stat here, there;
	int r = set_rights(f);

	if (r == 0 && fsync(f->self) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, r, "'%s'", f->partial);
	if (fstat(f->self, &here) < 0 ||
	    fstatat(f->parent, f->partial, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
	    here.st_ino != there.st_ino || here.st_dev != there.st_dev)
		return err_set(err, -RP_EFAILED,
			       "'%s', which was being filled, has gone",
			       f->partial);
	if (renameat(f->parent, f->partial, f->parent, f->name) < 0)
		return errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR
			   ? err_set(err, -RP_EALREADY,
				     "'%s' is there now, made by somebody else",
				     f->dir)
			   : err_set(err, -errno, "rename '%s' to '%s'",
				     f->partial, f->name);
	f->finished = true;
	if (fsync(f->parent) < 0)
		return err_set(err, -errno,
			       "'%s' is complete, but may not outlive a power "
			       "cut",
			       f->dir);
	return 0;
}

int export_files_finish(struct export_files *files, const json_t *exported,
			const volatile int *stop, struct err *err)
{
	int r = sync_files(files, stop, err);

	if (r == 0) /* one may have got its name meanwhile */
		r = check_above(files, err);
	if (r == 0)
		r = put_documents(files, exported, err);
	return r < 0 ? r : give_name(files, err);
}

static void remove_all(struct export_files *f)
{
	for (unsigned i = 0; i < f->n; i++)
		(void)unlinkat(f->self, f->names[i], 0);
	(void)unlinkat(f->self, EXPORT_METADATA_NAME, 0);
	(void)unlinkat(f->self, METADATA_STATE_NAME, 0);
	(void)unlinkat(f->parent, f->partial, AT_REMOVEDIR);
}

struct export_files *export_files_free(struct export_files *files)
{
	if (!files)
		return NULL;
	if (files->made && !files->finished)
		remove_all(files);
	for (unsigned i = 0; i < files->n; i++)
		(void)close(files->fds[i]);
	if (files->self >= 0)
		(void)close(files->self);
	if (files->parent >= 0)
		(void)close(files->parent);
	free(files);
	return NULL;
}
