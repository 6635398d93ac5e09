/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/test-work.h"

#include <strings.h>
#include <unistd.h>

#include "cim/codec.h"
#include "providers/test-scene.h"

#define WORK (&scene->work)

/* Without who calls. */
static void put(char *to, size_t bytes, const char *method,
		const json_t *parameters)
{
	json_t *own = json_copy((json_t *)parameters);
	char *text;

	(void)json_object_del(own, "caller");
	text = json_dumps(own, JSON_SORT_KEYS);
	assert_non_null(text);
	(void)snprintf(to, bytes, "%s%s", method, text);
	free(text);
	json_decref(own);
}

static void note(const struct rpc_call *call, const json_t *parameters)
{
	char method[64];

	(void)snprintf(method, sizeof(method), "%s ",
		       strrchr(rpc_call_method(call), '.') + 1);
	put(WORK->asked, sizeof(WORK->asked), method, parameters);
}

static void refuse(struct rpc_call *call, int code)
{
	struct err err = {0};

	(void)err_set(&err, -code, "the fake refuses it");
	rpc_fail(call, &err);
}

static json_t *find_vm(const char *vm)
{
	json_t *system;
	size_t i;

	json_array_foreach(
	    scene->systems, i,
	    system) if (strcmp(json_string_value(json_object_get(system, "vm")),
			       vm) == 0) return system;
	return NULL;
}

/* ---- jobs -----------------------------------------------------------------
 */

static void set(json_t *job, const char *name, const char *text)
{
	(void)json_object_set_new(job, name, json_string(text));
}

static void add_point(const json_t *job)
{
	json_t *system = find_vm(json_string_value(json_object_get(job, "vm")));

	(void)json_array_append_new(
	    json_object_get(system, "points"),
	    json_pack("{s:O, s:s, s:s, s:s, s:s, s:[]}", "id",
		      json_object_get(job, "point"), "type", "rct",
		      "consistency", "crash", "label", "", "created",
		      "2026-01-05T00:00:00Z", "disks"));
}

static void drop_log(const json_t *job)
{
	json_t *system = find_vm(json_string_value(json_object_get(job, "vm")));
	const char *id = json_string_value(json_object_get(job, "point"));
	json_t *point;
	size_t i;

	json_array_foreach(json_object_get(system, "points"), i, point)
	{
		json_t *log = json_object_get(point, "log");

		if (strcasecmp(json_string_value(json_object_get(point, "id")),
			       id) != 0)
			continue;
		set(log, "state", "gone");
		set(log, "reason", "removed by request");
	}
}

/* ---- snapshots ------------------------------------------------------------
 */

static json_t *snapshots_of(const json_t *job)
{
	json_t *system = find_vm(json_string_value(json_object_get(job, "vm")));

	if (!json_object_get(system, "snapshots"))
		(void)json_object_set_new(system, "snapshots", json_array());
	return json_object_get(system, "snapshots");
}

/* Of the system's disks, each read by a socket of the snapshot's own. */
static json_t *snapshot_disks(const json_t *system, const char *id)
{
	json_t *disks = json_array(), *disk;
	char uri[160], tracking[80];
	size_t i;

	json_array_foreach(json_object_get(system, "disks"), i, disk)
	{
		const char *name =
		    json_string_value(json_object_get(disk, "id"));

		(void)snprintf(uri, sizeof(uri),
			       "nbd+unix:///%s?socket=/run/%s.sock", name, id);
		(void)snprintf(tracking, sizeof(tracking), "rctX:%s:%s", name,
			       id);
		(void)json_array_append_new(
		    disks, json_pack("{s:s, s:i, s:s, s:s, s:i}", "id", name,
				     "size", 1 << 30, "tracking_id", tracking,
				     "nbd_uri", uri, "scratch_bytes", 0));
	}
	return disks;
}

static void add_snapshot(json_t *job, const char *id)
{
	const json_t *system =
	    find_vm(json_string_value(json_object_get(job, "vm")));

	set(job, "snapshot", id);
	(void)json_array_append_new(
	    snapshots_of(job),
	    json_pack("{s:s, s:O, s:s, s:s, s:s, s:s, s:s, s:i, s:o}", "id", id,
		      "vm", json_object_get(system, "vm"), "consistency",
		      strstr(WORK->asked, "application") ? "application"
							 : "crash",
		      "label", "", "created", "2026-01-05T00:00:00.000000001Z",
		      "state", "valid", "reason", "", "limit_bytes", 0, "disks",
		      snapshot_disks(system, id)));
}

static void remove_snapshot(const json_t *job)
{
	const char *id = json_string_value(json_object_get(job, "snapshot"));
	json_t *list = snapshots_of(job), *snapshot;
	size_t i;

	json_array_foreach(list, i, snapshot)
	{
		const char *its =
		    json_string_value(json_object_get(snapshot, "id"));

		if (strcasecmp(its, id) == 0) {
			(void)json_array_remove(list, i);
			return;
		}
	}
}

/* ---- their ends ------------------------------------------------------------
 */

static bool is_method(const json_t *job, const char *method)
{
	return strcmp(json_string_value(json_object_get(job, "method")),
		      method) == 0;
}

static void end(json_t *job)
{
	char id[64];

	set(job, "state", WORK->fail ? "failed" : "completed");
	(void)json_object_set_new(job, "percent", json_integer(100));
	(void)json_object_set_new(job, "cancellable", json_false());
	if (WORK->fail) {
		set(job, "error", err_name(WORK->fail));
		set(job, "message", "the fake failed");
		return;
	}
	(void)snprintf(id, sizeof(id), "b0000000-0000-4000-8000-%012u",
		       WORK->made);
	if (is_method(job, "Snapshot"))
		add_snapshot(job, id);
	if (is_method(job, "Convert") || is_method(job, "Drop"))
		remove_snapshot(job);
	if (is_method(job, "Convert"))
		set(job, "point",
		    json_string_value(json_object_get(job, "snapshot")));
	if (is_method(job, "Create"))
		set(job, "point", id);
	if (is_method(job, "DropLog"))
		drop_log(job);
	if (is_method(job, "Create") || is_method(job, "Convert"))
		add_point(job);
}

void work_end_job(void)
{
	end(json_array_get(WORK->jobs, 0));
}

static json_t *new_job(const char *method, const json_t *system,
		       const char *point, const char *snapshot)
{
	bool undoable = strcmp(method, "Destroy") &&
			strcmp(method, "Convert") && strcmp(method, "Drop") &&
			strcmp(method, "DropLog");

	char id[64];
	json_t *job;

	(void)snprintf(id, sizeof(id), "a0000000-0000-4000-8000-%012u",
		       ++WORK->made);
	job = json_pack("{s:s, s:s, s:O, s:O, s:s?, s:s?, s:s, s:s, s:i, s:b, "
			"s:s, s:s, s:i, s:s, s:s}",
			"id", id, "method", method, "vm",
			json_object_get(system, "vm"), "uuid",
			json_object_get(system, "uuid"), "point", point,
			"snapshot", snapshot, "owner", "somebody", "state",
			"running", "percent", 40, "cancellable", undoable,
			"begun", "2026-02-03T04:05:06.789012345Z", "changed",
			"2026-02-03T04:05:07.000000000Z", "elapsed_ms", 61500,
			"error", "", "message", "");
	assert_non_null(job);
	if (!WORK->jobs)
		WORK->jobs = json_array();
	(void)json_array_insert_new(WORK->jobs, 0, job);
	return job;
}

static void do_job(struct rpc_call *call, const json_t *parameters,
		   const char *method)
{
	const char *vm = json_string_value(json_object_get(parameters, "vm"));
	const char *point =
	    json_string_value(json_object_get(parameters, "point"));
	const char *snapshot =
	    json_string_value(json_object_get(parameters, "snapshot"));
	const json_t *system = find_vm(vm);
	json_t *job;

	note(call, parameters);
	if (WORK->refuse || !system) {
		refuse(call, system ? WORK->refuse : RP_ENOVM);
		return;
	}
	job = new_job(method, system, point, snapshot);
	if (!WORK->running)
		end(job);
	rpc_reply(call, json_pack("{s:O}", "job", job));
}

void do_create_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	do_job(call, parameters, "Create");
}

void do_destroy_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	do_job(call, parameters, "Destroy");
}

void do_snapshot_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	do_job(call, parameters, "Snapshot");
}

void do_convert_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	do_job(call, parameters, "Convert");
}

void do_drop_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	do_job(call, parameters, "Drop");
}

void do_drop_log_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	do_job(call, parameters, "DropLog");
}

void do_import_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	do_job(call, parameters, "Import");
}

void do_rename(struct rpc_call *call, json_t *parameters, void *arg)
{
	note(call, parameters);
	if (WORK->refuse)
		refuse(call, WORK->refuse);
	else
		rpc_reply(call, json_object());
}

/* ---- exports --------------------------------------------------------------
 */

static bool is_point(const json_t *system, const char *id)
{
	json_t *point;
	size_t i;

	json_array_foreach(json_object_get(system, "points"), i, point)
	{
		if (strcasecmp(json_string_value(json_object_get(point, "id")),
			       id) == 0)
			return true;
	}
	return false;
}

static void end_export(struct export_call *export)
{
	struct rpc_call *call = export->call;

	export->call = NULL;
	if (call) {
		rpc_call_on_hangup(call, NULL, NULL);
		rpc_reply(call, json_pack("{s:O}", "job", export->job));
	}
}

static void on_hangup(void *arg)
{
	struct export_call *export = arg;

	set(export->job, "state", "failed");
	set(export->job, "error", "Cancelled");
	end_export(export);
}

/* Of the newest job. */
static struct export_call *newest_export(void)
{
	struct export_call *export;

	if (WORK->n_exports == 0)
		return NULL;
	export = &WORK->exports[WORK->n_exports - 1];
	return export->job == json_array_get(WORK->jobs, 0) ? export : NULL;
}

static void write_export(struct export_call *export)
{
	rpc_reply_continues(
	    export->call,
	    json_pack("{s:O, s:{s:O, s:[]}}", "job", export->job, "exported",
		      "id", json_object_get(export->job, "id"), "disks"));
}

static void fill(struct rpc_call *call)
{
	int fd;

	for (unsigned i = 0; (fd = rpc_call_take_fd(call, i)) >= 0; i++) {
		assert_int_equal(write(fd, "filled", 6), 6);
		(void)close(fd);
	}
}

static json_t *parsed_json(const char *text)
{
	char *copy = strdup(text);
	json_t *json;

	assert_non_null(copy);
	for (char *p = copy; (p = strchr(p, '\'')); p++)
		*p = '"';
	json = json_loads(copy, 0, NULL);
	assert_non_null(json);
	free(copy);
	return json;
}

void do_export(struct rpc_call *call, json_t *parameters, void *arg)
{
	put(WORK->planned, sizeof(WORK->planned), "", parameters);
	if (WORK->refuse_plan)
		refuse(call, WORK->refuse_plan);
	else
		rpc_reply(call, json_pack("{s:o}", "exported",
					  parsed_json(WORK->logs)));
}

/* As WORK says: refused, failed, running until it is cancelled, or written. */
void do_export_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	const json_t *system =
	    find_vm(json_string_value(json_object_get(parameters, "vm")));
	const char *id =
	    json_string_value(json_object_get(parameters, "source"));
	bool point = is_point(system, id);
	struct export_call *export;

	note(call, parameters);
	put(WORK->ordered, sizeof(WORK->ordered), "", parameters);
	if (WORK->refuse) {
		refuse(call, WORK->refuse);
		return;
	}
	assert_true(rpc_call_more(call));
	export = &WORK->exports[WORK->n_exports++];
	assert_true(WORK->n_exports <= ARRAY_SIZE(WORK->exports));
	*export = (struct export_call){call, new_job("Export", system,
						     point ? id : NULL,
						     point ? NULL : id)};
	rpc_call_on_hangup(call, on_hangup, export);
	rpc_reply_continues(call, json_pack("{s:O}", "job", export->job));
	if (WORK->fail) {
		end(export->job);
		end_export(export);
		return;
	}
	fill(call);
	if (!WORK->running)
		write_export(export);
}

void do_export_done(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *error =
	    json_string_value(json_object_get(parameters, "error"));
	struct export_call *export = newest_export();

	note(call, parameters);
	assert_non_null(export);
	set(export->job, "state", error ? "failed" : "completed");
	set(export->job, "error", error ? error : "");
	end_export(export);
	rpc_reply(call, NULL);
}

/* ---------------------------------------------------------------------------
 */

static bool has_id(const json_t *job, const char *id)
{
	return strcasecmp(json_string_value(json_object_get(job, "id")), id) ==
	       0;
}

/* One in each reply. */
void do_jobs(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *id = json_string_value(json_object_get(parameters, "id"));
	json_t *job;
	size_t i;

	if (WORK->write)
		write_export(newest_export());
	WORK->write = false;
	note(call, parameters);
	assert_true(rpc_call_more(call));
	json_array_foreach(WORK->jobs, i, job) if (!id || has_id(job, id))
	    rpc_reply_continues(call, json_pack("{s:[O]}", "jobs", job));
	rpc_reply(call, json_pack("{s:[]}", "jobs"));
}

void do_cancel_job(struct rpc_call *call, json_t *parameters, void *arg)
{
	json_t *job = json_array_get(WORK->jobs, 0);

	note(call, parameters);
	if (WORK->refuse_cancel) {
		refuse(call, WORK->refuse_cancel);
		return;
	}
	if (!WORK->running) {
		set(job, "state", "cancelled");
		set(job, "error", "Cancelled");
		(void)json_object_set_new(job, "cancellable", json_false());
	}
	if (newest_export()) {
		set(job, "state", "cancelled");
		end_export(newest_export());
	}
	rpc_reply(call, json_pack("{s:O}", "job", job));
}

/* ---- changes ---------------------------------------------------------------
 */

#define EXTENTS_PER_REPLY 4096u

static uint64_t number(const json_t *parameters, const char *name,
		       uint64_t otherwise)
{
	const json_t *n = json_object_get(parameters, name);

	return n ? (uint64_t)json_integer_value(n) : otherwise;
}

static json_t *disk_reply(const json_t *parameters, json_t *extents)
{
	return json_pack("{s:O, s:n, s:[{s:O, s:s, s:s, s:i, s:i, s:i, s:o}]}",
			 "since", json_object_get(parameters, "since"), "until",
			 "disks", "id", json_object_get(parameters, "disk"),
			 "accuracy", WORK->accuracy ? WORK->accuracy : "exact",
			 "reason", "", "widened_bytes", 0, "granularity_bytes",
			 4096, "changed_bytes", 0, "extents", extents);
}

static void give_up(void *arg)
{
	struct err err = {0};

	err_set(&err, -RP_ECANCELLED, "the caller went away");
	rpc_fail(arg, &err);
}

/* More is to come, and never does: until the caller has had enough. */
static void promise(struct rpc_call *call, json_t *parameters)
{
	rpc_call_on_hangup(call, give_up, call);
	rpc_reply_continues(call, parameters);
}

void do_changes(struct rpc_call *call, json_t *parameters, void *arg)
{
	uint64_t offset = number(parameters, "offset", 0) & ~4095ull;
	uint64_t end =
	    offset + number(parameters, "length", INT64_MAX - offset);
	uint64_t max = number(parameters, "max_extents", UINT64_MAX), n = 0;
	uint64_t i = offset > WORK->first && WORK->stride
			 ? (offset - WORK->first) / WORK->stride
			 : 0;
	json_t *extents = json_array();

	note(call, parameters);
	if (WORK->refuse_changes || WORK->raw) {
		json_decref(extents);
		if (WORK->raw && WORK->promise)
			promise(call, json_loads(WORK->raw, 0, NULL));
		else if (WORK->raw)
			rpc_reply(call, json_loads(WORK->raw, 0, NULL));
		else
			refuse(call, WORK->refuse_changes);
		return;
	}
	for (; i < WORK->count && n < max; i++) {
		uint64_t at = WORK->first + i * WORK->stride;

		if (at >= end)
			break;
		if (at + WORK->length <= offset)
			continue;
		(void)json_array_append_new(
		    extents, json_pack("{s:I, s:I}", "offset", (json_int_t)at,
				       "length", (json_int_t)WORK->length));
		WORK->told++;
		if (++n % EXTENTS_PER_REPLY)
			continue;
		rpc_reply_continues(call, disk_reply(parameters, extents));
		extents = json_array();
	}
	rpc_reply(call, disk_reply(parameters, extents));
}

/* ---- calling ----------------------------------------------------------------
 */

static struct cim_value value_of(const struct argument *a,
				 const struct schema_type *type)
{
	struct cim_instance *instance = NULL;

	if (a->path)
		return cim_reference(parsed(a->path));
	if (a->text)
		return cim_string(a->text);
	if (!a->instance)
		return cim_type_is_unsigned(type->base)
			   ? cim_uint(type->base, a->number)
			   : cim_null(type->base, type->array);
	assert_int_equal(codec_read_instance(scene->request.arena, NULL,
					     a->instance, strlen(a->instance),
					     NULL, &instance, NULL),
			 0);
	return cim_embedded(instance);
}

uint64_t called(const char *path, const char *method,
		const struct argument *arguments, size_t n,
		struct cim_arguments *ret_out)
{
	const struct cim_path *object = parsed(path);
	const struct schema_class *class =
	    schema_find_class(NULL, object->class_name);
	struct cim_arguments in, out;
	struct cim_value result;
	struct err err = {0};

	assert_int_equal(
	    broker_arguments(&scene->request, class, method, &in, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		const struct schema_parameter *p =
		    schema_find_parameter(in.method, arguments[i].name);

		assert_non_null(p);
		in.values[p - in.method->parameters] =
		    value_of(&arguments[i], &p->type);
	}
	if (broker_invoke(scene->broker, &scene->request, object, &in, &out,
			  &result, &err) < 0)
		fail_msg("%s of %s: %s", method, path, err.text);
	if (ret_out)
		*ret_out = out;
	return cim_number(&result, UINT64_MAX);
}

const struct cim_value *out_value(const struct cim_arguments *out,
				  const char *name)
{
	const struct schema_parameter *p =
	    schema_find_parameter(out->method, name);

	assert_non_null(p);
	return &out->values[p - out->method->parameters];
}

const char *out_path(const struct cim_arguments *out, const char *name)
{
	const struct cim_value *value = out_value(out, name);
	struct cim_path path;
	const char *text = NULL;

	if (value->is_null)
		return "";
	path = *value->one.ref;
	path.host = path.ns = NULL;
	assert_int_equal(
	    cim_path_format(scene->request.arena, &path, &text, NULL), 0);
	return text;
}
