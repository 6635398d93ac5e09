/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inventory's entry from what the worker reads in the store.
 *
 * The store is the worker's to write, and files are opened by what the entry
 * says.  So where an entry is remembered, a store may not name other files, nor
 * another guest's agent: else a worker that was taken over would be handed any
 * that it likes, and have guests frozen that are not its own.
 */
#include <string.h>

#include "common/agent.h"
#include "common/log.h"
#include "daemon/images.h"
#include "daemon/scan.h"
#include "daemon/vm.h"

static int read_disk(struct inventory_entry *entry, json_t *json,
		     struct err *err)
{
	const char *id = NULL, *path = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, DISK_ID_BYTES, &id, NULL},
	    {"path", RPC_STRING, true, PATH_BYTES, &path, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	r = inventory_add_disk(entry, id, path, 0);
	return r < 0 ? err_set(err, r, "disk '%s'", id) : 0;
}

static int read_definition(json_t *parameters, struct inventory_entry *entry,
			   struct err *err)
{
	const char *uuid = NULL, *owner = "", *agent = "";
	uint64_t hot = 0, max = 0;
	json_t *disks = NULL;
	const struct rpc_field fields[] = {
	    {"uuid", RPC_STRING, true, GUID_TEXT_BYTES, &uuid, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {"owner", RPC_STRING, false, 16, &owner, NULL},
	    {"force_raw", RPC_BOOL, false, 0, &entry->force_raw, NULL},
	    {"hot_regions", RPC_UINT, false, 0, &hot, NULL},
	    {"max_points", RPC_UINT, false, 0, &max, NULL},
	    {"agent", RPC_STRING, false, AGENT_BYTES, &agent, NULL},
	    {0}};
	int r = rpc_read_fields(parameters, fields, err);

	if (r == 0 && !guid_parse(uuid, &entry->uuid))
		r = err_set(err, -RP_EWIRE, "uuid '%s'", uuid);
	if (r == 0)
		r = agent_check(agent, err);
	if (r < 0)
		return r;
	(void)strcpy(entry->agent, agent);
	for (size_t i = 0; r == 0 && i < json_array_size(disks); i++)
		r = read_disk(entry, json_array_get(disks, i), err);
	entry->owner_refpoint = strcmp(owner, "refpoint") == 0;
	entry->hot_regions = (unsigned)hot;
	entry->max_points = (unsigned)max;
	return r;
}

void vm_note_status(struct vm *vm, json_t *status)
{
	json_t *points = json_object_get(status, "points"), *disk;
	size_t i;

	if (!json_is_array(json_object_get(status, "disks")))
		return;
	vm->in_use = false;
	vm->deaf_until_ms = 0;
	vm_snapshots_note(vm, json_object_get(status, "snapshots"));
	vm_points_note_logs(vm, json_object_get(status, "logs"));
	if (!vm->entry.point.known && json_is_integer(points) &&
	    json_integer_value(points) >= 0)
		vm->entry.points = (unsigned)json_integer_value(points);
	json_array_foreach(json_object_get(status, "disks"), i, disk)
	{
		const char *id = json_string_value(json_object_get(disk, "id"));
		json_int_t size =
		    json_integer_value(json_object_get(disk, "size"));
		struct inventory_disk *d =
		    id ? images_disk(&vm->entry, id) : NULL;

		if (d && size > 0)
			d->bytes = (uint64_t)size;
		if (json_integer_value(json_object_get(disk, "connected")) > 0)
			vm->in_use = true;
	}
}

void vm_refresh_begin(struct vm *vm)
{
	if (!vm->refreshing)
		vm->daemon->refreshing++;
	vm->refreshing = true;
}

void vm_refresh_over(struct vm *vm)
{
	if (!vm->refreshing)
		return;
	vm->refreshing = false;
	vm->daemon->refreshing--;
	scan_next(vm->daemon);
}

bool vm_refresh_goes_on(struct vm *vm)
{
	vm->refresh_tries = 0;
	return vm->known || vm->defining || ++vm->refresh_lives < ASK_LIVES_MAX;
}

/* One that cannot be reached has ended, most likely: the next one is asked. */
static bool is_asked_again(struct vm *vm, const struct err *err)
{
	if (err->code != -RP_EUNREACHABLE ||
	    vm->refresh_tries++ >= ASK_TRIES_MAX)
		return false;
	vm_look_in(vm, LOOK_MAX_MS);
	return true;
}

static void over(struct vm *vm, const struct err *err)
{
	vm->look = NULL;
	if (err && is_asked_again(vm, err))
		return;
	if (!err && !vm->entry.point.known)
		vm_ask_points(vm);
	else
		vm_refresh_over(vm);
	if (err) {
		log_warning("the definition of '%s': %s", vm->name, err->text);
		vm->failure = *err;
		vm_points_failed(vm, err);
		vm_wake(vm, err);
		return;
	}
	if (vm->entry.serve && !vm->serving)
		vm_try_serve(vm);
	if (vm->entry.serve)
		vm_look_in(vm, LOOK_MIN_MS);
	vm_wake(vm, NULL);
}

static void on_sizes(void *arg, const struct err *err, json_t *parameters,
		     bool continues, const char *text, size_t bytes, int *fds,
		     unsigned n_fds)
{
	struct vm *vm = arg;

	if (err->code == -RP_EUNREACHABLE) {
		over(vm, err);
		return;
	}
	if (!err->code)
		vm_note_status(vm, json_object_get(parameters, "status"));
	vm->known = true;
	(void)vm_save(vm, NULL);
	log_info("the inventory of '%s' was made anew from its store",
		 vm->name);
	over(vm, NULL);
}

/* Does the store say what was defined, as far as that is still known? */
static int check_same(const struct inventory_entry *known,
		      const struct inventory_entry *said, struct err *err)
{
	bool same = guid_equal(&known->uuid, &said->uuid) &&
		    known->n_disks == said->n_disks &&
		    (strcmp(known->agent, said->agent) == 0 ||
		     (known->agent_changes &&
		      strcmp(known->agent_next, said->agent) == 0));

	if (known->n_disks == 0)
		return 0;
	for (unsigned i = 0; same && i < said->n_disks; i++) {
		const struct inventory_disk *d =
		    images_disk(known, said->disks[i].id);

		same = d && strcmp(d->path, said->disks[i].path) == 0;
	}
	return same
		   ? 0
		   : err_set(
			 err, -RP_ECORRUPT,
			 "the store has another uuid, agent or other "
			 "disks than were defined; if it is right, stop refpointd "
			 "and remove inventory/%s.json",
			 known->vm);
}

static void take_definition(struct vm *vm, struct inventory_entry *entry)
{
	(void)strcpy(entry->vm, vm->name);
	/* the store says nothing of these */
	entry->serve = vm->entry.serve || vm->serving;
	entry->points = vm->entry.points;
	for (unsigned i = 0; i < entry->n_disks; i++) {
		struct inventory_disk *d = &entry->disks[i];
		struct inventory_disk *old = images_disk(&vm->entry, d->id);

		if (!old || strcmp(old->path, d->path) != 0)
			continue;
		d->bytes = old->bytes;
		d->device = old->device;
		d->inode = old->inode;
	}
	inventory_entry_done(&vm->entry); /* the points are asked for, too */
	vm->entry = *entry;
	vm->points_serial++;
	vm->points_failure = (struct err){0};
}

static void on_definition(void *arg, const struct err *err, json_t *parameters,
			  bool continues, const char *text, size_t bytes,
			  int *fds, unsigned n_fds)
{
	struct vm *vm = vm_ref(arg);
	struct inventory_entry entry = {.vm = ""};
	struct err why = *err;

	vm->look = NULL;
	if (!why.code && (read_definition(parameters, &entry, &why) < 0 ||
			  check_same(&vm->entry, &entry, &why) < 0))
		inventory_entry_done(&entry);
	if (!why.code) {
		take_definition(vm, &entry);
		(void)link_call(vm->daemon, vm->name, "Status", json_object(),
				false, NULL, 0, LOOK_TIMEOUT_MS, on_sizes, vm,
				&vm->look, &why);
	}
	if (why.code)
		over(vm, &why);
	vm_unref(vm);
}

void vm_refresh(struct vm *vm)
{
	struct err err = {0};

	vm_refresh_begin(vm);
	if (link_call(vm->daemon, vm->name, "Definition", json_object(), false,
		      NULL, 0, LOOK_TIMEOUT_MS, on_definition, vm, &vm->look,
		      &err) < 0)
		over(vm, &err);
}
