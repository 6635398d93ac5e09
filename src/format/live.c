/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a live bitmap: docs/format/live.md. */
#include "format/format.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "format/frame.h"

#define MAGIC "RP-LIVE\n"

struct live_disk {
	struct frame_disk frame;
	struct guid store;
	struct guid live;
	le64 generation;
	le64 bytes;
	le32 disk;
	uint8_t reserved[1980];
	/* struct live_state, of this machine's byte order; the rest is zero */
	uint8_t state[LIVE_HEAD_BYTES - LIVE_STATE_OFFSET];
};

static_assert(offsetof(struct live_disk, store) == 16, "live.md");
static_assert(offsetof(struct live_disk, live) == 32, "live.md");
static_assert(offsetof(struct live_disk, generation) == 48, "live.md");
static_assert(offsetof(struct live_disk, bytes) == 56, "live.md");
static_assert(offsetof(struct live_disk, disk) == 64, "live.md");
static_assert(offsetof(struct live_disk, reserved) == 68, "live.md");
static_assert(offsetof(struct live_disk, state) == LIVE_STATE_OFFSET,
	      "live.md");
static_assert(sizeof(struct live_disk) == LIVE_HEAD_BYTES, "live.md");
static_assert(offsetof(struct live_state, last_submission_ns) == 0, "live.md");
static_assert(offsetof(struct live_state, latched) == 8, "live.md");
static_assert(offsetof(struct live_state, reason) == 12, "live.md");
static_assert(sizeof(struct live_state) == 176, "live.md");

void live_encode(const struct live_head *head, uint8_t buf[LIVE_HEAD_BYTES])
{
	struct live_disk *d = (struct live_disk *)buf;

	memset(d, 0, sizeof(*d));
	frame_begin(&d->frame, MAGIC);
	d->store = head->store;
	d->live = head->live;
	d->generation = le64_make(head->generation);
	d->bytes = le64_make(head->bytes);
	d->disk = le32_make(head->disk);
	frame_finish(&d->frame, LIVE_STATE_OFFSET);
}

static int check(const struct live_disk *d, struct err *err)
{
	const char *what = "live bitmap";
	uint64_t bytes = le64_get(d->bytes);
	int r = frame_check_magic(&d->frame, MAGIC, what, err);

	if (r == 0)
		r = frame_check_sum(&d->frame, LIVE_STATE_OFFSET, what, err);
	if (r == 0)
		r = check_reserved(d, offsetof(struct live_disk, reserved),
				   LIVE_STATE_OFFSET, what, err);
	if (r == 0)
		r = check_reserved(
		    d, LIVE_STATE_OFFSET + sizeof(struct live_state),
		    LIVE_HEAD_BYTES, what, err);
	if (r == 0 &&
	    (bytes == 0 || bytes > DISK_BYTES_MAX || bytes % SECTOR_BYTES != 0))
		r = err_set(err, -RP_ECORRUPT,
			    "%s: a disk of %" PRIu64 " bytes", what, bytes);
	return r;
}

int live_decode(const uint8_t buf[LIVE_HEAD_BYTES], struct live_head *ret_head,
		struct err *err)
{
	const struct live_disk *d = (const struct live_disk *)buf;
	int r;

	if (bytes_are_zero(buf, LIVE_HEAD_BYTES))
		return -ENODATA;
	r = check(d, err);
	if (r < 0)
		return r;
	ret_head->store = d->store;
	ret_head->live = d->live;
	ret_head->generation = le64_get(d->generation);
	ret_head->disk = le32_get(d->disk);
	ret_head->bytes = le64_get(d->bytes);
	return 0;
}

uint64_t live_file_bytes(uint64_t bytes)
{
	return LIVE_HEAD_BYTES + div_round_up(bytes, REGION_BYTES) *
				     REGION_WORDS * sizeof(uint64_t);
}
