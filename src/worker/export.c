/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/export.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backup/exporter.h"
#include "backup/opener.h"
#include "common/blockset.h"
#include "common/log.h"
#include "common/rfc3339.h"

/* No caller's request id begins like this: those are UUIDs. */
#define OWN           "export-"
#define BACKLOG_BYTES (16u << 10) /* who does not read is told less */

struct source {
	struct export_source base;
	struct snapshot_disk *content; /* NULL: closed */
	struct engine *engine;
	uint32_t ordinal;
	struct accuracy_row accuracy;
	struct blockset *changed; /* until the exporter has it */
	char backing[EXPORT_NAME_BYTES];
};

struct export
{
	struct worker *worker;
	struct export_request request;
	char uuid[GUID_TEXT_BYTES];
	struct point_row row; /* of what is exported */
	struct guid read;     /* the snapshot whose content it is */

	/* LANE_CONTROL's */
	struct export *next;
	bool own; /* `read` is ours, and there */
	struct exporter *exporter;
	struct err err;

	/* the loop's */
	struct rpc_call *call; /* NULL: not yet */
	int event;             /* the thread has ended */
	sd_event_source *ended, *timer;
	struct job job; /* LANE_CONTROL's, the last */

	struct source sources[];
};

/* ---- What is read ---------------------------------------------------------
 */

static struct source *source_of(struct export_source *base)
{
	return container_of(base, struct source, base);
}

static void source_post(struct export_source *base, struct ring_task *task)
{
	engine_post(source_of(base)->engine, task);
}

static void source_read(struct export_source *base,
			struct volume_request *request)
{
	snapshot_read(source_of(base)->content, request);
}

static int source_extent(struct export_source *base, uint64_t offset,
			 uint64_t end, uint64_t *ret_to, bool *ret_hole,
			 struct err *err)
{
	return snapshot_extent(source_of(base)->content, offset, end, ret_to,
			       ret_hole, err);
}

static const struct export_source_ops source_ops = {
    .post = source_post,
    .read = source_read,
    .extent = source_extent,
};

/* Nothing is read any more. */
static void let_go(struct export *x)
{
	struct err err = {0};

	for (unsigned i = 0; i < x->request.n; i++)
		x->sources[i].content = snapshot_close(x->sources[i].content);
	if (x->own && snapshot_drop(x->worker->snapshots, &x->read, &err) < 0)
		log_warning("the snapshot of an export stays for now: %s",
			    err.text);
	x->own = false;
}

static void export_free(struct export *x)
{
	for (unsigned i = 0; i < x->request.n; i++)
		blockset_free(x->sources[i].changed);
	sd_event_source_disable_unref(x->ended);
	sd_event_source_disable_unref(x->timer);
	if (x->event >= 0)
		(void)close(x->event);
	free(x);
}

/* ---- What is exported -----------------------------------------------------
 */

static int find_disks(struct export *x, struct err *err)
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
		x->sources[i].base.ops = &source_ops;
		x->sources[i].engine = worker->engine;
	}
	return 0;
}

/* A snapshot, or a point; *RET_IS_SNAPSHOT says which. */
static int find_source(struct export *x, bool *ret_is_snapshot, struct err *err)
{
	struct worker *worker = x->worker;
	struct snapshot_info info;
	char id[GUID_TEXT_BYTES];

	*ret_is_snapshot = snapshot_find(worker->snapshots, &x->request.source,
					 &info, NULL) == 0 &&
			   !export_is_own(&info.row);
	if (!*ret_is_snapshot)
		return vm_point_find(worker->vm, &x->request.source, &x->row,
				     err);
	guid_format(&x->request.source, id);
	if (info.state != SNAPSHOT_VALID)
		return err_set(err, -RP_ESTATE,
			       "snapshot %s is invalid, drop it: %s", id,
			       info.reason);
	x->row = info.row;
	x->read = info.row.id;
	/* whoever froze the guest may have vouched for it since */
	return vm_snapshot_find(worker->vm, &x->read, &x->row, err);
}

/* What changed between BASE and what is exported. */
static int find_changes(struct export *x, struct source *s, struct err *err)
{
	const char *disk = vm_disk(x->worker->vm, s->ordinal)->id;
	struct vm_changes changes;
	int r = vm_changes(x->worker->vm, s->ordinal, &x->request.base,
			   &x->row.id, &changes, err);

	if (r < 0)
		return r;
	s->changed = changes.set;
	s->accuracy = changes.accuracy;
	if (changes.accuracy.accuracy == ACCURACY_INVALID)
		return err_set(err, -RP_ESTATE,
			       "what changed on disk '%s' is not known (%s): "
			       "take a full export",
			       disk, changes.accuracy.reason);
	export_file_name(disk, &x->request.base, s->backing);
	return 0;
}

/* Blocks of LATER that are exported. */
static uint64_t count_common(const struct source *s, uint64_t bytes,
			     const struct blockset *later)
{
	uint64_t a[REGION_WORDS], b[REGION_WORDS], n = 0;
	uint64_t end =
	    MIN(div_round_up(bytes, REGION_BYTES), blockset_regions(later));

	for (uint64_t region = 0; region < end; region++) {
		if (!blockset_region(later, region, a) ||
		    (s->changed && !blockset_region(s->changed, region, b)))
			continue;
		for (unsigned w = 0; w < REGION_WORDS; w++) {
			uint64_t block = region * REGION_BLOCKS + w * 64;
			uint64_t word = s->changed ? a[w] & b[w] : a[w];

			/* what has grown since is not exported */
			for (; word; word &= word - 1)
				n += (block + __builtin_ctzll(word))
					 << BLOCK_SHIFT <
				     bytes;
		}
	}
	return n;
}

/* Adds to *BLOCKS those that changed between the point and UNTIL (NULL: now).
 */
static int count_changed(struct export *x, const struct source *s,
			 const struct guid *until, uint64_t *blocks,
			 struct err *err)
{
	struct vm_changes later;
	uint64_t bytes;
	int r = vm_changes(x->worker->vm, s->ordinal, &x->row.id, until, &later,
			   err);

	if (r < 0)
		return r;
	bytes = x->row.bytes[s->ordinal];
	/* its last block is there only as more follows it now */
	*blocks += count_common(
	    s, later.tail_kept ? bytes / BLOCK_BYTES * BLOCK_BYTES : bytes,
	    later.set);
	blockset_free(later.set);
	if (later.accuracy.accuracy != ACCURACY_INVALID)
		return 0;
	return err_set(err, -RP_ESTATE,
		       "whether disk '%s' is as it was at the point is not "
		       "known: %s",
		       vm_disk(x->worker->vm, s->ordinal)->id,
		       later.accuracy.reason);
}

/* Of what is to be read nothing has changed. */
static int check_unchanged(struct export *x, const struct guid *until,
			   struct err *err)
{
	uint64_t blocks = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < x->request.n; i++)
		r = count_changed(x, &x->sources[i], until, &blocks, err);
	if (r < 0)
		return r;
	if (blocks == 0)
		return 0;
	return err_set(err, -RP_ESTATE,
		       "%" PRIu64 " bytes of what is to be exported were "
		       "written to since the point: export a snapshot",
		       blocks * BLOCK_BYTES);
}

/* Of a point's blocks, none of which has changed. */
static int make_own(struct export *x, struct err *err)
{
	struct snapshot_request request = {.id = guid_random(),
					   .consistency = CONSISTENCY_CRASH};
	char id[GUID_TEXT_BYTES];
	struct snapshot_info info;
	int r = check_unchanged(x, NULL, err);

	if (r < 0)
		return r;
	guid_format(&request.id, id);
	(void)snprintf(request.request_id, sizeof(request.request_id),
		       OWN "%.28s", id);
	guid_format(&x->row.id, id);
	(void)snprintf(request.label, sizeof(request.label),
		       "export of point %s", id);
	r = snapshot_create(x->worker->snapshots, &request, &info, err);
	if (r < 0)
		return r;
	x->own = true;
	x->read = info.row.id;
	return check_unchanged(x, &x->read, err);
}

/* It is there, is nobody's for the time of an export, and older than what is
 * exported: without disks nothing else is asked of it. */
static int check_base(const struct export *x, struct err *err)
{
	const struct guid *base = &x->request.base;
	char id[GUID_TEXT_BYTES];
	struct point_row row;
	int r = vm_snapshot_find(x->worker->vm, base, &row, NULL);

	if (r < 0 || export_is_own(&row))
		r = vm_point_find(x->worker->vm, base, &row, err);
	if (r < 0)
		return r;
	guid_format(base, id);
	/* its images would be their own backing files */
	if (guid_equal(base, &x->row.id))
		return err_set(err, -RP_EPARAM,
			       "an export cannot be based on what it is of");
	if (row.order > x->row.order)
		return err_set(err, -RP_EPARAM,
			       "the base, %s, is younger than what is to be "
			       "exported: swap them",
			       id);
	return 0;
}

static int open_sources(struct export *x, struct err *err)
{
	bool is_snapshot = false;
	int r = find_disks(x, err);

	if (r == 0)
		r = find_source(x, &is_snapshot, err);
	if (r == 0 && x->request.has_base)
		r = check_base(x, err);
	for (unsigned i = 0; r == 0 && i < x->request.n; i++)
		if (x->request.has_base)
			r = find_changes(x, &x->sources[i], err);
	if (r == 0 && !is_snapshot && x->request.n > 0)
		r = make_own(x, err);
	for (unsigned i = 0; r == 0 && i < x->request.n; i++)
		r = snapshot_open(x->worker->snapshots, &x->read,
				  x->sources[i].ordinal, &x->sources[i].content,
				  err);
	return r;
}

/* ---- Begin ----------------------------------------------------------------
 */

static void on_ended(void *arg)
{
	struct export *x = arg;
	uint64_t one = 1;

	(void)!write(x->event, &one, sizeof(one));
}

static int start(struct export *x, int *fds, struct err *err)
{
	struct export_disk disks[DISKS_PER_VM_MAX];
	unsigned n = x->request.n;
	int r;

	for (unsigned i = 0; i < n; i++) {
		struct source *s = &x->sources[i];

		disks[i] = (struct export_disk){
		    .id = x->request.disks[i],
		    .source = &s->base,
		    .changed = s->changed,
		    .bytes = x->row.bytes[s->ordinal],
		    .backing = x->request.has_base ? s->backing : NULL,
		};
	}
	x->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (x->event < 0)
		return err_set(err, -errno, "eventfd");
	r = exporter_start(disks, n, fds, on_ended, x, &x->exporter, err);
	for (unsigned i = 0; r == 0 && i < n; i++)
		x->sources[i].changed = NULL;
	return r;
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
	if (atomic_load(&worker->state) != WORKER_SERVING)
		return err_set(err, -RP_ESTATE,
			       "'%s' is not served: its disks are read by who "
			       "serves them; serve it first",
			       worker->name);
	if (count_exports(worker) >= EXPORTS_PER_VM_MAX)
		return err_set(err, -RP_ELIMIT,
			       "%d exports of '%s' are under way already",
			       EXPORTS_PER_VM_MAX, worker->name);
	return 0;
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
	exports_sweep(worker);
	r = open_sources(x, err);
	if (r == 0)
		r = start(x, fds, err);
	if (r < 0) {
		let_go(x);
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

static const char *consistency_name(uint32_t consistency)
{
	return consistency == CONSISTENCY_CRASH ? "crash" : "application";
}

static json_t *disk_json(const struct export *x, unsigned i)
{
	const struct source *s = &x->sources[i];
	struct export_result result = exporter_result(x->exporter, i);
	char file[EXPORT_NAME_BYTES];

	export_file_name(x->request.disks[i], &x->row.id, file);
	return json_pack("{s:s, s:s, s:s?, s:I, s:s, s:s, s:s, s:I, s:I}", "id",
			 x->request.disks[i], "file", file, "backing",
			 x->request.has_base ? s->backing : NULL, "size",
			 (json_int_t)x->row.bytes[s->ordinal], "tracking_id",
			 x->row.tracking_id[s->ordinal], "accuracy",
			 accuracy_name(s->accuracy.accuracy), "reason",
			 s->accuracy.reason, "data_bytes",
			 (json_int_t)result.data_bytes, "file_bytes",
			 (json_int_t)result.file_bytes);
}

static json_t *exported_json(const struct export *x)
{
	char id[GUID_TEXT_BYTES], base[GUID_TEXT_BYTES];
	char created[TIME_TEXT_BYTES];
	json_t *disks = json_array();

	for (unsigned i = 0; i < x->request.n; i++)
		(void)json_array_append_new(disks, disk_json(x, i));
	guid_format(&x->row.id, id);
	guid_format(&x->request.base, base);
	time_format(x->row.created_ns, created);
	return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s, s:s, s:s, s:o}", "vm",
			 x->worker->name, "uuid", x->uuid, "id", id, "kind",
			 x->row.snapshot ? "snapshot" : "point", "base",
			 x->request.has_base ? base : NULL, "consistency",
			 consistency_name(x->row.consistency), "label",
			 x->row.label, "created", created, "disks", disks);
}

/* Reads of a snapshot that is no more fail without saying so. */
static void explain(struct export *x, struct err *err)
{
	struct snapshot_info info;
	char id[GUID_TEXT_BYTES];
	int r;

	if (err->code != -EIO && err->code != -RP_EIOFAIL)
		return;
	guid_format(&x->read, id);
	r = snapshot_find(x->worker->snapshots, &x->read, &info, NULL);
	if (r == -RP_ENOPOINT)
		err_set(err, -RP_ESTATE,
			"snapshot %s was dropped or converted meanwhile", id);
	else if (r == 0 && info.state != SNAPSHOT_VALID)
		err_set(err, -RP_EIOFAIL, "snapshot %s became invalid: %.150s",
			id, info.reason);
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
		explain(x, &x->err);
	let_go(x);
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
	exporter_free(x->exporter);
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
		exporter_stop(x->exporter, reason);
		let_go(x);
	}
}

bool export_is_own(const struct point_row *row)
{
	return strncmp(row->request_id, OWN, strlen(OWN)) == 0;
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
