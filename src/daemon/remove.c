/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/remove.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/task.h"

#define DEPTH_MAX 4 /* a store is flat */
#define GONE      ".gone-"

static void remove_tree(int parent, const char *name, unsigned depth);

/* Follows no link, whatever the worker's user may have put there. */
static void empty_dir(int fd, unsigned depth)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!dir) {
		if (copy >= 0)
			(void)close(copy);
		return;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			remove_tree(fd, entry->d_name, depth + 1);
	(void)closedir(dir);
}

static void remove_tree(int parent, const char *name, unsigned depth)
{
	_cleanup_close_ int fd = -1;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return;
	fd = openat(parent, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && depth < DEPTH_MAX)
		empty_dir(fd, depth);
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
		log_warning("cannot remove '%s': %s", name, strerror(errno));
}

struct removal {
	int dir;
	char name[VM_NAME_BYTES + 48];
};

static void run(void *arg)
{
	struct removal *removal = arg;

	remove_tree(removal->dir, removal->name, 0);
}

static void done(void *arg)
{
	struct removal *removal = arg;

	(void)close(removal->dir);
	free(removal);
}

/* Takes DIR over. */
static void remove_later(struct daemon *daemon, int dir, const char *name)
{
	struct removal *removal = malloc(sizeof(*removal));

	if (!removal) { /* remove_rests() will */
		(void)close(dir);
		return;
	}
	removal->dir = dir;
	(void)snprintf(removal->name, sizeof(removal->name), "%s", name);
	if (task_run(daemon->event, run, done, removal, NULL) < 0)
		done(removal);
}

static int open_vms(struct daemon *daemon, int *ret_fd, struct err *err)
{
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/vms", daemon->paths.lib);
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? err_set(err, -errno, "open '%s'", path) : 0;
}

static int remove_store(struct daemon *daemon, const char *vm, struct err *err)
{
	char gone[VM_NAME_BYTES + 48], tag[GUID_TEXT_BYTES];
	struct guid guid = guid_random();
	int vms, r;

	r = open_vms(daemon, &vms, err);
	if (r < 0)
		return r;
	guid_format(&guid, tag);
	(void)snprintf(gone, sizeof(gone), GONE "%s-%.8s", vm, tag);
	r = renameat(vms, vm, vms, gone) < 0 ? -errno : 0;
	if (r == 0 && fsync(vms) < 0)
		r = -errno;
	if (r == 0) {
		remove_later(daemon, vms, gone);
		return 0;
	}
	(void)close(vms);
	return r == -ENOENT ? 0
			    : err_set(err, r, "remove the store of '%s'", vm);
}

static void remove_live(struct daemon *daemon, const char *vm)
{
	_cleanup_close_ int fd = -1;
	_cleanup_close_ int live = -1;
	char link[64], path[PATH_BYTES];
	ssize_t n;

	if (paths_live_open(&daemon->paths, vm, daemon->worker_uid,
			    daemon->worker_gid, false, &fd, NULL) < 0)
		return;
	live = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (live < 0)
		return;
	remove_tree(live, vm, 0);
	/* with the last VM goes the directory of all, which is made anew */
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", live);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	(void)rmdir(path);
}

int remove_vm(struct daemon *daemon, const char *vm, struct err *err)
{
	char path[PATH_BYTES];
	int r = remove_store(daemon, vm, err);

	if (r < 0)
		return r;
	remove_live(daemon, vm);
	paths_vm_run(&daemon->paths, vm, "", path);
	remove_tree(AT_FDCWD, path, 0);
	return inventory_tombstone_remove(daemon->inventory, vm, err);
}

void remove_rests(struct daemon *daemon)
{
	int vms;
	DIR *dir;
	struct dirent *entry;

	if (open_vms(daemon, &vms, NULL) < 0)
		return;
	dir = fdopendir(fcntl(vms, F_DUPFD_CLOEXEC, 3));
	while (dir && (entry = readdir(dir)))
		if (strncmp(entry->d_name, GONE, strlen(GONE)) == 0)
			remove_tree(vms, entry->d_name, 0);
	if (dir)
		(void)closedir(dir);
	(void)close(vms);
}
