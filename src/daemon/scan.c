/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/scan.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/log.h"
#include "daemon/vm.h"

static void load_entry(struct vm *vm, const char *store)
{
	struct daemon *daemon = vm->daemon;
	struct inventory_entry entry;
	struct inventory_catalogue now;
	struct err err = {0};
	int r = inventory_load(daemon->inventory, vm->name, &entry, &err);

	if (r < 0) {
		log_warning("%s; asking its store", err.text);
		return;
	}
	vm->entry = entry;
	inventory_catalogue_stat(store, &now);
	vm->known = memcmp(&now, &entry.catalogue, sizeof(now)) == 0;
	if (!vm->known || !vm_snapshots_last(vm)) {
		inventory_points_done(&vm->entry.point);
		inventory_points_done(&vm->entry.snapshot);
	}
	if (!vm->known)
		log_info("the catalogue of '%s' has changed; asking its store",
			 vm->name);
}

static int scan_store(struct daemon *daemon, const char *name, struct err *err)
{
	char store[PATH_BYTES];
	struct stat st;
	struct vm *vm;

	if (!name_is_valid(name, VM_NAME_BYTES))
		return 0;
	paths_store(&daemon->paths, name, store);
	if (lstat(store, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (daemon->n_vms >= VMS_MAX)
		return err_set(err, -RP_ELIMIT, "more than %d VMs in '%s/vms'",
			       VMS_MAX, daemon->paths.lib);
	if (vm_new(daemon, name, &vm) < 0)
		return err_set(err, -ENOMEM, "read the VMs");
	load_entry(vm, store);
	return 0;
}

static int forget_one(void *arg, const char *name, bool pending)
{
	struct daemon *daemon = arg;
	struct err err = {0};

	if (pending || vm_find_any(daemon, name))
		return 0;
	log_warning("'%s' has no store any more, forgetting it", name);
	if (inventory_remove(daemon->inventory, name, false, &err) < 0)
		log_warning("%s", err.text);
	return 0;
}

/* As the list of VMs is, which then grows at its end. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int scan(struct daemon *daemon, struct err *err)
{
	char path[PATH_BYTES];
	struct dirent **entries;
	int n, r = 0;

	(void)snprintf(path, sizeof(path), "%s/vms", daemon->paths.lib);
	n = scandir(path, &entries, NULL, by_name);
	if (n < 0)
		return err_set(err, -errno, "read '%s'", path);
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = scan_store(daemon, entries[i]->d_name, err);
		free(entries[i]);
	}
	free(entries);
	if (r == 0)
		r = inventory_each(daemon->inventory, forget_one, daemon, err);
	return r;
}

/* A worker is to be started for what the inventory lacks. */
static bool is_wanted(const struct vm *vm)
{
	if (vm->defining || vm->refreshing || vm->ended ||
	    vm->worker != WORKER_NONE)
		return false;
	return vm->known ? vm_points_wanted(vm) : !vm->failure.code;
}

void scan_next(struct daemon *daemon)
{
	struct err err = {0};

	for (struct vm *vm = daemon->vms; vm; vm = vm->next) {
		if (daemon->refreshing >= REFRESHES_AT_ONCE)
			return;
		if (!is_wanted(vm))
			continue;
		if (vm_start_worker(vm, &err) == 0) {
			vm_refresh_begin(vm);
			continue;
		}
		log_error("%s", err.text);
		vm->failure = err;
		vm_points_failed(vm, &err);
	}
}

void scan_start(struct daemon *daemon)
{
	struct err err = {0};

	for (struct vm *vm = daemon->vms; vm; vm = vm->next) {
		if (vm_adopt_worker(vm))
			continue;
		vm_snapshots_unlisten(vm);
		if (!vm->entry.serve)
			continue;
		/* guests that come before the worker wait in the backlog */
		if (vm_prepare(vm, false, &err) < 0 ||
		    vm_listener(vm, &err) < 0)
			log_error("%s", err.text);
		if (!vm->known)
			continue;
		if (vm_start_worker(vm, &err) < 0)
			vm_serve_failed(vm, &err);
	}
	scan_next(daemon);
}
