/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pull.h"
#include "daemon/vm.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/systems.h"
#include "disk/posix.h"

struct waiter {
	struct waiter *next;
	struct vm *vm;
	vm_ready_fn *fn;
	void *arg;
	sd_event_source *timer;
};

static struct vm **bucket(struct daemon *daemon, const char *name)
{
	uint32_t hash = 2166136261;

	while (*name)
		hash = (hash ^ (unsigned char)*name++) * 16777619;
	return &daemon->by_name[hash % VM_BUCKETS];
}

/* Into the list, at its end most likely, and the table. */
static void enter(struct daemon *daemon, struct vm *vm)
{
	struct vm **at = &daemon->vms, **same = bucket(daemon, vm->name);

	if (daemon->last && strcmp(daemon->last->name, vm->name) < 0)
		at = &daemon->last->next;
	while (*at && strcmp((*at)->name, vm->name) < 0)
		at = &(*at)->next;
	vm->next = *at;
	*at = vm;
	if (!vm->next)
		daemon->last = vm;
	vm->next_of_name = *same;
	*same = vm;
	daemon->n_vms++;
}

static void leave(struct daemon *daemon, struct vm *vm)
{
	struct vm **at = &daemon->vms, **same = bucket(daemon, vm->name);
	struct vm *before = NULL;

	while (*at != vm) {
		before = *at;
		at = &(*at)->next;
	}
	*at = vm->next;
	if (daemon->last == vm)
		daemon->last = before;
	while (*same != vm)
		same = &(*same)->next_of_name;
	*same = vm->next_of_name;
	daemon->n_vms--;
}

int vm_new(struct daemon *daemon, const char *name, struct vm **ret_vm)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return -ENOMEM;
	vm->daemon = daemon;
	vm->refs = 1;
	vm->process.pidfd = vm->listener = -1;
	(void)snprintf(vm->name, sizeof(vm->name), "%s", name);
	(void)snprintf(vm->entry.vm, sizeof(vm->entry.vm), "%s", name);
	enter(daemon, vm);
	*ret_vm = vm;
	return 0;
}

struct vm *vm_ref(struct vm *vm)
{
	vm->refs++;
	return vm;
}

struct vm *vm_unref(struct vm *vm)
{
	if (!vm || --vm->refs > 0)
		return NULL;
	inventory_entry_done(&vm->entry);
	inventory_points_done(&vm->heard);
	inventory_points_done(&vm->heard_snapshots);
	free(vm);
	return NULL;
}

void vm_drop(struct vm *vm)
{
	struct err err = {0};

	leave(vm->daemon, vm);
	vm->gone = true;
	vm->timer = sd_event_source_disable_unref(vm->timer);
	vm->retry = sd_event_source_disable_unref(vm->retry);
	vm->end = sd_event_source_disable_unref(vm->end);
	link_cancel(vm->look);
	link_cancel(vm->asking);
	vm->asking_limit = sd_event_source_disable_unref(vm->asking_limit);
	vm->look = vm->asking = NULL;
	vm_close_listener(vm);
	pulls_end(vm, NULL);
	vm_refresh_over(vm);
	err_set(&err, -RP_ENOVM, "there is no VM '%s'", vm->name);
	vm_wake(vm, &err);
	systems_settled(vm->daemon);
	vm_unref(vm);
}

struct vm *vm_find_any(struct daemon *daemon, const char *name)
{
	struct vm *vm = *bucket(daemon, name);

	while (vm && strcmp(vm->name, name) != 0)
		vm = vm->next_of_name;
	return vm;
}

int vm_find(struct daemon *daemon, const char *name, struct vm **ret_vm,
	    struct err *err)
{
	struct vm *vm = vm_find_any(daemon, name);

	if (!vm || vm->defining)
		return err_set(err, -RP_ENOVM, "there is no VM '%s'", name);
	*ret_vm = vm;
	return 0;
}

const char *vm_state(const struct vm *vm)
{
	const struct job *job = jobs_busy(vm->daemon->jobs, vm->name);

	if (job && strcmp(job->what, "Serve") == 0 && !vm->serving)
		return "starting";
	if (job && strcmp(job->what, "Unserve") == 0)
		return "stopping";
	if (vm->entry.serve && vm->serving)
		return "serving";
	if (vm->failure.code && (vm->entry.serve || !vm->known))
		return "failed";
	return vm->entry.serve ? "starting" : "defined";
}

int vm_save(struct vm *vm, struct err *err)
{
	bool points = vm->entry.point.known;
	char store[PATH_BYTES];
	struct err why = {0};
	int r;

	if (!vm->known || vm->gone)
		return 0;
	paths_store(&vm->daemon->paths, vm->name, store);
	inventory_catalogue_stat(store, &vm->entry.catalogue);
	vm->entry.boot = vm->daemon->boot;
	vm->entry.point.known = vm_points_may_be_saved(vm);
	r = inventory_save(vm->daemon->inventory, &vm->entry, false, &why);
	vm->entry.point.known = points;
	if (r < 0) {
		log_warning("%s", why.text);
		return err_set(err, r, "%s", why.text);
	}
	return 0;
}

/* ---- Waiting for a worker ------------------------------------------------ */

static bool is_ready(const struct vm *vm)
{
	if (vm->worker != WORKER_READY)
		return false;
	if (vm->defining)
		return true;
	return vm->known &&
	       (!vm->entry.serve || vm->serving || vm->failure.code);
}

static void tell(struct waiter *waiter, const struct err *err)
{
	vm_ready_fn *fn = waiter->fn;
	void *arg = waiter->arg;
	struct vm *vm = waiter->vm;

	sd_event_source_disable_unref(waiter->timer);
	free(waiter);
	fn(arg, err);
	vm_unref(vm);
}

void vm_wake(struct vm *vm, const struct err *err)
{
	const struct err none = {0};
	struct waiter *list;

	if (!err && !is_ready(vm))
		return;
	list = vm->waiters;
	vm->waiters = NULL;
	vm_ref(vm);
	while (list) {
		struct waiter *waiter = list;

		list = waiter->next;
		tell(waiter, err ? err : &none);
	}
	vm_unref(vm);
}

static int on_wait_over(sd_event_source *source, uint64_t usec, void *arg)
{
	struct waiter *waiter = arg, **at = &waiter->vm->waiters;
	struct err err = {0};

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	if (waiter->vm->failure.code)
		err = waiter->vm->failure;
	else
		err_set(&err, -RP_ETIMEOUT,
			"the worker of '%s' was not ready within %u s",
			waiter->vm->name, READY_TIMEOUT_MS / 1000);
	tell(waiter, &err);
	return 0;
}

void vm_when_ready(struct vm *vm, vm_ready_fn *fn, void *arg)
{
	const struct err none = {0};
	struct waiter *waiter;
	struct err err = {0};

	if (vm->gone)
		err_set(&err, -RP_ENOVM, "there is no VM '%s'", vm->name);
	if (vm->worker == WORKER_BACKOFF)
		err = vm->failure;
	if (!err.code && vm_start_worker(vm, &err) == 0 && is_ready(vm)) {
		fn(arg, &none);
		return;
	}
	if (!err.code && vm->worker == WORKER_READY && !vm->known &&
	    !vm->defining && !vm->look)
		vm_look_in(vm, 0);
	waiter = err.code ? NULL : calloc(1, sizeof(*waiter));
	if (!waiter) {
		if (!err.code)
			err_set(&err, -ENOMEM, "call '%s'", vm->name);
		fn(arg, &err);
		return;
	}
	*waiter = (struct waiter){
	    .next = vm->waiters, .vm = vm_ref(vm), .fn = fn, .arg = arg};
	vm->waiters = waiter;
	daemon_timer(vm->daemon, &waiter->timer, READY_TIMEOUT_MS, on_wait_over,
		     waiter);
}

/* ---- Directories --------------------------------------------------------- */

/* On btrfs a write into reserved space finds room only in files that are not
 * copied on write; those made in a directory with this flag are not.  Other
 * file systems do not know it, and need not. */
static void forbid_copy_on_write(int fd)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || flags & FS_NOCOW_FL)
		return;
	flags |= FS_NOCOW_FL;
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* Makes PATH, if it is not there, and opens it, without following anything. */
static int make_dir(const char *path, int *ret_fd, struct err *err)
{
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s'", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open '%s'", path);
	*ret_fd = fd;
	return 0;
}

static int give_dir(int fd, const char *path, mode_t mode, uid_t uid, gid_t gid,
		    struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "stat '%s'", path);
	if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0)
		return err_set(err, -errno, "give '%s' to uid %u", path,
			       (unsigned)uid);
	if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
		return err_set(err, -errno, "protect '%s'", path);
	return 0;
}

/* The worker checks the place as well, but has nobody to tell. */
static int prepare_store(struct vm *vm, struct err *err)
{
	struct daemon *d = vm->daemon;
	_cleanup_close_ int fd = -1;
	char path[PATH_BYTES];
	int r;

	paths_store(&d->paths, vm->name, path);
	r = make_dir(path, &fd, err);
	if (r == 0)
		r = posix_check_store_fs(fd, err);
	if (r < 0)
		return r;
	forbid_copy_on_write(fd);
	return give_dir(fd, path, 0700, d->worker_uid, d->worker_gid, err);
}

static int prepare_run(struct vm *vm, struct err *err)
{
	struct daemon *d = vm->daemon;
	_cleanup_close_ int fd = -1;
	char path[PATH_BYTES];
	int r;

	paths_vm_run(&d->paths, vm->name, "", path);
	r = make_dir(path, &fd, err);
	if (r < 0)
		return r;
	return give_dir(fd, path, 0750, d->worker_uid, d->socket_gid, err);
}

int vm_prepare(struct vm *vm, bool live, struct err *err)
{
	struct daemon *d = vm->daemon;
	_cleanup_close_ int fd = -1;
	int r;

	r = prepare_store(vm, err);
	if (r == 0)
		r = prepare_run(vm, err);
	if (r < 0)
		return r;
	r = paths_live_open(&d->paths, vm->name, d->worker_uid, d->worker_gid,
			    true, &fd, live ? err : NULL);
	return r < 0 && live ? r : 0;
}
