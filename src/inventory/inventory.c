/* SPDX-License-Identifier: Apache-2.0 */
#include "inventory/inventory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/paths.h"
#include "inventory/entry.h"

#define ENTRY_BYTES_MAX (4u << 20) /* 256 points of 64 disks */
#define NAME_BYTES      (VM_NAME_BYTES + 16)
#define SUFFIX          ".json"
#define PENDING_SUFFIX  ".defining"

struct inventory {
	int dir, tombstones;
};

static int open_dir(const char *lib, const char *name, int *ret_fd,
		    struct err *err)
{
	char path[PATH_BYTES];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", lib, name);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s'", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open '%s'", path);
	*ret_fd = fd;
	return 0;
}

int inventory_open(const char *lib, struct inventory **ret_inventory,
		   struct err *err)
{
	struct inventory *inventory = calloc(1, sizeof(*inventory));
	int r;

	if (!inventory)
		return err_set(err, -ENOMEM, "inventory");
	inventory->dir = inventory->tombstones = -1;
	r = open_dir(lib, "inventory", &inventory->dir, err);
	if (r == 0)
		r = open_dir(lib, "tombstones", &inventory->tombstones, err);
	if (r < 0)
		inventory_close(inventory);
	else
		*ret_inventory = inventory;
	return r;
}

struct inventory *inventory_close(struct inventory *inventory)
{
	if (!inventory)
		return NULL;
	if (inventory->dir >= 0)
		(void)close(inventory->dir);
	if (inventory->tombstones >= 0)
		(void)close(inventory->tombstones);
	free(inventory);
	return NULL;
}

static void file_name(const char *vm, bool pending, char name[NAME_BYTES])
{
	(void)snprintf(name, NAME_BYTES, "%s%s", vm,
		       pending ? PENDING_SUFFIX : SUFFIX);
}

int inventory_load(struct inventory *inventory, const char *vm,
		   struct inventory_entry *ret_entry, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct inventory_entry entry;
	char name[NAME_BYTES];
	struct stat st;
	_cleanup_free_ char *text = NULL;
	ssize_t n;
	int r;

	file_name(vm, false, name);
	fd = openat(inventory->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, -errno, "inventory of '%s'", vm);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size > ENTRY_BYTES_MAX)
		return err_set(err, -RP_ECORRUPT, "inventory of '%s': size",
			       vm);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_set(err, -ENOMEM, "inventory of '%s'", vm);
	n = read(fd, text, (size_t)st.st_size);
	if (n < 0)
		return err_set(err, -errno, "inventory of '%s'", vm);
	text[n] = '\0';
	r = entry_parse(text, (size_t)n, &entry, err);
	if (r < 0) {
		err_wrap(err, "inventory of '%s'", vm);
		if (err)
			err->code = -RP_ECORRUPT;
		return -RP_ECORRUPT;
	}
	if (strcmp(entry.vm, vm) != 0) {
		r = err_set(err, -RP_ECORRUPT, "inventory of '%s' says '%s'",
			    vm, entry.vm);
		inventory_entry_done(&entry);
		return r;
	}
	*ret_entry = entry;
	return 0;
}

/* Writes TEXT to a fresh file and gives it its NAME, durably. */
static int replace(int dir, const char *name, const char *text, struct err *err)
{
	_cleanup_close_ int fd = -1;
	char temp[NAME_BYTES + 8];
	size_t n = strlen(text);

	(void)snprintf(temp, sizeof(temp), ".%s.new", name);
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "make '%s'", temp);
	for (size_t at = 0; at < n;) {
		ssize_t wrote = write(fd, text + at, n - at);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return err_set(err, -errno, "write '%s'", temp);
		at += (size_t)wrote;
	}
	if (fsync(fd) < 0)
		return err_set(err, -errno, "sync '%s'", temp);
	if (renameat(dir, temp, dir, name) < 0)
		return err_set(err, -errno, "rename '%s'", temp);
	if (fsync(dir) < 0)
		return err_set(err, -errno, "sync the inventory");
	return 0;
}

int inventory_save(struct inventory *inventory,
		   const struct inventory_entry *entry, bool pending,
		   struct err *err)
{
	_cleanup_free_ char *text = entry_format(entry);
	char name[NAME_BYTES];
	int r;

	if (!text)
		return err_set(err, -ENOMEM, "inventory of '%s'", entry->vm);
	file_name(entry->vm, pending, name);
	r = replace(inventory->dir, name, text, err);
	return r < 0 ? err_wrap(err, "inventory of '%s'", entry->vm) : 0;
}

int inventory_commit(struct inventory *inventory, const char *vm,
		     struct err *err)
{
	char from[NAME_BYTES], to[NAME_BYTES];

	file_name(vm, true, from);
	file_name(vm, false, to);
	if (renameat(inventory->dir, from, inventory->dir, to) < 0 ||
	    fsync(inventory->dir) < 0)
		return err_set(err, -errno, "inventory of '%s'", vm);
	return 0;
}

int inventory_remove(struct inventory *inventory, const char *vm, bool pending,
		     struct err *err)
{
	char name[NAME_BYTES];

	file_name(vm, pending, name);
	if (unlinkat(inventory->dir, name, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove inventory of '%s'", vm);
	if (fsync(inventory->dir) < 0)
		return err_set(err, -errno, "sync the inventory");
	return 0;
}

/* Takes SUFFIX off NAME and leaves a valid name of a VM in it, or says no. */
static bool strip(char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	if (n <= m || strcmp(name + n - m, suffix) != 0)
		return false;
	name[n - m] = '\0';
	return name_is_valid(name, VM_NAME_BYTES);
}

int inventory_each(struct inventory *inventory,
		   int (*fn)(void *arg, const char *vm, bool pending),
		   void *arg, struct err *err)
{
	int fd =
	    openat(inventory->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		r = err_set(err, -errno, "read the inventory");
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir))) {
		char name[NAME_BYTES];

		if (strlen(entry->d_name) >= sizeof(name))
			continue;
		(void)strcpy(name, entry->d_name);
		if (strip(name, SUFFIX))
			r = fn(arg, name, false);
		else if (strip(strcpy(name, entry->d_name), PENDING_SUFFIX))
			r = fn(arg, name, true);
	}
	(void)closedir(dir);
	return r;
}

static bool stat_file(const char *store, const char *name, struct stat *st)
{
	char path[PATH_BYTES];

	return snprintf(path, sizeof(path), "%s/%s", store, name) <
		   (int)sizeof(path) &&
	       lstat(path, st) == 0 && S_ISREG(st->st_mode);
}

static int64_t mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

void inventory_catalogue_stat(const char *store,
			      struct inventory_catalogue *ret_catalogue)
{
	struct inventory_catalogue c = {0};
	struct stat st, log;

	*ret_catalogue = c;
	if (!stat_file(store, "catalogue.sqlite", &st))
		return;
	c.device = st.st_dev;
	c.inode = st.st_ino;
	c.bytes = (uint64_t)st.st_size;
	c.mtime_ns = mtime_ns(&st);
	/* of a worker that is at work, or was killed: commits go here first */
	if (stat_file(store, "catalogue.sqlite-wal", &log)) {
		c.bytes += (uint64_t)log.st_size;
		if (mtime_ns(&log) > c.mtime_ns)
			c.mtime_ns = mtime_ns(&log);
	}
	*ret_catalogue = c;
}

int inventory_tombstone_open(struct inventory *inventory, const char *vm,
			     int *ret_fd, struct err *err)
{
	_cleanup_close_ int fd =
	    openat(inventory->tombstones, vm,
		   O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;
	int r;

	if (fd < 0)
		return err_set(err, -errno, "tombstone of '%s'", vm);
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "tombstone of '%s'", vm);
	if (st.st_size < TOMBSTONE_BYTES) {
		r = posix_fallocate(fd, 0, TOMBSTONE_BYTES);
		if (r)
			return err_set(err, -r, "tombstone of '%s'", vm);
		if (fsync(fd) < 0 || fsync(inventory->tombstones) < 0)
			return err_set(err, -errno, "tombstone of '%s'", vm);
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int inventory_tombstone_remove(struct inventory *inventory, const char *vm,
			       struct err *err)
{
	if (unlinkat(inventory->tombstones, vm, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove tombstone of '%s'", vm);
	return 0;
}
