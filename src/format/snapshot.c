/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a snapshot's file of one disk: docs/format/snapshot.md. */
#include "format/format.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "format/frame.h"

#define MAGIC "RP-SNAP\n"

struct snapshot_layout {
	struct frame_disk frame;
	struct guid store;
	struct guid snapshot;
	struct guid boot;
	le64 bytes;
	le64 limit_bytes;
	le32 disk;
	uint8_t reserved[1964];
	/* struct snapshot_file_state, of this machine's byte order; the rest
	 * is zero */
	uint8_t state[SNAPSHOT_HEAD_BYTES - SNAPSHOT_STATE_OFFSET];
};

static_assert(offsetof(struct snapshot_layout, store) == 16, "snapshot.md");
static_assert(offsetof(struct snapshot_layout, snapshot) == 32, "snapshot.md");
static_assert(offsetof(struct snapshot_layout, boot) == 48, "snapshot.md");
static_assert(offsetof(struct snapshot_layout, bytes) == 64, "snapshot.md");
static_assert(offsetof(struct snapshot_layout, limit_bytes) == 72,
	      "snapshot.md");
static_assert(offsetof(struct snapshot_layout, disk) == 80, "snapshot.md");
static_assert(offsetof(struct snapshot_layout, reserved) == 84, "snapshot.md");
static_assert(offsetof(struct snapshot_layout, state) == SNAPSHOT_STATE_OFFSET,
	      "snapshot.md");
static_assert(sizeof(struct snapshot_layout) == SNAPSHOT_HEAD_BYTES,
	      "snapshot.md");
static_assert(offsetof(struct snapshot_file_state, copied_bytes) == 0,
	      "snapshot.md");
static_assert(offsetof(struct snapshot_file_state, invalid) == 8,
	      "snapshot.md");
static_assert(offsetof(struct snapshot_file_state, cloned) == 12,
	      "snapshot.md");
static_assert(offsetof(struct snapshot_file_state, reason) == 16,
	      "snapshot.md");
static_assert(sizeof(struct snapshot_file_state) == 176, "snapshot.md");

void snapshot_encode(const struct snapshot_head *head,
		     uint8_t buf[SNAPSHOT_HEAD_BYTES])
{
	struct snapshot_layout *d = (struct snapshot_layout *)buf;

	memset(d, 0, sizeof(*d));
	frame_begin(&d->frame, MAGIC);
	d->store = head->store;
	d->snapshot = head->snapshot;
	d->boot = head->boot;
	d->bytes = le64_make(head->bytes);
	d->limit_bytes = le64_make(head->limit_bytes);
	d->disk = le32_make(head->disk);
	frame_finish(&d->frame, SNAPSHOT_STATE_OFFSET);
}

static int check(const struct snapshot_layout *d, struct err *err)
{
	const char *what = "snapshot file";
	uint64_t bytes = le64_get(d->bytes);
	int r = frame_check_magic(&d->frame, MAGIC, what, err);

	if (r == 0)
		r = frame_check_sum(&d->frame, SNAPSHOT_STATE_OFFSET, what,
				    err);
	if (r == 0)
		r = check_reserved(d,
				   offsetof(struct snapshot_layout, reserved),
				   SNAPSHOT_STATE_OFFSET, what, err);
	if (r == 0)
		r = check_reserved(d,
				   SNAPSHOT_STATE_OFFSET +
				       sizeof(struct snapshot_file_state),
				   SNAPSHOT_HEAD_BYTES, what, err);
	if (r == 0 &&
	    (bytes == 0 || bytes > DISK_BYTES_MAX || bytes % SECTOR_BYTES != 0))
		r = err_set(err, -RP_ECORRUPT,
			    "%s: a disk of %" PRIu64 " bytes", what, bytes);
	return r;
}

int snapshot_decode(const uint8_t buf[SNAPSHOT_HEAD_BYTES],
		    struct snapshot_head *ret_head, struct err *err)
{
	const struct snapshot_layout *d = (const struct snapshot_layout *)buf;
	int r = check(d, err);

	if (r < 0)
		return r;
	ret_head->store = d->store;
	ret_head->snapshot = d->snapshot;
	ret_head->boot = d->boot;
	ret_head->bytes = le64_get(d->bytes);
	ret_head->limit_bytes = le64_get(d->limit_bytes);
	ret_head->disk = le32_get(d->disk);
	return 0;
}

uint64_t snapshot_file_bytes(uint64_t bytes)
{
	return SNAPSHOT_HEAD_BYTES +
	       div_round_up(bytes, BLOCK_BYTES * 64) * sizeof(uint64_t);
}
