/* SPDX-License-Identifier: Apache-2.0 */
/* The tombstone: docs/format/tombstone.md. */
#include "format/format.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "format/frame.h"

#define MAGIC "RP-TOMB\n"

struct tombstone_disk {
	struct frame_disk frame;
	struct guid store;
	struct guid live;
	le64 time_ns;
	char reason[REASON_BYTES];
	uint8_t reserved[3880];
};

static_assert(offsetof(struct tombstone_disk, store) == 16, "tombstone.md");
static_assert(offsetof(struct tombstone_disk, live) == 32, "tombstone.md");
static_assert(offsetof(struct tombstone_disk, time_ns) == 48, "tombstone.md");
static_assert(offsetof(struct tombstone_disk, reason) == 56, "tombstone.md");
static_assert(offsetof(struct tombstone_disk, reserved) == 216, "tombstone.md");
static_assert(sizeof(struct tombstone_disk) == TOMBSTONE_BYTES, "tombstone.md");

void tombstone_encode(const struct tombstone *tombstone,
		      uint8_t buf[TOMBSTONE_BYTES])
{
	struct tombstone_disk *d = (struct tombstone_disk *)buf;

	memset(d, 0, sizeof(*d));
	frame_begin(&d->frame, MAGIC);
	d->store = tombstone->store;
	d->live = tombstone->live;
	d->time_ns = le64_make((uint64_t)tombstone->time_ns);
	text_put(d->reason, sizeof(d->reason), tombstone->reason);
	frame_finish(&d->frame, TOMBSTONE_BYTES);
}

static int check(const struct tombstone_disk *d, struct err *err)
{
	const char *what = "tombstone";
	int r = frame_check_magic(&d->frame, MAGIC, what, err);

	if (r == 0)
		r = frame_check_sum(&d->frame, TOMBSTONE_BYTES, what, err);
	if (r == 0)
		r = check_reserved(d, offsetof(struct tombstone_disk, reserved),
				   TOMBSTONE_BYTES, what, err);
	if (r == 0 && !text_is_valid(d->reason, sizeof(d->reason)))
		r = err_set(err, -RP_ECORRUPT, "%s: reason is no text", what);
	return r;
}

int tombstone_decode(const uint8_t buf[TOMBSTONE_BYTES],
		     struct tombstone *ret_tombstone, struct err *err)
{
	const struct tombstone_disk *d = (const struct tombstone_disk *)buf;
	int r;

	if (bytes_are_zero(buf, TOMBSTONE_BYTES))
		return -ENODATA;
	r = check(d, err);
	if (r < 0)
		return r;
	ret_tombstone->store = d->store;
	ret_tombstone->live = d->live;
	ret_tombstone->time_ns = (int64_t)le64_get(d->time_ns);
	memcpy(ret_tombstone->reason, d->reason, sizeof(d->reason));
	return 0;
}
