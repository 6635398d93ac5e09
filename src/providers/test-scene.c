/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/test-scene.h"

#include <ctype.h>

struct scene *scene;

/* ---- refpointd ----------------------------------------------------------- */

#define POINTS_PER_REPLY 2u

static const char systems_text[] =
    "[{'vm': 'alpha', 'uuid': '0a1b2c3d-0000-4000-8000-00000000000a',"
    "  'state': 'serving', 'connected': true, 'worker_pid': 4242,"
    "  'disks': [{'id': 'vda', 'path': '/images/a \\u00e9.raw',"
    "             'size': 8589934592},"
    "            {'id': 'vdb', 'path': '/images/b.raw', 'size': 0}],"
    "  'points': ["
    "    {'id': 'fedc0000-0000-4000-8000-000000000001', 'type': 'rct',"
    "     'consistency': 'crash', 'label': '',"
    "     'created': '2026-01-02T03:04:05.000000001Z', 'disks': ["
    "       {'id': 'vda', 'tracking_id': 'rctX:1a'},"
    "       {'id': 'vdb', 'tracking_id': 'rctX:1b'}]},"
    "    {'id': 'fedc0000-0000-4000-8000-000000000002', 'type': 'rct',"
    "     'consistency': 'application', 'label': 'nightly',"
    "     'created': '2026-01-03T03:04:05.000000001Z', 'disks': ["
    "       {'id': 'vdb', 'tracking_id': 'rctX:2b'},"
    "       {'id': 'vdz', 'tracking_id': 'rctX:2z'}]},"
    "    {'id': 'fedc0000-0000-4000-8000-000000000003', 'type': 'log',"
    "     'consistency': 'crash', 'label': '', 'log': {'state': 'open',"
    "     'reason': '', 'bytes': 4096, 'parts': 1},"
    "     'created': '2026-01-04T03:04:05.000000001Z', 'disks': ["
    "       {'id': 'vda', 'tracking_id': 'rctX:3a'},"
    "       {'id': 'vdb', 'tracking_id': 'rctX:3b'}]}]},"
    " {'vm': 'beta', 'uuid': '0a1b2c3d-0000-4000-8000-00000000000b',"
    "  'state': 'failed', 'connected': false, 'worker_pid': null,"
    "  'disks': [{'id': 'sda', 'path': '/dev/beta', 'size': 1048576}],"
    "  'points': []},"
    " {'vm': 'gamma', 'uuid': '0a1b2c3d-0000-4000-8000-00000000000c',"
    "  'state': 'serving', 'connected': false, 'worker_pid': 77,"
    "  'disks': [{'id': 'vda', 'path': '/images/c.raw', 'size': 512}],"
    "  'points': []}]";

static void add_points_of_gamma(json_t *systems)
{
	json_t *points = json_object_get(json_array_get(systems, 2), "points");
	char id[64];

	for (int i = 11; i <= 15; i++) {
		(void)snprintf(id, sizeof(id),
			       "fedc0000-0000-4000-8000-0000000000%d", i);
		(void)json_array_append_new(
		    points,
		    json_pack("{s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s}]}", "id",
			      id, "type", "rct", "consistency", "crash",
			      "label", "", "created", "2026-01-02T03:04:05Z",
			      "disks", "id", "vda", "tracking_id", "rctX:c"));
	}
}

static json_t *make_systems(void)
{
	char *text = strdup(systems_text);
	json_t *systems;

	assert_non_null(text);
	for (char *p = text; (p = strchr(p, '\'')); p++)
		*p = '"';
	systems = json_loads(text, 0, NULL);
	assert_non_null(systems);
	add_points_of_gamma(systems);
	free(text);
	return systems;
}

/* The system with its points from FIRST, as many as fit. */
static json_t *cut(const json_t *system, size_t first, bool points)
{
	const json_t *all = json_object_get(system, "points");
	json_t *copy = json_deep_copy(system), *some = json_array();

	for (size_t i = first;
	     points && i < json_array_size(all) && i < first + POINTS_PER_REPLY;
	     i++)
		(void)json_array_append(some, json_array_get(all, i));
	(void)json_object_set_new(copy, "points", some);
	if (!points && !scene->asked_snapshots)
		(void)json_object_set_new(copy, "snapshots", json_array());
	return copy;
}

static void tell_system(struct rpc_call *call, const json_t *system,
			bool points)
{
	size_t n = json_array_size(json_object_get(system, "points"));
	size_t i = 0;

	do {
		rpc_reply_continues(call, json_pack("{s:[o]}", "systems",
						    cut(system, i, points)));
		i += POINTS_PER_REPLY;
	} while (points && i < n);
}

static bool is_asked(const json_t *system)
{
	const char *uuid = json_string_value(json_object_get(system, "uuid"));

	return !*scene->asked_uuid || strcmp(uuid, scene->asked_uuid) == 0;
}

static void do_systems(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *uuid =
	    json_string_value(json_object_get(parameters, "uuid"));
	json_t *system;
	size_t i;

	scene->asked++;
	(void)snprintf(scene->asked_uuid, sizeof(scene->asked_uuid), "%s",
		       uuid ? uuid : "");
	scene->asked_points =
	    json_is_true(json_object_get(parameters, "points"));
	scene->asked_snapshots =
	    json_is_true(json_object_get(parameters, "snapshots"));
	if (scene->raw) {
		rpc_reply(call, json_loads(scene->raw, 0, NULL));
		return;
	}
	json_array_foreach(scene->systems, i, system) if (is_asked(system))
	    tell_system(call, system, scene->asked_points);
	rpc_reply(call, json_pack("{s:[]}", "systems"));
}

static void do_destroy(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *vm = NULL, *point = NULL, *name = NULL;
	struct err err = {0};

	(void)json_unpack(parameters, "{s:s, s:s, s:{s:s}}", "vm", &vm, "point",
			  &point, "caller", "name", &name);
	(void)snprintf(scene->destroyed, sizeof(scene->destroyed), "%s %s %s",
		       vm, point, name);
	if (vm && strcmp(vm, "gamma") == 0) {
		(void)err_set(&err, -RP_EINUSE, "a query reads it");
		rpc_fail(call, &err);
	} else {
		rpc_reply(call, NULL);
	}
}

static const struct rpc_method methods[] = {
    {"org.refpoint.Systems", RPC_ROLE_GATEWAY, do_systems},
    {"org.refpoint.Destroy", RPC_ROLE_GATEWAY, do_destroy},
    {"org.refpoint.CreateJob", RPC_ROLE_GATEWAY, do_create_job},
    {"org.refpoint.DestroyJob", RPC_ROLE_GATEWAY, do_destroy_job},
    {"org.refpoint.SnapshotJob", RPC_ROLE_GATEWAY, do_snapshot_job},
    {"org.refpoint.ConvertJob", RPC_ROLE_GATEWAY, do_convert_job},
    {"org.refpoint.DropJob", RPC_ROLE_GATEWAY, do_drop_job},
    {"org.refpoint.DropLogJob", RPC_ROLE_GATEWAY, do_drop_log_job},
    {"org.refpoint.ImportJob", RPC_ROLE_GATEWAY, do_import_job},
    {"org.refpoint.Export", RPC_ROLE_GATEWAY, do_export},
    {"org.refpoint.ExportJob", RPC_ROLE_GATEWAY, do_export_job},
    {"org.refpoint.ExportDone", RPC_ROLE_GATEWAY, do_export_done},
    {"org.refpoint.Rename", RPC_ROLE_GATEWAY, do_rename},
    {"org.refpoint.Jobs", RPC_ROLE_GATEWAY, do_jobs},
    {"org.refpoint.CancelJob", RPC_ROLE_GATEWAY, do_cancel_job},
    {"org.refpoint.Changes", RPC_ROLE_GATEWAY, do_changes},
    {0}};

/* ---- the broker -----------------------------------------------------------
 */

int scene_set_up(void **state)
{
	const struct cim_provider *list[VIRTUAL_PROVIDERS + JOB_PROVIDERS];
	struct err err = {0};
	size_t n = 0;

	scene = calloc(1, sizeof(*scene));
	assert_non_null(scene);
	scene->systems = make_systems();
	for (size_t i = 0; i < VIRTUAL_PROVIDERS; i++)
		list[n++] = &virtual_providers[i];
	for (size_t i = 0; i < JOB_PROVIDERS; i++)
		list[n++] = &job_providers[i];
	strcpy(scene->providers.host.name, "hv");
	if (paths_init(&scene->providers.paths, "/srv", &err) < 0)
		fail_msg("%s", err.text);
	scene->fake = fake_new(methods, NULL, &scene->providers.backend);
	scene->request =
	    (struct cim_request){.arena = arena_new(CIM_REQUEST_MEMORY),
				 .caller = "somebody",
				 .role = CIM_ROLE_OPERATOR,
				 .host = "hv.example",
				 .ns = "root/virtualization/v2"};
	if (broker_new(list, n, &scene->providers, &scene->broker, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

int scene_tear_down(void **state)
{
	scene->fake = fake_free(scene->fake);
	scene->broker = broker_free(scene->broker);
	arena_free(scene->request.arena);
	json_decref(scene->systems);
	json_decref(scene->work.jobs);
	free(scene);
	return 0;
}

/* ---- asking ----------------------------------------------------------------
 */

static int take(void *arg, const struct cim_instance *instance, struct err *err)
{
	struct told *t = arg;

	assert_true(t->count < ARRAY_SIZE(t->list));
	return cim_instance_copy(scene->request.arena, instance,
				 &t->list[t->count++], err);
}

int try_enumerate(const char *class_name, struct err *err)
{
	struct told t = {0};

	return broker_enumerate(scene->broker, &scene->request, class_name,
				take, &t, err);
}

struct told enumerated(const char *class_name)
{
	struct told t = {0};
	struct err err = {0};

	if (broker_enumerate(scene->broker, &scene->request, class_name, take,
			     &t, &err) < 0)
		fail_msg("%s: %s", class_name, err.text);
	return t;
}

struct told queried(const char *text)
{
	struct wql_query *query = NULL;
	struct told t = {0};
	struct err err = {0};

	if (wql_parse(scene->request.arena, text, &query, &err) < 0 ||
	    broker_query(scene->broker, &scene->request, query, take, &t,
			 &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return t;
}

const struct cim_path *parsed(const char *path)
{
	const struct cim_path *parsed = NULL;
	struct err err = {0};

	if (cim_path_parse(scene->request.arena, path, &parsed, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	return parsed;
}

struct told walked(const char *path, const struct cim_walk *walk)
{
	struct told t = {0};
	struct err err = {0};

	if (broker_walk(scene->broker, &scene->request, parsed(path), walk,
			take, &t, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	return t;
}

const struct cim_instance *got(const char *path)
{
	const struct cim_instance *instance = NULL;
	struct err err = {0};
	int r = broker_get(scene->broker, &scene->request, parsed(path),
			   &instance, &err);

	if (r < 0 && r != -CIM_ENOTFOUND)
		fail_msg("%s: %s", path, err.text);
	return r < 0 ? NULL : instance;
}

/* ---- looking ----------------------------------------------------------------
 */

const char *text_of(const struct cim_instance *instance, const char *name)
{
	const char *text = cim_instance_text(instance, name);

	return text ? text : "(none)";
}

uint64_t number_of(const struct cim_instance *instance, const char *name)
{
	const struct cim_value *value = cim_instance_get(instance, name);

	if (value->array)
		return value->count == 1 ? value->items[0].uint : UINT64_MAX;
	return cim_number(value, UINT64_MAX);
}

const char *item_of(const struct cim_instance *instance, const char *name,
		    uint32_t n)
{
	const struct cim_value *value = cim_instance_get(instance, name);

	assert_true(value->array);
	return n < value->count ? value->items[n].text : "(none)";
}

/* The path as text, in lower case but for what its class keeps as it is. */
static char *lower(const struct cim_path *path)
{
	const char *text = NULL;
	char *copy;

	assert_int_equal(
	    cim_path_format(scene->request.arena, path, &text, NULL), 0);
	copy = arena_strdup(scene->request.arena, text);
	assert_non_null(copy);
	for (char *p = copy; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return copy;
}

static void assert_got(const struct cim_instance *instance,
		       const struct cim_path *path)
{
	const struct cim_instance *again = NULL;
	const char *text = "?";
	struct err err = {0};

	(void)cim_path_format(scene->request.arena, path, &text, NULL);
	if (broker_get(scene->broker, &scene->request, path, &again, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	assert_ptr_equal(again->class, instance->class);
	assert_true(cim_path_equal(again->path, instance->path));
	for (uint32_t i = 0; i < again->class->property_count; i++)
		if (!cim_value_equal(&again->values[i], &instance->values[i]))
			fail_msg("%s: %s differs", text,
				 again->class->properties[i]->name);
}

void assert_sound(const struct told *told)
{
	for (size_t n = 0; n < told->count; n++) {
		const struct cim_instance *i = told->list[n];

		for (uint32_t p = 0; p < i->class->property_count; p++)
			if (!cim_value_fits(&i->values[p],
					    &i->class->properties[p]->type))
				fail_msg("%s.%s is of another type",
					 i->class->name,
					 i->class->properties[p]->name);
		assert_got(i, i->path);
		assert_got(i, parsed(lower(i->path)));
	}
}
