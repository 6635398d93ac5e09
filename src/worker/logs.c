/* SPDX-License-Identifier: Apache-2.0 */
/* The logs of log-based points: what is said of them, their end, their limit.
 */
#include <inttypes.h>

#include "worker/request.h"

/* ---- As JSON --------------------------------------------------------------
 */

static json_t *info_json(const struct logs_info *info)
{
	return json_pack("{s:s, s:s, s:I, s:i}", "state",
			 logs_state_name(info->state), "reason", info->reason,
			 "bytes", (json_int_t)info->bytes, "parts",
			 (int)info->parts);
}

/* One that was destroyed since ROW was read has none. */
json_t *point_log_json(struct worker *worker, const struct point_row *row)
{
	struct logs_info info = {.state = LOGS_GONE,
				 .reason = "the point was destroyed"};

	if (row->type != POINT_LOG)
		return json_null();
	(void)logs_find(worker->logs, &row->id, &info, NULL);
	return info_json(&info);
}

struct list {
	struct worker *worker;
	json_t *logs;
};

static int list_one(void *arg, const struct point_row *row)
{
	struct list *list = arg;
	char id[GUID_TEXT_BYTES];

	if (row->type != POINT_LOG)
		return 0;
	guid_format(&row->id, id);
	return json_array_append_new(
	    list->logs, json_pack("{s:s, s:o}", "point", id, "log",
				  point_log_json(list->worker, row)));
}

json_t *logs_json(struct worker *worker)
{
	struct list list = {worker, json_array()};

	if (vm_points(worker->vm, list_one, &list, NULL) < 0)
		(void)json_array_clear(list.logs);
	return list.logs;
}

/* ---- DropLog, SetLogLimit -------------------------------------------------
 */

int run_drop_log(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	if (r == 0)
		r = logs_remove(request->worker->logs, &request->point, err);
	if (r < 0)
		worker_read_anew(request->worker);
	return r;
}

int log_limit_check(uint64_t bytes, uint32_t disks, struct err *err)
{
	const uint64_t max = DISKS_PER_VM_MAX * DISK_BYTES_MAX;
	const uint64_t min = LOG_LIMIT_MIN * disks;

	if (bytes == 0 || (bytes >= min && bytes <= max))
		return 0;
	return err_set(err, -RP_EPARAM,
		       "the limit of logs is at least %" PRIu64
		       " bytes, %" PRIu64 " for each disk, and at most %" PRIu64
		       "; 0: half of the disks' sizes",
		       min, (uint64_t)LOG_LIMIT_MIN, max);
}

int read_set_log_limit(struct request *request, json_t *parameters,
		       struct err *err)
{
	const struct rpc_field fields[] = {
	    {"bytes", RPC_UINT, true, 0, &request->bytes, NULL}, {0}};

	return rpc_read_fields(parameters, fields, err);
}

int run_set_log_limit(struct request *request, struct err *err)
{
	int r = worker_check_defined(request->worker, err);

	if (r == 0)
		r = log_limit_check(request->bytes,
				    vm_disk_count(request->worker->vm), err);
	if (r == 0)
		r = logs_set_limit(request->worker->logs, request->bytes, err);
	if (r < 0)
		worker_read_anew(request->worker);
	return r;
}
