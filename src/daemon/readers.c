/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets that snapshots are read through, one for each.  Bound here, for
 * a worker may not; the worker's from then on, no duplicate is kept: readers,
 * unlike a guest, are not kept waiting while there is no worker.  So a name is
 * removed with the snapshot, and all of them once the worker has ended; the
 * next one asks for them again.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "daemon/pull.h"
#include "daemon/sockets.h"
#include "daemon/vm.h"

int vm_snapshot_listener(struct vm *vm, const struct guid *snapshot,
			 int *ret_fd, struct err *err)
{
	char path[PATH_BYTES];
	gid_t old;
	int r;

	paths_snapshot(&vm->daemon->paths, vm->name, snapshot, path);
	/* as the guests' (serve.c) */
	old = (gid_t)setfsgid(vm->daemon->socket_gid);
	r = sockets_bind(path, 0117, NBD_BACKLOG, ret_fd, err);
	(void)setfsgid(old);
	return r < 0 ? err_wrap(err, "listen for readers of a snapshot of '%s'",
				vm->name)
		     : 0;
}

void vm_snapshot_unlisten(struct vm *vm, const struct guid *snapshot)
{
	char path[PATH_BYTES];

	paths_snapshot(&vm->daemon->paths, vm->name, snapshot, path);
	(void)unlink(path);
}

/* As paths_snapshot() makes them. */
static bool is_snapshots(const char *name)
{
	return strlen(name) == SNAPSHOT_SOCKET_BYTES - 1 &&
	       strspn(name, "0123456789abcdef-") ==
		   SNAPSHOT_SOCKET_BYTES - sizeof(".sock") &&
	       strcmp(name + SNAPSHOT_SOCKET_BYTES - sizeof(".sock"),
		      ".sock") == 0;
}

/* One of VM's snapshots, as far as known, is read by the socket NAME. */
static bool is_known(const struct vm *vm, const char *name)
{
	const struct inventory_points *snapshots = &vm->entry.snapshot;
	char path[PATH_BYTES];
	unsigned i = 0;

	for (; i < snapshots->n; i++) {
		paths_snapshot(&vm->daemon->paths, vm->name,
			       &snapshots->list[i].id, path);
		if (strcmp(strrchr(path, '/') + 1, name) == 0)
			break;
	}
	return i < snapshots->n;
}

static void unlisten(struct vm *vm, bool all)
{
	char path[PATH_BYTES];
	struct dirent *entry;
	DIR *dir;
	int fd;

	paths_vm_run(&vm->daemon->paths, vm->name, "", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		(void)close(fd);
	while (dir && (entry = readdir(dir))) {
		if (!is_snapshots(entry->d_name))
			continue;
		paths_vm_run(&vm->daemon->paths, vm->name, entry->d_name, path);
		if (all ||
		    (!is_known(vm, entry->d_name) && sockets_is_dead(path)))
			(void)unlinkat(fd, entry->d_name, 0);
	}
	if (dir)
		(void)closedir(dir);
}

void vm_snapshots_unlisten(struct vm *vm)
{
	unlisten(vm, true);
}

/* The worker may be at work for a refpointd that has gone: it has the listener
 * of what it will tell of later. */
void vm_snapshots_tidy(struct vm *vm)
{
	unlisten(vm, false);
	pulls_tidy(vm);
}
