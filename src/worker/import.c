/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/content-hash.h"
#include "backup/metadata.h"
#include "common/log.h"
#include "worker/request.h"

#define TELL_MS       EXPORT_TELL_MS
#define BACKLOG_BYTES (16u << 10) /* who does not read is told less */

struct importing {
	struct metadata *metadata;
	bool trusted; /* refpointd vouches for the documents */
	/* LANE_CONTROL's, told by the loop. */
	_Atomic uint64_t done, total;
	_Atomic bool gone;         /* the caller */
	char reason[REASON_BYTES]; /* why the exported point is invalid */
	sd_event_source *timer;    /* the loop's, as is this: */
	struct worker *worker;     /* whose `importing` this is; or NULL */
};

void importing_free(struct importing *importing)
{
	if (!importing)
		return;
	sd_event_source_disable_unref(importing->timer);
	if (importing->worker)
		importing->worker->importing = NULL;
	metadata_free(importing->metadata);
	free(importing);
}

/* ---- Whether it may be ----------------------------------------------------
 */

static const struct point_row *exported(const struct metadata *m)
{
	return &m->points[m->n_points - 1];
}

/* Of these very disks, in order. */
static int check_disks(const struct metadata *m, struct vm *vm, struct err *err)
{
	if (m->n_disks != vm_disk_count(vm))
		return err_set(err, -RP_EPARAM,
			       "the points are of more or fewer disks than "
			       "there are");
	for (unsigned i = 0; i < m->n_disks; i++) {
		const struct disk_row *disk = vm_disk(vm, i);

		if (strcmp(m->disks[i].id, disk->id) != 0)
			return err_set(err, -RP_EPARAM,
				       "disk %u has another id than '%s': the "
				       "points are of other disks",
				       i + 1, disk->id);
		if (m->disks[i].bytes != disk->bytes)
			return err_set(err, -RP_EPARAM,
				       "disk '%s' had another size at the "
				       "point than it has",
				       disk->id);
	}
	return 0;
}

static int check(const struct request *request, struct err *err)
{
	struct metadata *m = request->importing->metadata;
	struct worker *worker = request->worker;
	int r = worker_check_defined(worker, err);

	if (r == 0 && (atomic_load(&worker->state) == WORKER_SERVING ||
		       vm_attached(worker->vm)))
		r = err_set(err, -RP_ESTATE,
			    "'%s' is served: what its disks hold would not "
			    "stand still; unserve it first",
			    worker->name);
	if (r == 0)
		r = check_disks(m, worker->vm, err);
	/* Before hours of hashing: the import itself asks again. */
	return r < 0
		   ? r
		   : vm_import_admit(worker->vm, m->points, &m->n_points, err);
}

/* ---- The verdict ----------------------------------------------------------
 */

/* What can be said without the disks; "": they decide. */
static void judge(struct importing *x)
{
	const struct metadata *m = x->metadata;

	if (!x->trusted) {
		(void)snprintf(x->reason, sizeof(x->reason),
			       "it was imported, and its MAC is not of a key "
			       "that is known here");
		return;
	}
	for (unsigned i = 0; i < m->n_disks && !x->reason[0]; i++)
		if (!m->disks[i].hashed)
			(void)snprintf(x->reason, sizeof(x->reason),
				       "it was imported, and disk '%s' was "
				       "exported without its hash",
				       m->disks[i].id);
}

static int hash_piece(const struct images *images, unsigned disk,
		      uint64_t offset, uint64_t bytes, void *buffer,
		      struct content_hash *hash, struct err *err)
{
	struct file *file = images->files[disk];
	int64_t n = file->ops->read(file, buffer, bytes, offset, err);

	if (n >= 0 && (uint64_t)n < bytes)
		return err_set(err, -RP_EIOFAIL, "'%s' ended at %" PRIu64,
			       images->paths[disk], offset + (uint64_t)n);
	return n < 0 ? (int)n : content_hash_add(hash, buffer, bytes, err);
}

static int hash_all(struct importing *x, const struct images *images,
		    unsigned disk, void *buffer, struct content_hash *hash,
		    struct err *err)
{
	const uint64_t end = x->metadata->disks[disk].bytes;
	uint64_t known = 0; /* what lies before it is a hole, or not */
	bool hole = false;
	int r = 0;

	for (uint64_t at = 0, n; r == 0 && at < end; at += n) {
		n = MIN((uint64_t)METADATA_PIECE_BYTES, end - at);
		if (atomic_load(&x->gone))
			return err_set(err, -RP_ECANCELLED,
				       "the import was ended");
		if (known <= at)
			image_extent(images->fds[disk], at, end, &known, &hole);
		if (hole && known >= at + n)
			r = content_hash_add(hash, NULL, n, err);
		else
			r = hash_piece(images, disk, at, n, buffer, hash, err);
		atomic_fetch_add(&x->done, n);
	}
	return r;
}

/* Is DISK as it was at the point? */
static int compare(struct importing *x, const struct images *images,
		   unsigned disk, struct err *err)
{
	uint8_t found[METADATA_HASH_BYTES];
	struct content_hash *hash = NULL;
	void *buffer = NULL;
	int r = content_hash_new(&hash, err);

	if (r == 0 &&
	    posix_memalign(&buffer, BLOCK_BYTES, METADATA_PIECE_BYTES) != 0)
		r = err_set(err, -ENOMEM, "hash");
	if (r == 0)
		r = hash_all(x, images, disk, buffer, hash, err);
	if (r == 0)
		r = content_hash_end(hash, found, err);
	if (r == 0 &&
	    memcmp(found, x->metadata->disks[disk].hash, sizeof(found)) != 0)
		(void)snprintf(x->reason, sizeof(x->reason),
			       "it was imported, and disk '%s' was not as it "
			       "was at the point",
			       x->metadata->disks[disk].id);
	free(buffer);
	content_hash_free(hash);
	return r;
}

/* ---- The import -----------------------------------------------------------
 */

static int import(struct worker *worker, struct importing *x, struct err *err)
{
	struct metadata *m = x->metadata;
	char id[GUID_TEXT_BYTES];

	if (atomic_load(&x->gone))
		return err_set(err, -RP_ECANCELLED, "the import was ended");
	guid_format(&exported(m)->id, id);
	for (unsigned i = 0; i < m->n_points; i++) {
		struct point_row *row = &m->points[i];

		if (!x->trusted)
			row->consistency = CONSISTENCY_CRASH;
		if (i + 1 == m->n_points || x->reason[0])
			(void)strcpy(row->invalid, x->reason);
		else
			(void)snprintf(row->invalid, sizeof(row->invalid),
				       "it was imported, and what was written "
				       "from it to point %s was not seen here",
				       id);
	}
	return vm_import(worker->vm, m->points, &m->n_points, err);
}

static int compare_and_import(struct worker *worker, void *arg, struct err *err)
{
	struct importing *x = arg;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < x->metadata->n_disks; i++)
		if (!x->reason[0])
			r = compare(x, worker->images, i, err);
	return r < 0 ? r : import(worker, x, err);
}

static json_t *imported_json(const struct importing *x)
{
	char id[GUID_TEXT_BYTES];

	guid_format(&exported(x->metadata)->id, id);
	return json_pack("{s:{s:s, s:b, s:s, s:i}}", "imported", "id", id,
			 "valid", !x->reason[0], "reason", x->reason, "points",
			 (int)x->metadata->n_points);
}

static int run_import(struct request *request, struct err *err)
{
	struct importing *x = request->importing;
	struct worker *worker = request->worker;
	struct images *images = request->images;
	int r = check(request, err);

	if (r < 0)
		return r;
	judge(x);
	if (!x->reason[0] && !images)
		return err_set(err, -RP_ESTATE, "no images came");
	if (x->reason[0]) {
		r = import(worker, x, err);
	} else {
		request->images = NULL;
		for (unsigned i = 0; i < x->metadata->n_disks; i++)
			atomic_fetch_add(&x->total,
					 x->metadata->disks[i].bytes);
		r = worker_with_images(worker, images, compare_and_import, x,
				       err);
	}
	if (r < 0)
		worker_read_anew(worker);
	else
		request->reply = imported_json(x);
	return r;
}

/* ---- On the loop ----------------------------------------------------------
 */

static int read_import(struct request *request, json_t *parameters,
		       struct err *err)
{
	const char *config = NULL, *state = NULL;
	struct importing *x = calloc(1, sizeof(*x));
	json_t *images = NULL;
	bool trusted = false;
	const struct rpc_field fields[] = {
	    {"config", RPC_STRING, true, METADATA_BYTES_MAX + 1, &config, NULL},
	    {"state", RPC_STRING, true, METADATA_BYTES_MAX + 1, &state, NULL},
	    {"trusted", RPC_BOOL, true, 0, &trusted, NULL},
	    {"images", RPC_ARRAY, false, DISKS_PER_VM_MAX, &images, NULL},
	    {0}};
	int r = rpc_read_fields(parameters, fields, err);

	request->importing = x;
	if (r == 0 && !x)
		r = err_set(err, -ENOMEM, "import");
	if (r == 0)
		r = metadata_read(config, state, &x->metadata, err);
	if (r == 0)
		x->trusted = trusted;
	return r < 0 ? r : read_images(request, images, err);
}

static void tell(struct request *request)
{
	const struct importing *x = request->importing;

	if (rpc_call_backlog(request->call) > BACKLOG_BYTES)
		return;
	rpc_reply_continues(
	    request->call,
	    json_pack("{s:{s:I, s:I}}", "progress", "done_bytes",
		      (json_int_t)atomic_load(&x->done), "total_bytes",
		      (json_int_t)atomic_load(&x->total)));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	tell(arg);
	(void)sd_event_source_set_time_relative(source,
						(uint64_t)TELL_MS * 1000);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static void on_hangup(void *arg)
{
	struct importing *x = arg;

	atomic_store(&x->gone, true);
	x->timer = sd_event_source_disable_unref(x->timer);
}

void on_import(struct rpc_call *call, json_t *parameters, void *arg)
{
	static const struct method method = {LANE_CONTROL, true, read_import,
					     run_import};
	struct worker *worker = arg;
	struct request *request =
	    request_begin(call, parameters, worker, &method);
	int r = 0;

	if (!request)
		return;
	request->importing->worker = worker;
	worker->importing = request->importing;
	rpc_call_on_hangup(call, on_hangup, request->importing);
	if (rpc_call_more(call))
		r = sd_event_add_time_relative(
		    worker->event, &request->importing->timer, CLOCK_BOOTTIME,
		    (uint64_t)TELL_MS * 1000, 0, on_timer, request);
	if (r < 0)
		log_warning("an import is not told of: %s", strerror(-r));
	request_submit(request);
}

void on_cancel_import(struct rpc_call *call, json_t *parameters, void *arg)
{
	static const struct rpc_field none[] = {{0}};
	struct worker *worker = arg;
	struct err err = {0};

	if (rpc_read_fields(parameters, none, &err) < 0) {
		rpc_fail(call, &err);
		return;
	}
	if (worker->importing)
		atomic_store(&worker->importing->gone, true);
	rpc_reply(call, NULL);
}
