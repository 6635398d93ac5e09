/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a snapshot: N4, N5, N6, N10.
 *
 * A request is served in windows, parts of its range that end where a multiple
 * of SNAPSHOT_READ_BYTES does.  Of each the image (or the clone) is read first,
 * all of it if any block is not copied; then, block run by block run, what was
 * copied replaces it.  A request has one io at a time, and waits in turn before
 * each.
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

static struct copying *home_of(const struct volume_request *request)
{
	const struct snapshot_disk *disk = request->owner;

	return &disk->snapshot->owner->copying[disk->ordinal];
}

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
	struct copying *home = home_of(request);

	request->next = home->failed;
	home->failed = request;
	if (home->posted)
		return;
	home->posted = true;
	home->task.run = run_failed;
	volume_post(disk->volume, &home->task);
}

/* ---- turns: N10 ---------------------------------------------------------- */

/* What may be read at once. */
static uint64_t turns_bytes(struct copying *home, const struct volume *volume)
{
	uint64_t now = snapshot_now_ns(), requests = volume_requests(volume);

	if (requests != home->guest_requests) {
		home->guest_requests = requests;
		home->guest_ns = now;
	}
	return now - home->guest_ns < SNAPSHOT_BESIDE_MS * 1000000ull
		   ? SNAPSHOT_BESIDE_BYTES
		   : SNAPSHOT_READS_BYTES;
}

/* Those for the file that it reads next. */
static struct turns *turns_of(const struct volume_request *request)
{
	const struct snapshot_disk *disk = request->owner;

	return request->io.file == volume_image(disk->volume)
		   ? &home_of(request)->turns
		   : &disk->kept->turns;
}

/* Submits whose turn it is. */
static void turns_go_on(struct turns *turns)
{
	struct volume_request *request;

	while ((request = turns->first) && turns->reads < SNAPSHOT_READS_MAX) {
		const struct snapshot_disk *disk = request->owner;

		if (turns->bytes >= turns_bytes(home_of(request), disk->volume))
			break;
		turns->first = request->next;
		turns->reads++;
		turns->bytes += request->io.length;
		ioq_submit(volume_ioq(disk->volume), &request->io);
	}
}

/* Before the request is answered: TURNS may be gone after that. */
static void turn_over(const struct volume_request *request)
{
	struct turns *turns = turns_of(request);

	turns->reads--;
	turns->bytes -= request->io.length;
	turns_go_on(turns);
}

static void turn_wait(struct volume_request *request, struct file *file,
		      uint64_t offset, uint64_t length,
		      void (*done)(struct io *io, int result))
{
	struct io *io = &request->io;
	struct turns *turns;

	io->op = IO_READ;
	io->flags = 0;
	io->file = file;
	io->offset = offset;
	io->length = length;
	io->buf = (char *)request->data + (offset - request->offset);
	io->done = done;
	turns = turns_of(request);
	request->next = NULL;
	if (!turns->first)
		turns->end = &turns->first;
	*turns->end = request;
	turns->end = &request->next;
	turns_go_on(turns);
}

/* ---- windows ------------------------------------------------------------- */

/* Where the request ends, or the window that `position` is in. */
static uint64_t window_end(const struct volume_request *request)
{
	uint64_t end = request->position / SNAPSHOT_READ_BYTES + 1;

	return MIN(end * SNAPSHOT_READ_BYTES,
		   request->offset + request->length);
}

/* The same in blocks. */
static uint64_t window_end_block(const struct volume_request *request)
{
	return div_round_up(window_end(request), BLOCK_BYTES);
}

static void window_begin(struct volume_request *request);
static void replace_next(struct volume_request *request);

/* What is before `position` is read: RESULT says how the last of it went. */
static void go_on(struct volume_request *request, int result)
{
	uint64_t end = request->offset + request->length;

	if (result < 0 || request->position >= end)
		read_finish(request, result);
	else if (request->position % SNAPSHOT_READ_BYTES == 0)
		window_begin(request);
	else
		replace_next(request);
}

static void replaced(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);
	const struct snapshot_disk *disk = request->owner;

	turn_over(request);
	if (result == 0)
		result = file_lost(disk->kept->scratch);
	if (result < 0) {
		snapshot_invalidate(disk->snapshot,
				    "reading its scratch file failed: %s",
				    strerror(err_errno(result)));
		result = -EIO;
	}
	request->position += request->piece;
	go_on(request, result);
}

/* From `position` on, the next run of the window that comes from scratch. */
static void replace_next(struct volume_request *request)
{
	const struct snapshot_disk *disk = request->owner;
	const struct kept *kept = disk->kept;
	uint64_t block = request->position >> BLOCK_SHIFT, run;
	uint64_t end = window_end(request);
	uint64_t end_block = window_end_block(request);

	if (!kept_has(kept, block))
		block = kept_run(kept, block, end_block);
	if (block >= end_block) {
		request->position = end;
		go_on(request, 0);
		return;
	}
	run = kept_run(kept, block, end_block);
	request->position = MAX(request->position, block << BLOCK_SHIFT);
	request->piece = MIN(run << BLOCK_SHIFT, end) - request->position;
	turn_wait(request, kept->scratch, request->position, request->piece,
		  replaced);
}

static void image_done(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);

	turn_over(request);
	if (result < 0)
		read_finish(request, result);
	else
		replace_next(request);
}

static void window_begin(struct volume_request *request)
{
	const struct snapshot_disk *disk = request->owner;
	const struct kept *kept = disk->kept;
	uint64_t first = request->position >> BLOCK_SHIFT;
	uint64_t end = window_end_block(request);

	if (kept_has(kept, first) && kept_run(kept, first, end) >= end)
		replace_next(request);
	else
		turn_wait(request,
			  kept->clone ? kept->clone
				      : volume_image(disk->volume),
			  request->position,
			  window_end(request) - request->position, image_done);
}

void snapshot_read(struct snapshot_disk *disk, struct volume_request *request)
{
	request->owner = disk;
	request->next = NULL;
	request->position = request->offset;
	request->piece = 0;
	request->result = 0;
	if (!snapshot_is_valid(disk->snapshot) || !disk->kept->scratch)
		fail_later(disk, request);
	else
		window_begin(request);
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

static int refuse_extent(const struct snapshot *s, struct err *err)
{
	char text[GUID_TEXT_BYTES];

	guid_format(&s->row.id, text);
	if (atomic_load(&s->gone))
		return err_set(err, -EIO, "snapshot %s is gone", text);
	return err_set(err, -EIO, "snapshot %s is invalid, drop it: %s", text,
		       s->reason);
}

int snapshot_extent(struct snapshot_disk *disk, uint64_t offset, uint64_t end,
		    uint64_t *ret_to, bool *ret_hole, struct err *err)
{
	const struct kept *kept = disk->kept;
	uint64_t block = offset >> BLOCK_SHIFT, to, run;
	bool hole;

	image_extent(data_fd(disk), offset, end, &to, &hole);
	if (!snapshot_is_valid(disk->snapshot))
		return refuse_extent(disk->snapshot, err);
	/* N4: what is a hole now was one then, unless it was copied. */
	run = kept_run(kept, block, div_round_up(to, BLOCK_BYTES))
	      << BLOCK_SHIFT;
	*ret_hole = hole && !kept_has(kept, block);
	*ret_to = hole ? MIN(run, to) : to;
	return 0;
}
