/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Define and Undefine: all or nothing.
 *
 * A definition's steps: everything is checked; VM.defining is durable; the
 * directories; a worker, which writes the catalogue; VM.defining becomes
 * VM.json.  Whoever dies or fails on the way leaves VM.defining, by which the
 * rest is found and removed.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/agent.h"
#include "common/log.h"
#include "daemon/methods.h"
#include "daemon/remove.h"
#include "daemon/request.h"

#define INITIALIZE_MS 60000

struct definition {
	struct request *request;
	struct vm *vm; /* held; in the list and invisible */
	struct images images;
	uint64_t log_limit; /* 0: the default */
	struct err why;     /* it failed */
};

/* ---- Reading and checking --------------------------------------------------
 */

static int read_disk(struct inventory_entry *entry, json_t *json,
		     struct err *err)
{
	const char *id = NULL, *path = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, 0, &id, NULL},
	    {"path", RPC_STRING, true, PATH_BYTES, &path, NULL},
	    {0}};
	int r;

	if (rpc_read_fields(json, fields, err) < 0)
		return err_wrap(err, "'disks'");
	if (!name_is_valid(id, DISK_ID_BYTES))
		return err_set(
		    err, -RP_EPARAM,
		    "'%.64s' is no name for a disk: letters, digits, "
		    "'.', '_' and '-', at most %d, a letter or digit "
		    "first",
		    id, DISK_ID_BYTES - 1);
	if (images_disk(entry, id))
		return err_set(err, -RP_EPARAM, "two disks are called '%s'",
			       id);
	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return err_set(err, -RP_EPARAM,
				       "disk '%s': control characters in its "
				       "path",
				       id);
	if (path[0] != '/')
		return err_set(err, -RP_EPARAM,
			       "disk '%s': the path '%s' does not begin with "
			       "'/'",
			       id, path);
	r = inventory_add_disk(entry, id, path, 0);
	return r < 0 ? err_set(err, r, "disk '%s'", id) : 0;
}

static int read_disks(struct inventory_entry *entry, json_t *disks,
		      struct err *err)
{
	size_t n = json_array_size(disks);
	int r = 0;

	if (n == 0)
		return err_set(err, -RP_EPARAM, "a VM has at least one disk");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_disk(entry, json_array_get(disks, i), err);
	return r;
}

static int read_parameters(json_t *parameters, struct inventory_entry *entry,
			   uint64_t *ret_log_limit, struct err *err)
{
	const char *uuid = NULL, *owner = "", *agent = "";
	uint64_t hot = 0, max = 0;
	json_t *disks = NULL;
	const struct rpc_field fields[] = {
	    {"uuid", RPC_STRING, false, 64, &uuid, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {"force_raw", RPC_BOOL, false, 0, &entry->force_raw, NULL},
	    {"owner", RPC_STRING, false, 64, &owner, NULL},
	    {"hot_regions", RPC_UINT, false, 0, &hot, NULL},
	    {"max_points", RPC_UINT, false, 0, &max, NULL},
	    {"agent", RPC_STRING, false, AGENT_BYTES, &agent, NULL},
	    {"log_limit", RPC_UINT, false, 0, ret_log_limit, NULL},
	    {0}};
	int r = rpc_read_fields(parameters, fields, err);

	if (r < 0)
		return r;
	entry->uuid = guid_random();
	if (uuid && !guid_parse(uuid, &entry->uuid))
		return err_set(err, -RP_EPARAM, "'uuid': '%s' is none", uuid);
	entry->owner_refpoint = strcmp(owner, "refpoint") == 0;
	if (owner[0] && !entry->owner_refpoint)
		return err_set(err, -RP_EPARAM,
			       "'owner': only 'refpoint' or nothing");
	if (hot && (hot < HOT_REGIONS_MIN || hot > HOT_REGIONS_MAX))
		return err_set(err, -RP_EPARAM,
			       "'hot_regions' lies between %d and %d",
			       HOT_REGIONS_MIN, HOT_REGIONS_MAX);
	if (max > POINTS_PER_VM_MAX)
		return err_set(err, -RP_EPARAM, "'max_points' is at most %d",
			       POINTS_PER_VM_MAX);
	r = agent_check(agent, err);
	if (r < 0)
		return r;
	(void)strcpy(entry->agent, agent);
	entry->hot_regions = hot ? (unsigned)hot : HOT_REGIONS_DEFAULT;
	entry->max_points = max ? (unsigned)max : POINTS_PER_VM_MAX;
	return read_disks(entry, disks, err);
}

static int check_names(struct daemon *daemon,
		       const struct inventory_entry *entry, struct err *err)
{
	char path[PATH_BYTES];
	struct stat st;

	if (daemon->n_vms >= VMS_MAX)
		return err_set(err, -RP_ELIMIT, "there are %d VMs already",
			       VMS_MAX);
	for (struct vm *vm = daemon->vms; vm; vm = vm->next)
		if (strcmp(vm->name, entry->vm) == 0)
			return err_set(err, -RP_EALREADY,
				       "there is a VM '%s' already", vm->name);
		else if (guid_equal(&vm->entry.uuid, &entry->uuid))
			return err_set(err, -RP_EALREADY,
				       "VM '%s' has that uuid", vm->name);
	paths_store(&daemon->paths, entry->vm, path);
	if (lstat(path, &st) == 0)
		return err_set(err, -RP_EALREADY,
			       "'%s' is there already and not ours", path);
	paths_vm_run(&daemon->paths, entry->vm, "control.sock", path);
	if (strlen(path) > 107)
		return err_set(err, -RP_EPARAM,
			       "'%s' is too long for a socket's name: choose a "
			       "shorter root or name",
			       path);
	return 0;
}

static int take_descriptors(struct rpc_call *call, unsigned n, int *fds,
			    struct err *err)
{
	for (unsigned i = 0; i < n; i++)
		fds[i] = rpc_call_take_fd(call, i);
	if (fds[n - 1] >= 0)
		return 0;
	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
	return err_set(err, -RP_EDENIED,
		       "a definition comes with an open descriptor of each "
		       "disk");
}

/* ---- The end of it, either way ----------------------------------------------
 */

static void definition_free(struct definition *def)
{
	images_close(&def->images);
	vm_unref(def->vm);
	free(def);
}

static void on_undone(void *arg)
{
	struct definition *def = arg;
	struct request *request = def->request;
	struct vm *vm = def->vm;
	struct err why = def->why, err = {0};

	if (remove_vm(vm->daemon, vm->name, &err) < 0 ||
	    inventory_remove(vm->daemon->inventory, vm->name, true, &err) < 0)
		log_error("the rest of '%s': %s", vm->name, err.text);
	vm_drop(vm);
	definition_free(def);
	request_fail(request, &why);
}

static void undo(struct definition *def, const struct err *why)
{
	def->why = *why;
	vm_end_worker(def->vm, true, on_undone, def);
}

static void succeed(struct definition *def)
{
	struct request *request = def->request;
	struct vm *vm = def->vm;
	char uuid[GUID_TEXT_BYTES];

	vm->defining = false;
	vm->known = true;
	vm->entry.point.known = true; /* there are none */
	(void)vm_save(vm, NULL);
	guid_format(&vm->entry.uuid, uuid);
	log_info("defined '%s' uuid=%s disks=%u", vm->name, uuid,
		 vm->entry.n_disks);
	definition_free(def);
	request_reply(request, json_pack("{s:s, s:s}", "vm", request->vm_name,
					 "uuid", uuid));
}

/* ---- The steps
 * --------------------------------------------------------------- */

static void on_initialized(void *arg, const struct err *why, json_t *parameters,
			   bool continues, const char *text, size_t bytes,
			   int *fds, unsigned n_fds)
{
	struct definition *def = arg;
	struct vm *vm = def->vm;
	struct err err = *why;

	if (!err.code)
		(void)inventory_commit(vm->daemon->inventory, vm->name, &err);
	if (err.code)
		undo(def, &err);
	else
		succeed(def);
}

static json_t *initialize_parameters(const struct definition *def)
{
	const struct inventory_entry *entry = &def->vm->entry;
	json_t *disks = json_array(), *sizes = json_array();
	char uuid[GUID_TEXT_BYTES];

	guid_format(&entry->uuid, uuid);
	for (unsigned i = 0; i < entry->n_disks; i++) {
		const struct inventory_disk *d = &entry->disks[i];

		(void)json_array_append_new(disks,
					    json_pack("{s:s, s:s}", "id", d->id,
						      "path", d->path));
		(void)json_array_append_new(sizes,
					    json_integer((json_int_t)d->bytes));
	}
	return json_pack("{s:s, s:o, s:o, s:s, s:b, s:i, s:i, s:s, s:I}",
			 "uuid", uuid, "disks", disks, "sizes", sizes, "owner",
			 entry->owner_refpoint ? "refpoint" : "", "force_raw",
			 entry->force_raw, "hot_regions",
			 (int)entry->hot_regions, "max_points",
			 (int)entry->max_points, "agent", entry->agent,
			 "log_limit", (json_int_t)def->log_limit);
}

static void on_ready(void *arg, const struct err *why)
{
	struct definition *def = arg;
	struct vm *vm = def->vm;
	struct err err = *why;

	if (!err.code)
		(void)link_call(vm->daemon, vm->name, "Initialize",
				initialize_parameters(def), false,
				def->images.fds, def->images.n, INITIALIZE_MS,
				on_initialized, def, NULL, &err);
	images_close(&def->images);
	if (err.code)
		undo(def, &err);
}

static void on_proved(void *arg, struct images *images, const struct err *why)
{
	struct definition *def = arg;
	struct vm *vm = def->vm;
	struct err err = *why;

	if (!err.code) {
		images_move(images, &def->images);
		images_note(&def->images, &vm->entry, NULL);
		(void)inventory_save(vm->daemon->inventory, &vm->entry, true,
				     &err);
	}
	if (!err.code)
		(void)vm_prepare(vm, false, &err);
	if (err.code)
		undo(def, &err);
	else
		vm_when_ready(vm, on_ready, def);
}

static int begin(struct request *request, struct inventory_entry *entry,
		 uint64_t log_limit, struct err *err)
{
	struct daemon *daemon = request->daemon;
	struct definition *def = calloc(1, sizeof(*def));
	int fds[DISKS_PER_VM_MAX], r = -ENOMEM;

	if (def)
		r = take_descriptors(request->call, entry->n_disks, fds, err);
	if (r < 0) {
		free(def);
		return r;
	}
	r = vm_new(daemon, entry->vm, &def->vm);
	if (r == 0) {
		def->request = request;
		def->log_limit = log_limit;
		vm_ref(def->vm);
		def->vm->defining = true;
		def->vm->entry = *entry;
		*entry = (struct inventory_entry){.vm = ""};
		r = images_prove(daemon, &def->vm->entry, fds, on_proved, def,
				 err);
		if (r == 0)
			return 0;
		vm_drop(def->vm);
		definition_free(def);
		return r;
	}
	for (unsigned i = 0; i < entry->n_disks; i++)
		(void)close(fds[i]);
	free(def);
	return r;
}

void define_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct request *request = request_new(arg, call, parameters, true);
	struct inventory_entry entry = {.vm = ""};
	uint64_t log_limit = 0;
	struct err err = {0};
	int r;

	if (!request)
		return;
	(void)strcpy(entry.vm, request->vm_name);
	r = read_parameters(request->parameters, &entry, &log_limit, &err);
	if (r == 0)
		r = check_names(arg, &entry, &err);
	if (r == 0)
		r = images_check_unique(arg, &entry, &err);
	if (r == 0)
		r = begin(request, &entry, log_limit, &err);
	inventory_entry_done(&entry);
	if (r < 0) {
		if (!err.code)
			err_set(&err, r, "define '%s'", request->vm_name);
		request_fail(request, &err);
	}
}

/* ---- Undefine
 * ----------------------------------------------------------------- */

static void on_ended(void *arg)
{
	struct request *request = arg;
	struct daemon *daemon = request->daemon;
	struct vm *vm = request->vm;
	struct err err = {0};

	if (remove_vm(daemon, vm->name, &err) < 0 ||
	    inventory_remove(daemon->inventory, vm->name, false, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	vm_drop(vm);
	request_reply(request, NULL);
}

void undefine_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct request *request = request_new(arg, call, parameters, true);
	const struct rpc_field none[] = {{0}};
	struct err err = {0};
	struct vm *vm;

	if (!request || !request_find_vm(request))
		return;
	vm = request->vm;
	if (rpc_read_fields(request->parameters, none, &err) == 0 &&
	    (vm->entry.serve || vm->serving))
		err_set(&err, -RP_ESTATE,
			"'%s' is served: withdraw it first (unserve)",
			vm->name);
	if (err.code)
		request_fail(request, &err);
	else
		vm_end_worker(vm, false, on_ended, request);
}

/* ---- At start
 * ------------------------------------------------------------------ */

/* Before the loop runs, so it may wait. */
static void end_rest(struct daemon *daemon, const char *name)
{
	struct process process;
	struct pollfd p = {.events = POLLIN};

	process_find(daemon, name, &process);
	if (process.pidfd >= 0) {
		process_kill(daemon, name, &process);
		p.fd = process.pidfd;
		(void)poll(&p, 1, LOOK_TIMEOUT_MS);
	}
	process_done(daemon, name, &process);
}

static int clean_one(void *arg, const char *name, bool pending)
{
	struct daemon *daemon = arg;
	struct err err = {0};

	if (!pending)
		return 0;
	log_warning("a definition of '%s' was cut short, removing its rest",
		    name);
	end_rest(daemon, name);
	if (remove_vm(daemon, name, &err) < 0 ||
	    inventory_remove(daemon->inventory, name, true, &err) < 0)
		log_error("%s", err.text);
	return 0;
}

void define_clean_up(struct daemon *daemon)
{
	struct err err = {0};

	if (inventory_each(daemon->inventory, clean_one, daemon, &err) < 0)
		log_error("%s", err.text);
	remove_rests(daemon);
}
