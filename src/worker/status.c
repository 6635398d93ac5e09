/* SPDX-License-Identifier: Apache-2.0 */
/* What the worker says of its virtual system. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/rfc3339.h"
#include "worker/worker.h"

const char *worker_state_name(enum worker_state state)
{
	static const char *const names[] = {
	    [WORKER_DEFINED] = "defined", [WORKER_STARTING] = "starting",
	    [WORKER_SERVING] = "serving", [WORKER_STOPPING] = "stopping",
	    [WORKER_FAILED] = "failed",
	};

	return names[state];
}

void worker_note(struct worker *worker, const char *text)
{
	(void)pthread_mutex_lock(&worker->note_lock);
	(void)snprintf(worker->note, sizeof(worker->note), "%s", text);
	(void)pthread_mutex_unlock(&worker->note_lock);
}

json_t *point_json(struct worker *worker, const struct point_row *row)
{
	struct vm *vm = worker->vm;
	json_t *disks = json_array();
	char id[GUID_TEXT_BYTES], created[TIME_TEXT_BYTES];

	for (uint32_t i = 0; i < row->disks && i < vm_disk_count(vm); i++)
		(void)json_array_append_new(
		    disks, json_pack("{s:s, s:s}", "id", vm_disk(vm, i)->id,
				     "tracking_id", row->tracking_id[i]));
	guid_format(&row->id, id);
	time_format(row->created_ns, created);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s?, s:o}", "id", id,
			 "type", row->type == POINT_RCT ? "rct" : "log",
			 "consistency",
			 row->consistency == CONSISTENCY_CRASH ? "crash"
							       : "application",
			 "label", row->label, "created", created, "log",
			 point_log_json(worker, row), "invalid",
			 row->invalid[0] ? row->invalid : NULL, "disks", disks);
}

json_t *uri_json(const char *path, const char *id)
{
	static const char hex[] = "0123456789ABCDEF";
	char uri[3 * PATH_BYTES + 64];
	size_t n;

	n = (size_t)snprintf(uri, sizeof(uri), "nbd+unix:///%s?socket=", id);
	for (const char *p = path; *p; p++) {
		unsigned char c = (unsigned char)*p;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || strchr("/._-~", c);

		if (!plain) {
			uri[n++] = '%';
			uri[n++] = hex[c >> 4];
			c = (unsigned char)hex[c & 15];
		}
		uri[n++] = (char)c;
	}
	return json_stringn(uri, n);
}

/* Of the images in the table, which stands while they are attached. */
static const char *cache_mode(struct worker *worker, uint32_t disk,
			      bool attached)
{
	if (!attached)
		return "";
	return worker->images->geometry[disk].direct ? "direct" : "writeback";
}

static json_t *disk_json(struct worker *worker, uint32_t disk, bool serving)
{
	struct vm *vm = worker->vm;
	const struct disk_row *row = vm_disk(vm, disk);
	struct vm_disk_status s;
	struct accuracy_row *a = &s.accuracy;
	char path[PATH_BYTES];

	paths_vm_run(&worker->paths, worker->name, "nbd.sock", path);
	if (vm_disk_status(vm, disk, &s, NULL) < 0)
		return NULL;
	return json_pack(
	    "{s:s, s:s, s:I, s:o, s:i, s:s, s:s, s:I, s:i, s:i, s:I, s:I, s:s}",
	    "id", row->id, "path", row->path, "size", (json_int_t)row->bytes,
	    "nbd_uri", serving ? uri_json(path, row->id) : json_null(),
	    "connected", (int)engine_connected(worker->engine, disk),
	    "accuracy", accuracy_name(a->accuracy), "reason", a->reason,
	    "widened_bytes", (json_int_t)a->widened_bytes, "hot_regions",
	    (int)s.hot_regions, "hot_regions_max", (int)s.hot_regions_max,
	    "worst_widening_bytes", (json_int_t)s.worst_widening_bytes,
	    "tracking_bytes", (json_int_t)s.tracking_bytes, "cache",
	    cache_mode(worker, disk, serving));
}

/* null: nobody knows before the store was read anew. */
static json_t *points_json(struct vm *vm)
{
	unsigned n = vm_point_count(vm);

	return vm_usable(vm, NULL) < 0 ? json_null() : json_integer(n);
}

json_t *status_json(struct worker *worker)
{
	struct vm *vm = worker->vm;
	enum worker_state state =
	    (enum worker_state)atomic_load(&worker->state);
	bool serving = state == WORKER_SERVING && vm_attached(vm);
	char uuid[GUID_TEXT_BYTES], reason[ERR_TEXT_BYTES] = "";
	char agent[AGENT_BYTES];
	json_t *disks = json_array(), *snapshots = NULL;
	bool latched = vm_latched(vm, reason);
	struct vm_cut_times cut;
	struct vm_counts counts;
	uint64_t log_bytes = 0, log_limit = 0;

	if (!latched) {
		(void)pthread_mutex_lock(&worker->note_lock);
		(void)strcpy(reason, worker->note);
		(void)pthread_mutex_unlock(&worker->note_lock);
	}
	for (uint32_t i = 0; i < vm_disk_count(vm); i++)
		(void)json_array_append_new(disks,
					    disk_json(worker, i, serving));
	if (snapshots_json(worker, &snapshots, NULL) < 0)
		snapshots = json_array();
	guid_format(&vm_system(vm)->uuid, uuid);
	vm_agent(vm, agent);
	vm_cut_times(vm, &cut);
	vm_counts(vm, &counts);
	logs_usage(worker->logs, &log_bytes, &log_limit);
	return json_pack(
	    "{s:s, s:s, s:s, s:s, s:b, s:s, s:i, s:o, s:i, s:I, s:I, "
	    "s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
	    "vm", worker->name, "uuid", uuid, "agent", agent, "state",
	    worker_state_name(state), "latched", latched, "reason", reason,
	    "worker_pid", (int)getpid(), "points", points_json(vm),
	    "points_max", (int)vm_system(vm)->points_max, "inflight_bytes",
	    (json_int_t)engine_inflight_bytes(worker->engine), "cut_last_ns",
	    (json_int_t)cut.last_ns, "cut_max_ns", (json_int_t)cut.max_ns,
	    "turn_max_ns", (json_int_t)atomic_load(&worker->turn_max_ns),
	    "activations", (json_int_t)counts.activations, "intent_syncs",
	    (json_int_t)counts.intent_syncs, "waited_writes",
	    (json_int_t)counts.waited_writes, "log_bytes",
	    (json_int_t)log_bytes, "log_limit", (json_int_t)log_limit, "disks",
	    disks, "snapshots", snapshots, "logs", logs_json(worker));
}
