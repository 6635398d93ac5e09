/* SPDX-License-Identifier: Apache-2.0 */
/* Records of region intents: docs/format/intents.md. */
#include "format/format.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "format/frame.h"

#define MAGIC        "RP-INTS\n"
#define WRITE_UNIT   4096u
#define DISK_SHIFT   48
#define REGION_LIMIT (1ULL << DISK_SHIFT)

struct intents_disk {
	struct frame_disk frame;
	struct guid store;
	struct guid live;
	le64 sequence;
	le32 entries;
	uint8_t reserved[68];
	le64 entry[];
};

static_assert(offsetof(struct intents_disk, store) == 16, "intents.md");
static_assert(offsetof(struct intents_disk, live) == 32, "intents.md");
static_assert(offsetof(struct intents_disk, sequence) == 48, "intents.md");
static_assert(offsetof(struct intents_disk, entries) == 56, "intents.md");
static_assert(offsetof(struct intents_disk, reserved) == 60, "intents.md");
static_assert(offsetof(struct intents_disk, entry) == INTENT_HEAD_BYTES,
	      "intents.md");
static_assert(INTENT_SLOT_BYTES % WRITE_UNIT == 0, "whole units");
static_assert(INTENT_ENTRIES_MAX >= HOT_REGIONS_MAX * DISKS_PER_VM_MAX,
	      "a record holds the whole hot set");

uint32_t intents_encode(const struct intent_head *head,
			const struct intent *intents, uint8_t *buf)
{
	struct intents_disk *d = (struct intents_disk *)buf;
	uint32_t bytes = INTENT_HEAD_BYTES + head->entries * 8;
	uint32_t whole = (uint32_t)round_up(bytes, WRITE_UNIT);

	assert(head->entries <= INTENT_ENTRIES_MAX);
	memset(d, 0, INTENT_HEAD_BYTES);
	memset(buf + bytes, 0, whole - bytes);
	frame_begin(&d->frame, MAGIC);
	d->store = head->store;
	d->live = head->live;
	d->sequence = le64_make(head->sequence);
	d->entries = le32_make(head->entries);
	for (uint32_t i = 0; i < head->entries; i++) {
		uint64_t disk = intents[i].disk, region = intents[i].region;

		assert(disk <= UINT16_MAX && region < REGION_LIMIT);
		d->entry[i] = le64_make(disk << DISK_SHIFT | region);
	}
	frame_finish(&d->frame, bytes);
	return whole;
}

static int check(const struct intents_disk *d, uint32_t bytes, struct err *err)
{
	const char *what = "intents record";
	int r = frame_check_magic(&d->frame, MAGIC, what, err);
	uint32_t n;

	if (r < 0)
		return r;
	n = le32_get(d->entries);
	if (n > (bytes - INTENT_HEAD_BYTES) / 8)
		return err_set(err, -RP_ECORRUPT,
			       "%s: %" PRIu32 " entries do not fit", what, n);
	r = frame_check_sum(&d->frame, INTENT_HEAD_BYTES + n * 8, what, err);
	if (r == 0)
		r = check_reserved(d, offsetof(struct intents_disk, reserved),
				   INTENT_HEAD_BYTES, what, err);
	if (r == 0 && le64_get(d->sequence) == 0)
		r = err_set(err, -RP_ECORRUPT, "%s: sequence is 0", what);
	return r;
}

int intents_decode(const uint8_t *buf, uint32_t bytes,
		   struct intent_head *ret_head, struct intent *ret_intents,
		   struct err *err)
{
	const struct intents_disk *d = (const struct intents_disk *)buf;
	int r;

	if (bytes < INTENT_HEAD_BYTES || bytes > INTENT_SLOT_BYTES)
		return err_set(err, -RP_ECORRUPT,
			       "intents record: slot of %" PRIu32 " bytes",
			       bytes);
	if (bytes_are_zero(buf, bytes))
		return -ENODATA;
	r = check(d, bytes, err);
	if (r < 0)
		return r;
	ret_head->store = d->store;
	ret_head->live = d->live;
	ret_head->sequence = le64_get(d->sequence);
	ret_head->entries = le32_get(d->entries);
	for (uint32_t i = 0; i < ret_head->entries; i++) {
		uint64_t entry = le64_get(d->entry[i]);

		ret_intents[i].disk = (uint32_t)(entry >> DISK_SHIFT);
		ret_intents[i].region = entry & (REGION_LIMIT - 1);
	}
	return 0;
}
