/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a snapshot: N4, N5, N6.
 *
 * A request reads the image (or the clone) first, all of its range if any block
 * is not copied; then, block run by block run, what was copied replaces it.
 * One io at a time: a reader has many requests in flight.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/faulty.h"
#include "disk/image.h"
#include "disk/posix.h"
#include "snapshot/internal.h"

struct snapshot_disk {
	struct snapshot *snapshot;
	struct kept *kept;
	struct volume *volume;
	uint32_t ordinal;
};

/* ---- opening ------------------------------------------------------------- */

int snapshot_open(struct snapshots *snapshots, const struct guid *id,
		  uint32_t ordinal, struct snapshot_disk **ret_disk,
		  struct err *err)
{
	struct snapshot_disk *disk = calloc(1, sizeof(*disk));
	char text[GUID_TEXT_BYTES];
	struct snapshot *s;

	if (!disk)
		return err_set(err, -ENOMEM, "open a snapshot");
	snapshots_lock(snapshots);
	s = snapshots_find(snapshots, id);
	if (s && s->ready && ordinal < s->count && snapshots->attached)
		snapshot_ref(s);
	else
		s = NULL;
	snapshots_unlock(snapshots);
	if (!s) {
		free(disk);
		guid_format(id, text);
		return err_set(err, -RP_ENOPOINT,
			       "there is no snapshot %s that can be read",
			       text);
	}
	disk->snapshot = s;
	disk->kept = &s->disks[ordinal];
	disk->volume = vm_volume_at(snapshots->vm, ordinal);
	disk->ordinal = ordinal;
	*ret_disk = disk;
	return 0;
}

struct snapshot_disk *snapshot_close(struct snapshot_disk *disk)
{
	if (disk)
		snapshot_unref(disk->snapshot);
	free(disk);
	return NULL;
}

uint64_t snapshot_bytes(const struct snapshot_disk *disk)
{
	return disk->snapshot->row.bytes[disk->ordinal];
}

/* ---- requests ------------------------------------------------------------ */

static void read_finish(struct volume_request *request, int result)
{
	const struct snapshot_disk *disk = request->owner;

	if (result == 0 && !snapshot_is_valid(disk->snapshot))
		result = -EIO;
	request->result = result;
	request->done(request, result);
}

static void run_failed(struct ring_task *task)
{
	struct copying *home = container_of(task, struct copying, task);
	struct volume_request *request = home->failed;

	home->failed = NULL;
	home->posted = false;
	while (request) {
		struct volume_request *next = request->next;

		request->done(request, -EIO);
		request = next;
	}
}

/* done() may not be called from snapshot_read(). */
static void fail_later(const struct snapshot_disk *disk,
		       struct volume_request *request)
{
	struct copying *home = &disk->snapshot->owner->copying[disk->ordinal];

	request->next = home->failed;
	home->failed = request;
	if (home->posted)
		return;
	home->posted = true;
	home->task.run = run_failed;
	volume_post(disk->volume, &home->task);
}

static void read_submit(struct volume_request *request, struct file *file,
			uint64_t offset, uint64_t length,
			void (*done)(struct io *io, int result))
{
	const struct snapshot_disk *disk = request->owner;
	struct io *io = &request->io;

	io->op = IO_READ;
	io->flags = 0;
	io->file = file;
	io->offset = offset;
	io->length = length;
	io->buf = (char *)request->data + (offset - request->offset);
	io->done = done;
	ioq_submit(volume_ioq(disk->volume), io);
}

/* The range, in blocks. */
static uint64_t first_block(const struct volume_request *request)
{
	return request->offset >> BLOCK_SHIFT;
}

static uint64_t end_block(const struct volume_request *request)
{
	return div_round_up(request->offset + request->length, BLOCK_BYTES);
}

static void replace_next(struct volume_request *request);

static void replaced(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);
	const struct snapshot_disk *disk = request->owner;

	if (result == 0)
		result = file_lost(disk->kept->scratch);
	if (result < 0) {
		snapshot_invalidate(disk->snapshot,
				    "reading its scratch file failed: %s",
				    strerror(err_errno(result)));
		read_finish(request, -EIO);
		return;
	}
	request->position += request->piece;
	replace_next(request);
}

/* From `position` on, the next run that comes from scratch. */
static void replace_next(struct volume_request *request)
{
	const struct snapshot_disk *disk = request->owner;
	const struct kept *kept = disk->kept;
	uint64_t limit = request->offset + request->length;
	uint64_t block = request->position >> BLOCK_SHIFT, end;

	if (request->position < limit && !kept_has(kept, block))
		block = kept_run(kept, block, end_block(request));
	if (request->position >= limit || block >= end_block(request)) {
		read_finish(request, 0);
		return;
	}
	end = kept_run(kept, block, end_block(request));
	request->position = MAX(request->position, block << BLOCK_SHIFT);
	request->piece = MIN(end << BLOCK_SHIFT, limit) - request->position;
	read_submit(request, kept->scratch, request->position, request->piece,
		    replaced);
}

static void image_done(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);

	if (result < 0)
		read_finish(request, result);
	else
		replace_next(request);
}

void snapshot_read(struct snapshot_disk *disk, struct volume_request *request)
{
	struct kept *kept = disk->kept;
	uint64_t first = first_block(request), end = end_block(request);

	request->owner = disk;
	request->next = NULL;
	request->position = request->offset;
	request->piece = 0;
	request->result = 0;
	if (!snapshot_is_valid(disk->snapshot) || !kept->scratch)
		fail_later(disk, request);
	else if (kept_has(kept, first) && kept_run(kept, first, end) >= end)
		replace_next(request);
	else
		read_submit(request,
			    kept->clone ? kept->clone
					: volume_image(disk->volume),
			    request->offset, request->length, image_done);
}

/* ---- what takes space ---------------------------------------------------- */

static int data_fd(const struct snapshot_disk *disk)
{
	struct file *clone = disk->kept->clone;

	if (!clone)
		return volume_fd(disk->volume);
	clone = faulty_file_inner(clone);
	return posix_is_file(clone) ? posix_file_fd(clone) : -1;
}

int snapshot_extent(struct snapshot_disk *disk, uint64_t offset, uint64_t end,
		    uint64_t *ret_to, bool *ret_hole, struct err *err)
{
	const struct kept *kept = disk->kept;
	uint64_t block = offset >> BLOCK_SHIFT, to, run;
	bool hole;

	image_extent(data_fd(disk), offset, end, &to, &hole);
	if (!snapshot_is_valid(disk->snapshot))
		return err_set(err, -EIO, "the snapshot is invalid: %s",
			       disk->snapshot->reason);
	/* N4: what is a hole now was one then, unless it was copied. */
	run = kept_run(kept, block, div_round_up(to, BLOCK_BYTES))
	      << BLOCK_SHIFT;
	*ret_hole = hole && !kept_has(kept, block);
	*ret_to = hole ? MIN(run, to) : to;
	return 0;
}
