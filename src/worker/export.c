/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/export-internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/blockset.h"
#include "common/log.h"
#include "common/rfc3339.h"

#define BACKLOG_BYTES (16u << 10) /* who does not read is told less */

static void export_free(struct export *x)
{
	exporter_free(x->exporter);
	export_logs_free(x->logs);
	for (unsigned i = 0; i < x->request.n; i++)
		blockset_free(x->sources[i].changed);
	sd_event_source_disable_unref(x->ended);
	sd_event_source_disable_unref(x->timer);
	if (x->event >= 0)
		(void)close(x->event);
	free(x);
}

/* ---- Begin ----------------------------------------------------------------
 */

int export_find_disks(struct export *x, struct err *err)
{
	struct worker *worker = x->worker;
	bool seen[DISKS_PER_VM_MAX] = {false};

	for (unsigned i = 0; i < x->request.n; i++) {
		int r = vm_disk_find(worker->vm, x->request.disks[i], err);

		if (r < 0)
			return r;
		if (seen[r])
			return err_set(err, -RP_EPARAM,
				       "disk '%s' is named twice",
				       x->request.disks[i]);
		seen[r] = true;
		x->sources[i].ordinal = (uint32_t)r;
	}
	return 0;
}

static void on_ended(void *arg)
{
	struct export *x = arg;
	uint64_t one = 1;

	(void)!write(x->event, &one, sizeof(one));
}

int export_start(struct export *x, const struct export_disk *disks, unsigned n,
		 int *fds, struct err *err)
{
	x->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (x->event < 0)
		return err_set(err, -errno, "eventfd");
	return exporter_start(disks, n, fds, on_ended, x, &x->exporter, err);
}

static unsigned count_exports(const struct worker *worker)
{
	unsigned n = 0;

	for (const struct export *x = worker->exports; x; x = x->next)
		n++;
	return n;
}

static int check_state(const struct worker *worker, struct err *err)
{
	int r = worker_check_defined(worker, err);

	if (r < 0)
		return r;
	if (count_exports(worker) >= EXPORTS_PER_VM_MAX)
		return err_set(err, -RP_ELIMIT,
			       "%d exports of '%s' are under way already",
			       EXPORTS_PER_VM_MAX, worker->name);
	return 0;
}

int export_check_serving(const struct worker *worker, struct err *err)
{
	if (atomic_load(&worker->state) == WORKER_SERVING)
		return 0;
	return err_set(err, -RP_ESTATE,
		       "'%s' is not served: its disks are read by who serves "
		       "them; serve it first",
		       worker->name);
}

static int begin(struct export *x, int *fds, struct err *err)
{
	struct worker *worker = x->worker;
	int r;

	if (x->request.content == EXPORT_DEFAULT)
		x->request.content =
		    export_logs_default(worker, &x->request.source)
			? EXPORT_LOGS
			: EXPORT_DISKS;
	if (x->request.hash && x->request.content != EXPORT_LOGS)
		return err_set(err, -RP_EPARAM,
			       "'hash' is for an export of logs");
	if (x->request.content == EXPORT_LOGS) {
		r = export_find_disks(x, err);
		return r < 0 ? r : export_logs_begin(x, fds, err);
	}
	r = export_check_serving(worker, err);
	if (r < 0)
		return r;
	exports_sweep(worker);
	r = export_find_disks(x, err);
	return r < 0 ? r : export_disks_begin(x, fds, err);
}

int export_begin(struct worker *worker, const struct export_request *request,
		 int *fds, struct export **ret_export, struct err *err)
{
	struct export *x;
	int r = check_state(worker, err);

	if (r < 0)
		return r;
	x = calloc(1, sizeof(*x) + request->n * sizeof(x->sources[0]));
	if (!x)
		return err_set(err, -ENOMEM, "export");
	x->worker = worker;
	x->request = *request;
	x->event = -1;
	guid_format(&vm_system(worker->vm)->uuid, x->uuid);
	r = begin(x, fds, err);
	if (r < 0) {
		export_disks_let_go(x);
		export_free(x);
		return r;
	}
	x->next = worker->exports;
	worker->exports = x;
	*ret_export = x;
	return 0;
}

/* ---- The end --------------------------------------------------------------
 */

static json_t *disks_json(const struct export *x)
{
	json_t *disks = json_array();

	for (unsigned i = 0; i < x->request.n; i++)
		(void)json_array_append_new(disks,
					    x->logs ? export_log_disk_json(x, i)
						    : export_disk_json(x, i));
	return disks;
}

static json_t *exported_json(const struct export *x)
{
	char id[GUID_TEXT_BYTES], base[GUID_TEXT_BYTES];
	char created[TIME_TEXT_BYTES];

	guid_format(&x->row.id, id);
	guid_format(&x->request.base, base);
	time_format(x->row.created_ns, created);
	return json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:s?, s:s, s:s, s:s, s:o*, s:o}", "vm",
	    x->worker->name, "uuid", x->uuid, "id", id, "kind",
	    x->row.snapshot ? "snapshot" : "point", "content",
	    x->logs ? "logs" : "disks", "base",
	    x->request.has_base ? base : NULL, "consistency",
	    consistency_name(x->row.consistency), "label", x->row.label,
	    "created", created, "documents",
	    x->logs ? export_logs_documents_json(x) : NULL, "disks",
	    disks_json(x));
}

static void forget(struct export *x)
{
	struct export **at = &x->worker->exports;

	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
}

static void run_end(struct job *job)
{
	struct export *x = container_of(job, struct export, job);

	if (exporter_outcome(x->exporter, &x->err) < 0)
		export_disks_explain(x, &x->err);
	else if (x->logs)
		(void)export_logs_document(x, &x->err);
	export_disks_let_go(x);
	forget(x);
}

static void done_end(struct job *job)
{
	struct export *x = container_of(job, struct export, job);

	if (x->err.code)
		rpc_fail(x->call, &x->err);
	else
		rpc_reply(x->call,
			  json_pack("{s:o}", "exported", exported_json(x)));
	x->worker->exporting--;
	worker_used(x->worker);
	export_free(x);
}

/* ---- On the loop ----------------------------------------------------------
 */

static int on_event(sd_event_source *source, int fd, uint32_t revents,
		    void *arg)
{
	struct export *x = arg;
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
	x->ended = sd_event_source_disable_unref(x->ended);
	x->timer = sd_event_source_disable_unref(x->timer);
	x->job.run = run_end;
	x->job.done = done_end;
	jobs_submit(x->worker->jobs, LANE_CONTROL, &x->job);
	return 0;
}

static void tell(struct export *x)
{
	uint64_t done, total;

	if (rpc_call_backlog(x->call) > BACKLOG_BYTES)
		return;
	exporter_progress(x->exporter, &done, &total);
	rpc_reply_continues(x->call,
			    json_pack("{s:{s:I, s:I}}", "progress",
				      "done_bytes", (json_int_t)done,
				      "total_bytes", (json_int_t)total));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct export *x = arg;

	tell(x);
	(void)sd_event_source_set_time_relative(
	    source, (uint64_t)EXPORT_TELL_MS * 1000);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static void on_hangup(void *arg)
{
	struct export *x = arg;

	exporter_cancel(x->exporter, "");
}

void export_answer(struct export *x, struct rpc_call *call, bool gone)
{
	sd_event *event = x->worker->event;
	int r;

	x->call = call;
	x->worker->exporting++;
	rpc_call_on_hangup(call, on_hangup, x);
	r = sd_event_add_io(event, &x->ended, x->event, EPOLLIN, on_event, x);
	if (gone)
		on_hangup(x);
	if (r >= 0 && rpc_call_more(call))
		r = sd_event_add_time_relative(event, &x->timer, CLOCK_BOOTTIME,
					       (uint64_t)EXPORT_TELL_MS * 1000,
					       0, on_timer, x);
	if (r < 0)
		log_warning("an export is not told of: %s", strerror(-r));
	if (rpc_call_more(call))
		tell(x);
}

/* ---- Beside other things --------------------------------------------------
 */

void exports_stop(struct worker *worker, const char *reason)
{
	for (struct export *x = worker->exports; x; x = x->next) {
		if (x->logs && !x->request.hash)
			continue;
		exporter_stop(x->exporter, reason);
		export_disks_let_go(x);
	}
}

bool export_is_own(const struct point_row *row)
{
	return strncmp(row->request_id, EXPORT_OWN, strlen(EXPORT_OWN)) == 0;
}

struct left {
	const struct worker *worker;
	struct guid ids[SNAPSHOTS_PER_VM_MAX];
	unsigned n;
};

static bool is_read(const struct worker *worker, const struct point_row *row)
{
	const struct export *x = worker->exports;

	while (x && !(x->own && guid_equal(&x->read, &row->id)))
		x = x->next;
	return x;
}

static int note_own(void *arg, const struct snapshot_info *info)
{
	struct left *left = arg;

	if (export_is_own(&info->row) && !is_read(left->worker, &info->row) &&
	    left->n < SNAPSHOTS_PER_VM_MAX)
		left->ids[left->n++] = info->row.id;
	return 0;
}

void exports_sweep(struct worker *worker)
{
	struct left left = {.worker = worker};
	struct err err = {0};
	int r = snapshots_list(worker->snapshots, note_own, &left, &err);

	for (unsigned i = 0; r == 0 && i < left.n; i++)
		r = snapshot_drop(worker->snapshots, &left.ids[i], &err);
	if (r < 0)
		log_warning("the snapshot of an export is left: %s", err.text);
}
