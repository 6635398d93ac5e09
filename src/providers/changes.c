/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetVirtualDiskChanges.
 *
 * G1  Path is compared with the paths of the inventory, and with where its
 *     snapshots are read; nothing is opened.  For a snapshot the answer is what
 *     changed until its instant.
 * G2  What is told covers [ByteOffset, ByteOffset + ProcessedByteLength)
 *     completely: if not all ranges fit the reply, it ends where the first one
 *     begins that does not.  Whoever goes on from there meets each range once,
 *     none coarser than refpointd told it.
 * G3  At least one range is told, whatever the reply's limit, so that every
 *     call gets on.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/decimal.h"
#include "common/limits.h"
#include "providers/methods.h"
#include "providers/path-hints.h"
#include "providers/systems.h"
#include "rpc/pull.h"

#define OFFSETS "ChangedByteOffsets"
#define LENGTHS "ChangedByteLengths"
/* What a reply takes for one item besides its digits. */
#define ITEM_BYTES (CIM_REPLY_ITEM_BYTES + 2 * (sizeof(OFFSETS) - 1))
/* Of the arena, for a range while it is gathered and once it is told. */
#define RANGE_MEMORY (2 * sizeof(union cim_scalar))

const char *const image_service_reader_methods[] = {"GetVirtualDiskChanges",
						    NULL};

struct asking {
	const char *path, *limit_id;
	uint64_t start, end;
	/* What was found; "" if not. */
	char vm[VM_NAME_BYTES], disk[DISK_ID_BYTES];
	char uuid[GUID_TEXT_BYTES], since[GUID_TEXT_BYTES];
	char until[GUID_TEXT_BYTES]; /* the snapshot; "": now */
	unsigned index;
	uint64_t size;
};

/* ---- which disk, since when ---------------------------------------------- */

static bool take_system(struct asking *a, const struct system_view *system,
			const char *disk, unsigned index, uint64_t size)
{
	if (strlen(system->vm) >= sizeof(a->vm) ||
	    strlen(disk) >= sizeof(a->disk))
		return false;
	(void)strcpy(a->vm, system->vm);
	(void)strcpy(a->disk, disk);
	memcpy(a->uuid, system->uuid, sizeof(a->uuid));
	a->index = index;
	a->size = size;
	return true;
}

static int match_disk(void *arg, const struct system_view *system,
		      struct err *err)
{
	struct asking *a = arg;

	for (uint32_t i = 0; i < system->disk_count; i++) {
		const struct disk_view *disk = &system->disks[i];

		if (strcmp(disk->path, a->path) == 0 &&
		    take_system(a, system, disk->id, i, disk->size))
			return 1;
	}
	return 0;
}

static int match_snapshot_disk(void *arg, const struct system_view *system,
			       struct err *err)
{
	struct asking *a = arg;

	for (uint32_t i = 0; i < system->snapshot_count; i++) {
		const struct point_view *as = &system->snapshots[i].as;

		for (uint32_t d = 0; d < as->disk_count; d++) {
			const struct point_disk_view *disk = &as->disks[d];

			if (!disk->uri || strcmp(disk->uri, a->path) != 0 ||
			    !take_system(a, system, disk->id, disk->index,
					 disk->size))
				continue;
			memcpy(a->until, as->id, sizeof(a->until));
			return 1;
		}
	}
	return 0;
}

static bool point_has(const struct point_view *point, const struct asking *a)
{
	for (uint32_t i = 0; i < point->disk_count; i++)
		if (point->disks[i].index == a->index &&
		    strcasecmp(point->disks[i].tracking_id, a->limit_id) == 0)
			return true;
	return false;
}

static int match_point(void *arg, const struct system_view *system,
		       struct err *err)
{
	struct asking *a = arg;

	for (uint32_t i = 0; i < system->point_count; i++) {
		if (!point_has(&system->points[i], a))
			continue;
		memcpy(a->since, system->points[i].id, sizeof(a->since));
		return 1;
	}
	return 0;
}

/* Whoever had the disk last is asked first.  No path of an image is a URI: it
 * begins with a slash. */
static int find_disk(const struct method_call *call, struct asking *a,
		     struct err *err)
{
	bool image = *a->path == '/';
	system_fn *match = image ? match_disk : match_snapshot_disk;
	unsigned with = image ? 0 : SYSTEMS_SNAPSHOTS;
	char uuid[GUID_TEXT_BYTES];
	int r = 0;

	if (path_hint_get(a->path, uuid))
		r = systems_each(call->providers, call->request, uuid, with,
				 match, a, err);
	if (r == 0 && !*a->vm)
		r = systems_each(call->providers, call->request, NULL, with,
				 match, a, err);
	if (r == 0 && *a->vm)
		path_hint_set(a->path, a->uuid);
	return r;
}

static uint32_t check_range(const struct method_call *call, struct asking *a)
{
	uint64_t length = cim_number(method_argument(call, "ByteLength"), 0);

	a->start = cim_number(method_argument(call, "ByteOffset"), 0);
	if (length == 0 || length > UINT64_MAX - a->start)
		return METHOD_PARAMETER;
	a->end = a->start + length;
	if (a->size && a->end > a->size)
		return METHOD_PARAMETER;
	return a->end > INT64_MAX ? METHOD_PARAMETER : 0;
}

/* 0 and *RET_RESULT 0, or what is wrong with the question. */
static int understand(const struct method_call *call, struct asking *a,
		      uint32_t *ret_result, struct err *err)
{
	int r;

	*ret_result = METHOD_PARAMETER;
	if (method_text(call, "TargetSnapshotId"))
		return 0;
	r = find_disk(call, a, err);
	if (r < 0)
		return r;
	*ret_result = *a->vm ? check_range(call, a) : METHOD_NO_FILE;
	if (*ret_result)
		return 0;
	r = systems_each(call->providers, call->request, a->uuid,
			 SYSTEMS_POINTS, match_point, a, err);
	if (r < 0)
		return r;
	*ret_result = *a->since ? 0 : METHOD_PARAMETER;
	return 0;
}

/* ---- gathering ----------------------------------------------------------- */

struct gathering {
	const struct asking *asking;
	struct err *err;
	uint64_t left; /* bytes of the reply */
	uint64_t max;  /* ranges */
	uint32_t count, room;
	union cim_scalar *offsets, *lengths;
	uint64_t last; /* end of the extent before, whole */
	uint64_t end;  /* covered up to here */
	bool full;     /* there are more than fit */
	bool invalid;  /* nothing is known of what changed */
	bool answered; /* a disk was told */
	bool heard;    /* an extent, in this reply */
};

static uint64_t item_bytes(uint64_t number)
{
	char digits[DECIMAL_BYTES];

	return ITEM_BYTES + decimal_write(number, digits);
}

static int make_room(struct gathering *g)
{
	uint32_t room = g->room ? 2 * g->room : 1024;
	union cim_scalar *offsets, *lengths;

	if (g->count < g->room)
		return 0;
	offsets = reallocarray(g->offsets, room, sizeof(*offsets));
	if (offsets)
		g->offsets = offsets;
	lengths = reallocarray(g->lengths, room, sizeof(*lengths));
	if (lengths)
		g->lengths = lengths;
	if (!offsets || !lengths)
		return err_set(g->err, -ENOMEM, "changed ranges");
	g->room = room;
	return 0;
}

/* Unless the reply is full. */
static int add_range(struct gathering *g, uint64_t offset, uint64_t end)
{
	uint64_t from = MAX(offset, g->asking->start);
	uint64_t to = MIN(end, g->asking->end), bytes;
	int r;

	if (g->full || from >= to)
		return 0;
	bytes = item_bytes(from) + item_bytes(to - from);
	g->full = g->count && (g->count == g->max || bytes > g->left);
	if (g->full) {
		g->end = from;
		return 0;
	}
	r = make_room(g);
	if (r < 0)
		return r;
	g->left -= MIN(bytes, g->left);
	g->offsets[g->count].uint = from;
	g->lengths[g->count++].uint = to - from;
	return 0;
}

/* ---- what refpointd says ------------------------------------------------- */

static int add_extent(struct gathering *g, int64_t offset, int64_t length)
{
	uint64_t end;

	if (offset < 0 || length <= 0 || length > INT64_MAX - offset ||
	    (uint64_t)offset < g->last)
		return err_set(g->err, -RP_EWIRE,
			       "refpointd tells changes out of order");
	end = (uint64_t)offset + (uint64_t)length;
	g->last = end;
	g->heard = true;
	return add_range(g, (uint64_t)offset, end);
}

static int read_extent(struct gathering *g, struct pull *p)
{
	int64_t offset = -1, length = -1;
	const char *key;

	pull_object(p);
	while ((key = pull_key(p))) {
		if (strcmp(key, "offset") == 0)
			offset = pull_integer(p);
		else if (strcmp(key, "length") == 0)
			length = pull_integer(p);
		else
			pull_skip(p);
	}
	return p->failed ? 0 : add_extent(g, offset, length);
}

static int read_disk(struct gathering *g, struct pull *p)
{
	bool accuracy = false, extents = false;
	const char *key;
	int r = 0;

	pull_object(p);
	while (r == 0 && (key = pull_key(p))) {
		if (strcmp(key, "accuracy") == 0) {
			g->invalid = strcmp(pull_string(p), "invalid") == 0;
			accuracy = true;
		} else if (strcmp(key, "extents") == 0) {
			pull_array(p);
			while (r == 0 && pull_item(p))
				r = read_extent(g, p);
			extents = true;
		} else {
			pull_skip(p);
		}
	}
	if (r == 0 && (!accuracy || !extents))
		pull_fail(p);
	g->answered = true;
	return r;
}

static int read_disks(struct gathering *g, struct pull *p)
{
	const char *key;
	int r = 0;

	pull_object(p);
	while (r == 0 && (key = pull_key(p))) {
		if (strcmp(key, "disks") != 0) {
			pull_skip(p);
			continue;
		}
		pull_array(p);
		while (r == 0 && pull_item(p))
			r = read_disk(g, p);
	}
	return r;
}

static int nonsense(struct gathering *g)
{
	return err_set(g->err, -RP_EWIRE,
		       "refpointd tells changes that make no sense");
}

/* 1 once nothing more is needed.  Replies that only promise others are not
 * waited through. */
static int on_reply(void *arg, char *text, size_t bytes)
{
	struct pull p = pull_begin(text, bytes);
	struct gathering *g = arg;
	bool continues = false;
	const char *key;
	int r = 0;

	g->heard = false;
	pull_object(&p);
	while (r == 0 && (key = pull_key(&p))) {
		if (strcmp(key, "parameters") == 0)
			r = read_disks(g, &p);
		else if (strcmp(key, "continues") == 0)
			continues = pull_boolean(&p);
		else
			pull_skip(&p);
	}
	if (r == 0 && (!pull_done(&p) || (continues && !g->heard)))
		r = nonsense(g);
	return r < 0 ? r : g->full || g->invalid;
}

/* One more than fit, to learn where the next begins. */
static uint64_t asked_ranges(const struct gathering *g)
{
	uint64_t fit = MIN(g->left / (2 * (ITEM_BYTES + 1)), g->max);

	return MAX(fit, 1) + 1;
}

static int gather(const struct method_call *call, struct gathering *g)
{
	const struct asking *a = g->asking;
	json_t *question =
	    json_pack("{s:s, s:s, s:s*, s:s, s:I, s:I, s:I}", "vm", a->vm,
		      "since", a->since, "until", *a->until ? a->until : NULL,
		      "disk", a->disk, "offset", (json_int_t)a->start, "length",
		      (json_int_t)(a->end - a->start), "max_extents",
		      (json_int_t)asked_ranges(g));
	int r = backend_stream_text(&call->providers->backend, call->request,
				    a->vm, "Changes", question, BACKEND_WORK_MS,
				    on_reply, g, g->err);

	if (r >= 0 && !g->answered)
		return nonsense(g);
	return r < 0 ? r : 0;
}

/* ---- the answer ---------------------------------------------------------- */

static int put_list(const struct method_call *call, const char *name,
		    const union cim_scalar *items, uint32_t count,
		    struct err *err)
{
	union cim_scalar *own =
	    arena_array(call->request->arena, count, sizeof(*own));

	if (!own)
		return arena_full(call->request->arena, err);
	if (count)
		memcpy(own, items, count * sizeof(*own));
	method_set(call, name, cim_array(CIM_UINT64, own, count));
	return 0;
}

static int put_answer(const struct method_call *call, const struct gathering *g,
		      struct err *err)
{
	int r = put_list(call, OFFSETS, g->offsets, g->count, err);

	if (r == 0)
		r = put_list(call, LENGTHS, g->lengths, g->count, err);
	if (r == 0)
		method_set(call, "ProcessedByteLength",
			   cim_uint(CIM_UINT64, g->end - g->asking->start));
	return r;
}

static int answer(const struct method_call *call, const struct asking *a,
		  uint32_t *ret_result, struct err *err)
{
	size_t memory = arena_left(call->request->arena) / 2;
	struct gathering g = {.asking = a,
			      .err = err,
			      .left = call->request->reply_bytes
					  ? call->request->reply_bytes
					  : UINT64_MAX,
			      .max = MIN(memory / RANGE_MEMORY, UINT32_MAX / 4),
			      .end = a->end};
	int r = gather(call, &g);

	*ret_result = g.invalid ? METHOD_STATE : 0;
	if (r == 0 && !g.invalid)
		r = put_answer(call, &g, err);
	free(g.offsets);
	free(g.lengths);
	return r;
}

static int get_changes(const struct method_call *call, uint32_t *ret_result,
		       struct err *err)
{
	struct asking a = {.path = method_text(call, "Path"),
			   .limit_id = method_text(call, "LimitId")};
	int r = understand(call, &a, ret_result, err);

	if (r == 0 && *ret_result == 0)
		r = answer(call, &a, ret_result, err);
	if (r == -CIM_ELIMITS || r == 0)
		return r;
	*ret_result = method_result(r);
	method_note(call, err);
	return 0;
}

int image_service_invoke(void *arg, const struct cim_request *request,
			 const struct cim_path *path,
			 const struct cim_arguments *in,
			 struct cim_arguments *out,
			 struct cim_value *ret_result, struct err *err)
{
	static const struct method_entry entries[] = {
	    {.name = "GetVirtualDiskChanges",
	     .required = {"Path", "LimitId", "ByteOffset", "ByteLength"},
	     .fn = get_changes},
	};
	const struct method_call call = {arg, request, path, in, out};

	return method_dispatch(entries, ARRAY_SIZE(entries), &call, ret_result,
			       err);
}
