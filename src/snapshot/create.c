/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, dropping, converting and naming a snapshot: N7.
 *
 * Making:
 *   1  the files, and the snapshot on the list, not copying yet
 *   2  the cut of a point (track/seal.c); right before it the snapshot is told
 *      the first epoch after it, and copies from then on
 *   3  the commit that makes the row; before it there is no snapshot
 * A failure of 2 or 3 takes it off the list: nobody copies for it any more. One
 * after 3 drops it again; if its row cannot be dropped it stays, invalid.
 * Where nobody knows whether the commit is on the disk the files go all the
 * same: a row without them has ended (N7).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "snapshot/internal.h"

static void forget(struct snapshot *s)
{
	snapshots_lock(s->owner);
	snapshots_remove(s->owner, s);
	atomic_store(&s->gone, true);
	snapshots_unlock(s->owner);
	files_unlink(s);
	snapshot_unref(s);
}

/* ---- making -------------------------------------------------------------- */

static int admit(struct snapshots *snapshots,
		 const struct snapshot_request *request, struct err *err)
{
	uint64_t bytes = 0;
	unsigned n = 0;
	bool taken;
	int64_t room;
	int r;

	if (!snapshots->attached)
		return err_set(err, -RP_ESTATE, "the disks are not attached");
	snapshots_lock(snapshots);
	for (struct snapshot *s = snapshots->list; s; s = s->next)
		n++;
	taken = snapshots_find(snapshots, &request->id);
	snapshots_unlock(snapshots);
	if (taken)
		return err_set(err, -RP_EALREADY,
			       "there is a snapshot of this id");
	if (n >= SNAPSHOTS_PER_VM_MAX)
		return err_set(err, -RP_ELIMIT,
			       "there are %u snapshots already, those of "
			       "exports of points counted, which is the "
			       "limit; drop or convert one first",
			       n);
	r = snapshots_room(snapshots, &room, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vm_disk_count(snapshots->vm); i++)
		bytes += vm_disk(snapshots->vm, i)->bytes;
	if (room <= 0)
		return err_set(err, -RP_ENOROOM,
			       "no snapshot: the store's file system has no "
			       "room but what is kept for tracking");
	if (request->clone && (uint64_t)room < bytes)
		return err_set(err, -RP_ENOROOM,
			       "no clone: it may grow to %" PRIu64
			       " bytes, and the store's file system has "
			       "%" PRId64,
			       bytes, room);
	atomic_store(&snapshots->room, room);
	return 0;
}

/* What the seal will make of it: enough for the files. */
static struct snapshot *plan(struct snapshots *snapshots,
			     const struct snapshot_request *request)
{
	struct point_row *row = calloc(1, sizeof(*row));
	struct snapshot *s = NULL;

	if (row) {
		row->id = request->id;
		row->disks = vm_disk_count(snapshots->vm);
		for (uint32_t i = 0; i < row->disks; i++)
			row->bytes[i] = vm_disk(snapshots->vm, i)->bytes;
		s = snapshot_new(snapshots, row);
	}
	if (s)
		s->limit_bytes = request->limit_bytes;
	free(row);
	return s;
}

static void cut(void *arg, uint64_t first)
{
	struct snapshot *s = arg;

	snapshots_lock(s->owner);
	s->first_epoch = first;
	snapshots_unlock(s->owner);
}

static int seal(struct snapshot *s, const struct snapshot_request *request,
		struct err *err)
{
	struct vm_point_request point = {
	    .type = POINT_RCT,
	    .consistency = request->consistency,
	    .timeout_ms = request->timeout_ms,
	    .snapshot = true,
	    .id = request->id,
	    .cut = cut,
	    .cut_arg = s,
	};
	struct point_row *row = malloc(sizeof(*row));
	int r;

	if (!row)
		return err_set(err, -ENOMEM, "snapshot");
	memcpy(point.label, request->label, sizeof(point.label));
	memcpy(point.request_id, request->request_id, sizeof(point.request_id));
	r = vm_point_create(s->owner->vm, &point, row, err);
	/* A row of the same request that the list does not have would be one
	 * for which nothing is copied. */
	if (r == 0 && (!guid_equal(&row->id, &request->id) ||
		       s->first_epoch == UINT64_MAX))
		r = err_set(err, -RP_ESTATE,
			    "no snapshot: an earlier one of this request id "
			    "failed half way; stop and serve the virtual "
			    "system again");
	if (r == 0) {
		snapshots_lock(s->owner);
		s->row = *row;
		s->ready = true;
		snapshots_unlock(s->owner);
	}
	free(row);
	return r;
}

static int finish(struct snapshot *s, const struct snapshot_request *request,
		  bool *ret_stays, struct err *err)
{
	int r = request->clone ? files_clone(s, err) : 0;

	if (r == 0 && !snapshot_is_valid(s))
		r = err_set(err, -RP_EIOFAIL, "no snapshot: %s", s->reason);
	if (r < 0 && vm_snapshot_drop(s->owner->vm, &request->id, NULL) < 0) {
		snapshot_invalidate(s, "it was not completed");
		*ret_stays = true;
	}
	return r;
}

static int make(struct snapshots *snapshots,
		const struct snapshot_request *request,
		struct snapshot_info *ret_info, struct err *err)
{
	struct snapshot *s = plan(snapshots, request), **at;
	bool stays = false;
	int r = s ? files_make(s, err) : err_set(err, -ENOMEM, "snapshot");

	if (r < 0) {
		if (s)
			snapshot_unref(s);
		return r;
	}
	snapshots_lock(snapshots);
	for (at = &snapshots->list; *at;)
		at = &(*at)->next;
	*at = s;
	snapshots_unlock(snapshots);
	r = seal(s, request, err);
	if (r == 0)
		r = finish(s, request, &stays, err);
	if (r == 0) {
		snapshots_lock(snapshots);
		snapshot_tell(s, ret_info);
		snapshots_unlock(snapshots);
	}
	if (r < 0 && !stays)
		forget(s);
	return r;
}

static int find_request(void *arg, const struct snapshot_info *info)
{
	struct snapshot_info *wanted = arg;

	if (strcmp(info->row.request_id, wanted->row.request_id) != 0)
		return 0;
	*wanted = *info;
	return 1;
}

static int refuse_invalid(const struct guid *id, const char *reason,
			  struct err *err)
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	return err_set(err, -RP_ESTATE, "snapshot %s is invalid, drop it: %s",
		       text, reason);
}

int snapshot_create(struct snapshots *snapshots,
		    const struct snapshot_request *request,
		    struct snapshot_info *ret_info, struct err *err)
{
	struct snapshot_info *info = calloc(1, sizeof(*info));
	int r = info ? 0 : err_set(err, -ENOMEM, "snapshot");

	if (r == 0 && request->request_id[0]) {
		memcpy(info->row.request_id, request->request_id,
		       sizeof(info->row.request_id));
		r = snapshots_list(snapshots, find_request, info, err);
	}
	if (r == 0) {
		r = admit(snapshots, request, err);
		if (r == 0)
			r = make(snapshots, request, info, err);
	}
	if (r == 1 && info->state != SNAPSHOT_VALID)
		r = refuse_invalid(&info->row.id, info->reason, err);
	if (r >= 0)
		*ret_info = *info;
	free(info);
	return r < 0 ? r : 0;
}

/* ---- its end ------------------------------------------------------------- */

static struct snapshot *find(struct snapshots *snapshots, const struct guid *id,
			     struct err *err)
{
	char text[GUID_TEXT_BYTES];
	struct snapshot *s;

	snapshots_lock(snapshots);
	s = snapshots_find(snapshots, id);
	if (s && !s->ready)
		s = NULL;
	snapshots_unlock(snapshots);
	if (s)
		return s;
	guid_format(id, text);
	err_set(err, -RP_ENOPOINT, "there is no snapshot %s", text);
	return NULL;
}

int snapshot_drop(struct snapshots *snapshots, const struct guid *id,
		  struct err *err)
{
	struct snapshot *s = find(snapshots, id, err);
	int r = s ? vm_snapshot_drop(snapshots->vm, id, err) : -RP_ENOPOINT;

	if (r == 0)
		forget(s);
	return r;
}

int snapshot_convert(struct snapshots *snapshots, const struct guid *id,
		     struct point_row *ret_point, struct err *err)
{
	struct snapshot *s = find(snapshots, id, err);
	int r;

	if (!s)
		return -RP_ENOPOINT;
	if (!snapshot_is_valid(s))
		return refuse_invalid(id, s->reason, err);
	r = vm_snapshot_convert(snapshots->vm, id, ret_point, err);
	if (r == 0)
		forget(s);
	return r;
}

int snapshot_rename(struct snapshots *snapshots, const struct guid *id,
		    const char *label, struct err *err)
{
	struct snapshot *s = find(snapshots, id, err);
	int r = s ? vm_snapshot_rename(snapshots->vm, id, label, err)
		  : -RP_ENOPOINT;

	if (r < 0)
		return r;
	snapshots_lock(snapshots);
	(void)strncpy(s->row.label, label, sizeof(s->row.label) - 1);
	s->row.label[sizeof(s->row.label) - 1] = '\0';
	snapshots_unlock(snapshots);
	return 0;
}
