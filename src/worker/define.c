/* SPDX-License-Identifier: Apache-2.0 */
/* Initialize makes the store of a new virtual system; Definition reads it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/agent.h"
#include "common/log.h"
#include "worker/request.h"

struct definition {
	struct vm_definition vm;
	char agent[AGENT_BYTES];
	uint64_t log_limit;
	struct vm_disk_definition disks[];
};

void definition_free(struct definition *definition)
{
	free(definition);
}

static int read_disk(json_t *json, json_t *size, struct vm_disk_definition *d,
		     struct err *err)
{
	const char *id = NULL, *path = NULL;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, DISK_ID_BYTES, &id, NULL},
	    {"path", RPC_STRING, true, PATH_BYTES, &path, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r == 0 && !name_is_valid(id, DISK_ID_BYTES))
		r = err_set(err, -RP_EPARAM, "'%s' is no name for a disk", id);
	if (r == 0 && (!json_is_integer(size) || json_integer_value(size) <= 0))
		r = err_set(err, -RP_EPARAM, "the size of disk '%s'", id);
	if (r < 0)
		return r;
	(void)strcpy(d->id, id);
	(void)strcpy(d->path, path);
	d->bytes = (uint64_t)json_integer_value(size);
	return 0;
}

static int read_disks(struct request *request, json_t *disks, json_t *sizes,
		      struct err *err)
{
	size_t n = json_array_size(disks);
	struct definition *d;
	int r = 0;

	if (n == 0 || json_array_size(sizes) != n || request->n_fds != n)
		return err_set(err, -RP_EPARAM,
			       "%zu disks, %zu sizes, %u descriptors", n,
			       json_array_size(sizes), request->n_fds);
	d = calloc(1, sizeof(*d) + n * sizeof(d->disks[0]));
	if (!d)
		return err_set(err, -ENOMEM, "definition");
	request->definition = d;
	d->vm.count = (uint32_t)n;
	d->vm.disks = d->disks;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_disk(json_array_get(disks, i),
			      json_array_get(sizes, i), &d->disks[i], err);
	return r;
}

int read_initialize(struct request *request, json_t *parameters,
		    struct err *err)
{
	const char *uuid = NULL, *owner = "", *agent = "";
	uint64_t hot = 0, max = 0, log_limit = 0;
	bool force_raw = false;
	json_t *disks = NULL, *sizes = NULL;
	const struct rpc_field fields[] = {
	    {"uuid", RPC_STRING, true, GUID_TEXT_BYTES, &uuid, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {"sizes", RPC_ARRAY, true, DISKS_PER_VM_MAX, &sizes, NULL},
	    {"owner", RPC_STRING, false, 16, &owner, NULL},
	    {"force_raw", RPC_BOOL, false, 0, &force_raw, NULL},
	    {"hot_regions", RPC_UINT, false, 0, &hot, NULL},
	    {"max_points", RPC_UINT, false, 0, &max, NULL},
	    {"agent", RPC_STRING, false, AGENT_BYTES, &agent, NULL},
	    {"log_limit", RPC_UINT, false, 0, &log_limit, NULL},
	    {0}};
	struct guid id;
	int r = rpc_read_fields(parameters, fields, err);

	if (r == 0 && !guid_parse(uuid, &id))
		r = err_set(err, -RP_EPARAM, "'uuid' is no UUID");
	if (r == 0 && *owner && strcmp(owner, "refpoint") != 0)
		r = err_set(err, -RP_EPARAM,
			    "'owner' is 'refpoint' or nothing");
	if (r == 0 &&
	    ((hot && (hot < HOT_REGIONS_MIN || hot > HOT_REGIONS_MAX)) ||
	     max > POINTS_PER_VM_MAX))
		r = err_set(err, -RP_EPARAM,
			    "'hot_regions' is from %u to %u, 'max_points' up "
			    "to %u",
			    HOT_REGIONS_MIN, HOT_REGIONS_MAX,
			    POINTS_PER_VM_MAX);
	if (r == 0)
		r = agent_check(agent, err);
	if (r == 0)
		r = read_disks(request, disks, sizes, err);
	if (r == 0)
		r = log_limit_check(log_limit, request->definition->vm.count,
				    err);
	if (r < 0)
		return r;
	(void)strcpy(request->definition->agent, agent);
	request->definition->vm.agent = request->definition->agent;
	request->definition->log_limit = log_limit;
	request->definition->vm.uuid = id;
	request->definition->vm.owned = *owner != '\0';
	request->definition->vm.force_raw = force_raw;
	request->definition->vm.hot_regions = (uint32_t)hot;
	request->definition->vm.points_max = (uint32_t)max;
	return 0;
}

/* The images are what refpointd took them for. */
static int check_images(const struct request *request, struct err *err)
{
	const struct vm_definition *d = &request->definition->vm;

	for (uint32_t i = 0; i < d->count; i++) {
		struct image_geometry geometry;
		int r = image_probe(request->fds[i], d->disks[i].path,
				    &geometry, err);

		if (r == 0 && geometry.bytes != d->disks[i].bytes)
			r = err_set(err, -RP_EPARAM,
				    "'%s' has %" PRIu64 " bytes, not %" PRIu64,
				    d->disks[i].path, geometry.bytes,
				    d->disks[i].bytes);
		if (r < 0)
			return r;
	}
	return 0;
}

int run_initialize(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	int r = 0;

	if (worker->vm)
		return err_set(err, -RP_EALREADY, "'%s' is defined already",
			       worker->name);
	r = check_images(request, err);
	if (r == 0)
		r = vm_define(&worker->env, &request->definition->vm, err);
	if (r == 0)
		r = worker_open_store(worker, err);
	if (r == 0 && request->definition->log_limit)
		r = logs_set_limit(worker->logs, request->definition->log_limit,
				   err);
	if (r == 0)
		log_info("defined disks=%u", vm_disk_count(worker->vm));
	return r;
}

int run_definition(struct request *request, struct err *err)
{
	struct vm *vm = request->worker->vm;
	const struct system_row *system;
	json_t *disks;
	char uuid[GUID_TEXT_BYTES], agent[AGENT_BYTES];
	int r = worker_check_defined(request->worker, err);

	if (r < 0)
		return r;
	vm_agent(vm, agent);
	system = vm_system(vm);
	disks = json_array();
	for (uint32_t i = 0; i < vm_disk_count(vm); i++)
		(void)json_array_append_new(
		    disks, json_pack("{s:s, s:s}", "id", vm_disk(vm, i)->id,
				     "path", vm_disk(vm, i)->path));
	guid_format(&system->uuid, uuid);
	request->reply =
	    json_pack("{s:s, s:o, s:s, s:b, s:i, s:i, s:s}", "uuid", uuid,
		      "disks", disks, "owner", system->owned ? "refpoint" : "",
		      "force_raw", system->force_raw, "hot_regions",
		      (int)system->hot_regions, "max_points",
		      (int)system->points_max, "agent", agent);
	return 0;
}

int read_set_agent(struct request *request, json_t *parameters, struct err *err)
{
	const char *agent = NULL;
	const struct rpc_field fields[] = {
	    {"agent", RPC_STRING, true, AGENT_BYTES, &agent, NULL}, {0}};
	int r = rpc_read_fields(parameters, fields, err);

	if (r == 0)
		r = agent_check(agent, err);
	if (r == 0)
		(void)strcpy(request->agent, agent);
	return r;
}

int run_set_agent(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	if (r == 0)
		r = vm_set_agent(request->worker->vm, request->agent, err);
	if (r < 0)
		worker_read_anew(request->worker);
	return r;
}
