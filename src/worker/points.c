/* SPDX-License-Identifier: Apache-2.0 */
/* Making, listing, asking and destroying points. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/target.h"
#include "worker/request.h"

/* ---- Create
 * ------------------------------------------------------------------ */

/* Whether the guest is still frozen when the cut is over is known to refpointd
 * alone, and later: until it vouches the consistency is that of a crash. */
int read_consistency(struct request *request, const char *text, struct err *err)
{
	request->application = strcmp(text, "application") == 0;
	if (request->application || strcmp(text, "crash") == 0)
		return 0;
	return err_set(err, -RP_EPARAM,
		       "'%.32s' is no consistency: crash or application", text);
}

static int read_type(const char *type, enum point_type *ret_type,
		     struct err *err)
{
	if (strcmp(type, "rct") == 0)
		*ret_type = POINT_RCT;
	else if (strcmp(type, "log") == 0)
		*ret_type = POINT_LOG;
	else
		return err_set(err, -RP_ETYPE,
			       "'%.32s' is no type of point: rct or log", type);
	return 0;
}

int read_label(const char *text, char ret_label[LABEL_BYTES], struct err *err)
{
	if (text_has_controls(text))
		return err_set(err, -RP_EPARAM,
			       "'label' has control characters in it");
	(void)strcpy(ret_label, text);
	return 0;
}

int read_request_id(const char *text, char ret_id[REQUEST_ID_BYTES],
		    struct err *err)
{
	struct guid guid;

	if (!*text)
		return 0;
	if (!guid_parse(text, &guid))
		return err_set(err, -RP_EPARAM, "'request_id' is no UUID");
	guid_format(&guid, ret_id);
	return 0;
}

int read_timeout(uint64_t ms, uint32_t *ret_ms, struct err *err)
{
	if (ms > 86400000)
		return err_set(err, -RP_EPARAM,
			       "'timeout_ms' is longer than a day");
	*ret_ms = (uint32_t)ms;
	return 0;
}

int read_images(struct request *request, json_t *list, struct err *err)
{
	if (!list || json_array_size(list) == 0)
		return 0;
	return images_read(list, request->fds, request->n_fds, &request->images,
			   err);
}

int read_create(struct request *request, json_t *parameters, struct err *err)
{
	const char *type = "rct", *consistency = "crash", *label = "";
	const char *id = "";
	uint64_t timeout_ms = 0;
	json_t *images = NULL;
	const struct rpc_field fields[] = {
	    {"type", RPC_STRING, false, 0, &type, NULL},
	    {"consistency", RPC_STRING, false, 0, &consistency, NULL},
	    {"label", RPC_STRING, false, LABEL_BYTES, &label, NULL},
	    {"request_id", RPC_STRING, false, REQUEST_ID_BYTES, &id, NULL},
	    {"timeout_ms", RPC_UINT, false, 0, &timeout_ms, NULL},
	    {"images", RPC_ARRAY, false, DISKS_PER_VM_MAX, &images, NULL},
	    {0}};
	struct vm_point_request *create = &request->create;
	int r = rpc_read_fields(parameters, fields, err);

	create->consistency = CONSISTENCY_CRASH;
	if (r == 0)
		r = read_type(type, &create->type, err);
	if (r == 0)
		r = read_consistency(request, consistency, err);
	if (r == 0)
		r = read_label(label, create->label, err);
	if (r == 0)
		r = read_request_id(id, create->request_id, err);
	if (r == 0)
		r = read_timeout(timeout_ms, &create->timeout_ms, err);
	return r < 0 ? r : read_images(request, images, err);
}

/* What a request id gives again must be what is asked for now. */
static int check_repeated(const struct request *request,
			  const struct point_row *point, bool repeated,
			  struct err *err)
{
	if (!repeated || !request->application ||
	    point->consistency == CONSISTENCY_APPLICATION)
		return 0;
	return err_set(err, -RP_EALREADY,
		       "the point of that 'request_id' is crash-consistent");
}

static int make_point(struct worker *worker,
		      const struct vm_point_request *request,
		      struct point_row *ret_point, struct err *err)
{
	return request->type == POINT_LOG
		   ? logs_create(worker->logs, request, ret_point, err)
		   : vm_point_create(worker->vm, request, ret_point, err);
}

static int create(struct worker *worker, void *arg, struct err *err)
{
	struct request *request = arg;
	unsigned before = vm_point_count(worker->vm);
	struct point_row point;
	uint64_t turn_ns;
	int r;

	(void)engine_watch(worker->engine, true);
	r = make_point(worker, &request->create, &point, err);
	turn_ns = engine_watch(worker->engine, false);
	if (turn_ns > atomic_load(&worker->turn_max_ns))
		atomic_store(&worker->turn_max_ns, turn_ns);
	if (r == 0)
		r = check_repeated(request, &point,
				   vm_point_count(worker->vm) == before, err);
	if (r == 0)
		request->reply =
		    json_pack("{s:o}", "point", point_json(worker, &point));
	return r;
}

/* FN with the disks attached: as they are, or for this alone. */
static int run_attached(struct request *request,
			int (*fn)(struct worker *worker, void *arg,
				  struct err *err),
			struct err *err)
{
	struct worker *worker = request->worker;
	struct images *images = request->images;

	if (vm_attached(worker->vm))
		return fn(worker, request, err);
	if (!images)
		return err_set(err, -RP_ESTATE,
			       "'%s' is not served, and no images came",
			       worker->name);
	request->images = NULL;
	return worker_with_images(worker, images, fn, request, err);
}

int run_create(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	if (r == 0)
		r = run_attached(request, create, err);
	if (r < 0)
		worker_read_anew(request->worker);
	return r;
}

/* ---- Destroy, Points -------------------------------------------------------
 */

static int read_point(const char *text, struct guid *ret_point, struct err *err)
{
	if (guid_parse(text, ret_point))
		return 0;
	return err_set(err, -RP_ENOPOINT, "there is no point '%.64s'", text);
}

int read_destroy(struct request *request, json_t *parameters, struct err *err)
{
	const char *point = NULL;
	const struct rpc_field fields[] = {
	    {"point", RPC_STRING, true, 0, &point, NULL}, {0}};
	int r = rpc_read_fields(parameters, fields, err);

	return r < 0 ? r : read_point(point, &request->point, err);
}

int run_destroy(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	if (r == 0)
		r = logs_destroy(request->worker->logs, &request->point, err);
	if (r < 0)
		worker_read_anew(request->worker);
	return r;
}

int run_vouch(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	if (r == 0)
		r = vm_point_vouch(request->worker->vm, &request->point, err);
	if (r < 0)
		worker_read_anew(request->worker);
	return r;
}

int run_points(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	int r = worker_check_defined(worker, err);

	return r < 0 ? r : listing_make(worker, &request->listing, err);
}

/* ---- Changes ----------------------------------------------------------------
 */

int read_changes(struct request *request, json_t *parameters, struct err *err)
{
	struct changes_request *ask = &request->ask;
	const char *since = NULL, *until = NULL, *disk = "";
	json_t *images = NULL;
	const struct rpc_field fields[] = {
	    {"since", RPC_STRING, true, 0, &since, NULL},
	    {"until", RPC_STRING, false, 0, &until, &ask->has_until},
	    {"disk", RPC_STRING, false, DISK_ID_BYTES, &disk, &ask->has_disk},
	    {"offset", RPC_UINT, false, 0, &ask->offset, NULL},
	    {"length", RPC_UINT, false, 0, &ask->length, NULL},
	    {"max_extents", RPC_UINT, false, 0, &ask->max_extents, NULL},
	    {"images", RPC_ARRAY, false, DISKS_PER_VM_MAX, &images, NULL},
	    {0}};
	int r;

	ask->length = UINT64_MAX;
	r = rpc_read_fields(parameters, fields, err);
	if (r == 0)
		r = read_point(since, &ask->since, err);
	if (r == 0 && ask->has_until)
		r = read_point(until, &ask->until, err);
	if (r == 0)
		r = read_images(request, images, err);
	if (r == 0)
		(void)strcpy(ask->disk, disk);
	return r;
}

static int ask_changes(struct worker *worker, void *arg, struct err *err)
{
	struct request *request = arg;

	return changes_ask(worker->vm, &request->ask, &request->changes, err);
}

int run_changes(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	if (r < 0)
		return r;
	/* in LANE_CONTROL then */
	if (request->images && !request->ask.has_until)
		return run_attached(request, ask_changes, err);
	return ask_changes(request->worker, request, err);
}

/* ---- Export ---------------------------------------------------------------
 */

static int read_disks(struct export_request *ask, json_t *disks,
		      struct err *err)
{
	json_t *disk;
	size_t i;

	json_array_foreach(disks, i, disk)
	{
		const char *id = json_string_value(disk);

		if (!id || strlen(id) >= DISK_ID_BYTES)
			return err_set(err, -RP_EPARAM,
				       "'disks' has something that is no "
				       "disk's id");
		(void)strcpy(ask->disks[i], id);
	}
	ask->n = (unsigned)json_array_size(disks);
	return 0;
}

static int read_content(struct export_request *ask, const char *text,
			struct err *err)
{
	if (!text)
		return 0;
	ask->content = strcmp(text, "disks") == 0  ? EXPORT_DISKS
		       : strcmp(text, "logs") == 0 ? EXPORT_LOGS
						   : EXPORT_DEFAULT;
	return ask->content
		   ? 0
		   : err_set(err, -RP_EPARAM, "'content' is 'disks' or 'logs'");
}

static int read_logs(struct export_request *ask, json_t *logs, struct err *err)
{
	json_t *log;
	size_t i;

	json_array_foreach(logs, i, log)
	{
		const char *id = json_string_value(log);

		if (!id || !guid_parse(id, &ask->logs[i]))
			return err_set(err, -RP_EPARAM,
				       "'logs' has something that is no log's "
				       "id");
	}
	ask->n_logs = (unsigned)json_array_size(logs);
	if (ask->n_logs > 0 && ask->content != EXPORT_LOGS)
		return err_set(err, -RP_EPARAM,
			       "'logs' are for content 'logs'");
	return 0;
}

static void note_gone(void *arg)
{
	struct request *request = arg;

	request->gone = true;
}

int read_export(struct request *request, json_t *parameters, struct err *err)
{
	struct export_request *ask = calloc(1, sizeof(*ask));
	const char *source = NULL, *base = NULL, *content = NULL;
	json_t *disks = NULL, *logs = NULL;
	bool hash = false;
	const struct rpc_field fields[] = {
	    {"source", RPC_STRING, true, 0, &source, NULL},
	    {"base", RPC_STRING, false, 0, &base, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {"content", RPC_STRING, false, 0, &content, NULL},
	    {"logs", RPC_ARRAY, false, EXPORT_LOGS_MAX, &logs, NULL},
	    {"hash", RPC_BOOL, false, 0, &hash, NULL},
	    {0}};
	int r;

	request->ask_export = ask;
	rpc_call_on_hangup(request->call, note_gone, request);
	if (!ask)
		return err_set(err, -ENOMEM, "export");
	r = rpc_read_fields(parameters, fields, err);
	if (r == 0)
		r = read_point(source, &ask->source, err);
	ask->has_base = base;
	ask->hash = hash;
	if (r == 0 && base)
		r = read_point(base, &ask->base, err);
	if (r == 0)
		r = read_disks(ask, disks, err);
	if (r == 0)
		r = read_content(ask, content, err);
	if (r == 0)
		r = read_logs(ask, logs, err);
	if (r == 0 && request->n_fds != TARGET_FDS)
		r = err_set(err, -RP_EPARAM, "there is nothing to write to");
	return r;
}

int run_export(struct request *request, struct err *err)
{
	return export_begin(request->worker, request->ask_export, request->fds,
			    &request->export, err);
}
