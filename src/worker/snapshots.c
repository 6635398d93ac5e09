/* SPDX-License-Identifier: Apache-2.0 */
/* Taking, listing, converting, dropping and naming snapshots. */
#include "common/rfc3339.h"
#include "worker/request.h"

/* ---- As JSON --------------------------------------------------------------
 */

static json_t *disks_json(struct worker *worker,
			  const struct snapshot_info *info)
{
	bool served = engine_readers(worker->engine, &info->row.id) >= 0;
	struct vm *vm = worker->vm;
	json_t *disks = json_array();
	char path[PATH_BYTES];

	paths_snapshot(&worker->paths, worker->name, &info->row.id, path);
	for (uint32_t i = 0; i < info->row.disks && i < vm_disk_count(vm);
	     i++) {
		const char *disk = vm_disk(vm, i)->id;

		(void)json_array_append_new(
		    disks,
		    json_pack("{s:s, s:I, s:s, s:o, s:I}", "id", disk, "size",
			      (json_int_t)info->row.bytes[i], "tracking_id",
			      info->row.tracking_id[i], "nbd_uri",
			      served ? uri_json(path, disk) : json_null(),
			      "scratch_bytes",
			      (json_int_t)info->scratch_bytes[i]));
	}
	return disks;
}

/* Whoever froze the guest may have vouched for it since. */
static const char *consistency_of(struct worker *worker,
				  const struct snapshot_info *info)
{
	uint32_t consistency = info->row.consistency;
	struct point_row row;

	if (vm_snapshot_find(worker->vm, &info->row.id, &row, NULL) == 0)
		consistency = row.consistency;
	return consistency == CONSISTENCY_APPLICATION ? "application" : "crash";
}

static json_t *snapshot_json(struct worker *worker,
			     const struct snapshot_info *info)
{
	char id[GUID_TEXT_BYTES], created[TIME_TEXT_BYTES];

	guid_format(&info->row.id, id);
	time_format(info->row.created_ns, created);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o}", "id",
			 id, "vm", worker->name, "consistency",
			 consistency_of(worker, info), "label", info->row.label,
			 "created", created, "state",
			 snapshot_state_name(info->state), "reason",
			 info->reason, "limit_bytes",
			 (json_int_t)info->limit_bytes, "disks",
			 disks_json(worker, info));
}

struct list {
	struct worker *worker;
	json_t *snapshots;
};

static int list_one(void *arg, const struct snapshot_info *info)
{
	struct list *list = arg;
	json_t *json;

	if (export_is_own(&info->row))
		return 0;
	json = snapshot_json(list->worker, info);
	return json_array_append_new(list->snapshots, json) < 0 ? -ENOMEM : 0;
}

int snapshots_json(struct worker *worker, json_t **ret_snapshots,
		   struct err *err)
{
	struct list list = {worker, json_array()};
	int r = snapshots_list(worker->snapshots, list_one, &list, err);

	if (r < 0)
		json_decref(list.snapshots);
	else
		*ret_snapshots = list.snapshots;
	return r;
}

int reply_snapshot(struct request *request, const struct snapshot_info *info)
{
	request->reply = json_pack("{s:o}", "snapshot",
				   snapshot_json(request->worker, info));
	return 0;
}

/* ---- Snapshot -------------------------------------------------------------
 */

static int read_id(const char *text, struct guid *ret_id, struct err *err)
{
	if (guid_parse(text, ret_id))
		return 0;
	return err_set(err, -RP_ENOPOINT, "there is no snapshot '%.64s'", text);
}

int read_snapshot(struct request *request, json_t *parameters, struct err *err)
{
	const char *id = NULL, *consistency = "crash", *label = "";
	const char *request_id = "";
	uint64_t timeout_ms = 0;
	struct snapshot_request *take = &request->take;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, GUID_TEXT_BYTES, &id, NULL},
	    {"consistency", RPC_STRING, false, 0, &consistency, NULL},
	    {"label", RPC_STRING, false, LABEL_BYTES, &label, NULL},
	    {"limit_bytes", RPC_UINT, false, 0, &take->limit_bytes, NULL},
	    {"clone", RPC_BOOL, false, 0, &take->clone, NULL},
	    {"request_id", RPC_STRING, false, REQUEST_ID_BYTES, &request_id,
	     NULL},
	    {"timeout_ms", RPC_UINT, false, 0, &timeout_ms, NULL},
	    {0}};
	int r = rpc_read_fields(parameters, fields, err);

	if (r == 0 && !guid_parse(id, &take->id))
		r = err_set(err, -RP_EPARAM, "'id' is no GUID");
	take->consistency = CONSISTENCY_CRASH; /* as of a point: points.c */
	if (r == 0)
		r = read_consistency(request, consistency, err);
	if (r == 0)
		r = read_label(label, take->label, err);
	if (r == 0)
		r = read_request_id(request_id, take->request_id, err);
	if (r == 0)
		r = read_timeout(timeout_ms, &take->timeout_ms, err);
	if (r == 0 && request->n_fds < 1)
		r = err_set(err, -RP_EPARAM, "no listener came");
	if (r < 0)
		return r;
	request->listener = request->fds[0];
	request->fds[0] = -1;
	return 0;
}

/* A new one that nobody can read is none. */
static int serve(struct request *request, const struct guid *id,
		 struct err *err)
{
	struct worker *worker = request->worker;
	struct err why = {0};
	int r;

	if (!guid_equal(id, &request->take.id)) /* of an earlier request */
		return 0;
	r = engine_open_snapshot(worker->engine, id, request->listener, err);
	if (r == 0)
		request->listener = -1;
	else if (snapshot_drop(worker->snapshots, id, &why) < 0)
		err_wrap(err, "the snapshot could not be dropped again (%s)",
			 why.text);
	return r;
}

/* What a request id gives again must be what is asked for now. */
static int check_repeated(struct request *request,
			  const struct snapshot_info *info, struct err *err)
{
	if (guid_equal(&info->row.id, &request->take.id) ||
	    !request->application ||
	    strcmp(consistency_of(request->worker, info), "application") == 0)
		return 0;
	return err_set(err, -RP_EALREADY,
		       "the snapshot of that 'request_id' is "
		       "crash-consistent");
}

static int take(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	struct snapshot_info info;
	uint64_t turn_ns;
	int r;

	(void)engine_watch(worker->engine, true);
	r = snapshot_create(worker->snapshots, &request->take, &info, err);
	turn_ns = engine_watch(worker->engine, false);
	if (turn_ns > atomic_load(&worker->turn_max_ns))
		atomic_store(&worker->turn_max_ns, turn_ns);
	if (r == 0)
		r = check_repeated(request, &info, err);
	if (r == 0)
		r = serve(request, &info.row.id, err);
	return r < 0 ? r : reply_snapshot(request, &info);
}

int run_snapshot(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	int r = worker_check_defined(worker, err);

	if (r == 0 && atomic_load(&worker->state) != WORKER_SERVING)
		r = err_set(err, -RP_ESTATE,
			    "'%s' is not served: a snapshot is kept by whoever "
			    "sees the writes; serve it first",
			    worker->name);
	return r < 0 ? r : take(request, err);
}

/* ---- The others -----------------------------------------------------------
 */

int run_snapshots(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	json_t *snapshots;
	int r = worker_check_defined(worker, err);

	if (r == 0)
		r = snapshots_json(worker, &snapshots, err);
	if (r == 0)
		request->reply = json_pack("{s:o}", "snapshots", snapshots);
	return r;
}

int read_one_snapshot(struct request *request, json_t *parameters,
		      struct err *err)
{
	const char *snapshot = NULL;
	const struct rpc_field fields[] = {
	    {"snapshot", RPC_STRING, true, 0, &snapshot, NULL}, {0}};
	int r = rpc_read_fields(parameters, fields, err);

	return r < 0 ? r : read_id(snapshot, &request->take.id, err);
}

/* Who reads it gets errors first, and is cut off then. */
int run_convert(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	struct point_row point;
	int r = worker_check_defined(worker, err);

	if (r == 0)
		r = snapshot_convert(worker->snapshots, &request->take.id,
				     &point, err);
	if (r < 0) {
		worker_read_anew(worker);
		return r;
	}
	engine_close_snapshot(worker->engine, &request->take.id);
	request->reply =
	    json_pack("{s:o}", "point", point_json(worker, &point));
	return 0;
}

int run_drop(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	int r = worker_check_defined(worker, err);

	if (r == 0)
		r = snapshot_drop(worker->snapshots, &request->take.id, err);
	if (r < 0)
		worker_read_anew(worker);
	else
		engine_close_snapshot(worker->engine, &request->take.id);
	return r;
}

int read_rename(struct request *request, json_t *parameters, struct err *err)
{
	const char *snapshot = NULL, *label = NULL;
	const struct rpc_field fields[] = {
	    {"snapshot", RPC_STRING, true, 0, &snapshot, NULL},
	    {"label", RPC_STRING, true, LABEL_BYTES, &label, NULL},
	    {0}};
	int r = rpc_read_fields(parameters, fields, err);

	if (r == 0)
		r = read_label(label, request->take.label, err);
	return r < 0 ? r : read_id(snapshot, &request->take.id, err);
}

int run_rename(struct request *request, struct err *err)
{
	struct worker *worker = request->worker;
	struct snapshot_info info;
	int r = worker_check_defined(worker, err);

	if (r == 0)
		r = snapshot_rename(worker->snapshots, &request->take.id,
				    request->take.label, err);
	if (r == 0)
		r = snapshot_find(worker->snapshots, &request->take.id, &info,
				  err);
	if (r < 0) {
		worker_read_anew(worker);
		return r;
	}
	return reply_snapshot(request, &info);
}
