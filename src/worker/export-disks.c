/* SPDX-License-Identifier: Apache-2.0 */
/* Exports of what disks had at a snapshot or a point. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/blockset.h"
#include "common/log.h"
#include "worker/export-internal.h"

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

void export_disks_let_go(struct export *x)
{
	struct err err = {0};

	for (unsigned i = 0; i < x->request.n; i++)
		x->sources[i].content = snapshot_close(x->sources[i].content);
	if (x->own && snapshot_drop(x->worker->snapshots, &x->read, &err) < 0)
		log_warning("the snapshot of an export stays for now: %s",
			    err.text);
	x->own = false;
}

/* ---- What is exported -----------------------------------------------------
 */

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

/* A hash is of what the disks held at the point, which nobody can vouch for: an
 * import elsewhere takes it for that.  (What is widened has blocks.) */
static bool is_good_for(const struct export *x, enum accuracy accuracy)
{
	return x->logs
		   ? accuracy == ACCURACY_EXACT || accuracy == ACCURACY_WIDENED
		   : accuracy != ACCURACY_INVALID;
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
	if (is_good_for(x, later.accuracy.accuracy))
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
		       x->logs
			   ? "%" PRIu64 " bytes were written to since the "
			     "point, and a hash is of what the disks held at "
			     "it: make a point while the guest stands still, "
			     "and export that"
			   : "%" PRIu64 " bytes of what is to be exported were "
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
		       EXPORT_OWN "%.28s", id);
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

static int open_contents(struct export *x, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; i < x->request.n; i++) {
		x->sources[i].base.ops = &source_ops;
		x->sources[i].engine = x->worker->engine;
	}
	for (unsigned i = 0; r == 0 && i < x->request.n; i++)
		r = snapshot_open(x->worker->snapshots, &x->read,
				  x->sources[i].ordinal, &x->sources[i].content,
				  err);
	return r;
}

int export_disks_open_at_point(struct export *x, struct err *err)
{
	int r = export_check_serving(x->worker, err);

	if (r == 0) {
		exports_sweep(x->worker);
		r = make_own(x, err);
	}
	return r < 0 ? r : open_contents(x, err);
}

struct export_source *export_disks_source(struct export *x, unsigned i)
{
	return &x->sources[i].base;
}

static int open_sources(struct export *x, struct err *err)
{
	bool is_snapshot = false;
	int r = find_source(x, &is_snapshot, err);

	if (r == 0 && x->request.has_base)
		r = check_base(x, err);
	for (unsigned i = 0; r == 0 && i < x->request.n; i++)
		if (x->request.has_base)
			r = find_changes(x, &x->sources[i], err);
	if (r == 0 && !is_snapshot && x->request.n > 0)
		r = make_own(x, err);
	return r < 0 ? r : open_contents(x, err);
}

int export_disks_begin(struct export *x, int *fds, struct err *err)
{
	struct export_disk disks[DISKS_PER_VM_MAX];
	unsigned n = x->request.n;
	int r = open_sources(x, err);

	if (r < 0)
		return r;
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
	r = export_start(x, disks, n, fds, err);
	for (unsigned i = 0; r == 0 && i < n; i++)
		x->sources[i].changed = NULL;
	return r;
}

/* ---- The end --------------------------------------------------------------
 */

json_t *export_disk_json(const struct export *x, unsigned i)
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

void export_disks_explain(const struct export *x, struct err *err)
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
