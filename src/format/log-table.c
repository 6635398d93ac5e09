/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a log's table on the tmpfs: docs/format/log-table.md. */
#include "format/format.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "format/frame.h"

#define MAGIC "RP-LTAB\n"

struct table_layout {
	struct frame_disk frame;
	struct guid store;
	struct guid point;
	struct guid log;
	struct guid boot;
	le32 slots;
	le32 disk;
	uint8_t reserved[1960];
	/* struct log_table_live, of this machine's byte order; the rest is
	 * zero */
	uint8_t live[LOG_TABLE_HEAD_BYTES - LOG_TABLE_LIVE_OFFSET];
};

static_assert(offsetof(struct table_layout, store) == 16, "log-table.md");
static_assert(offsetof(struct table_layout, point) == 32, "log-table.md");
static_assert(offsetof(struct table_layout, log) == 48, "log-table.md");
static_assert(offsetof(struct table_layout, boot) == 64, "log-table.md");
static_assert(offsetof(struct table_layout, slots) == 80, "log-table.md");
static_assert(offsetof(struct table_layout, disk) == 84, "log-table.md");
static_assert(offsetof(struct table_layout, reserved) == 88, "log-table.md");
static_assert(offsetof(struct table_layout, live) == LOG_TABLE_LIVE_OFFSET,
	      "log-table.md");
static_assert(sizeof(struct table_layout) == LOG_TABLE_HEAD_BYTES,
	      "log-table.md");
static_assert(sizeof(struct log_table_live) == 4, "log-table.md");
static_assert(sizeof(struct log_table_slot) == 16, "log-table.md");

void log_table_encode(const struct log_table_head *head,
		      uint8_t buf[LOG_TABLE_HEAD_BYTES])
{
	struct table_layout *d = (struct table_layout *)buf;

	memset(d, 0, sizeof(*d));
	frame_begin(&d->frame, MAGIC);
	d->store = head->store;
	d->point = head->point;
	d->log = head->log;
	d->boot = head->boot;
	d->slots = le32_make(head->slots);
	d->disk = le32_make(head->disk);
	frame_finish(&d->frame, LOG_TABLE_LIVE_OFFSET);
}

static int check(const struct table_layout *d, struct err *err)
{
	const char *what = "log table";
	uint32_t slots = le32_get(d->slots);
	int r = frame_check_magic(&d->frame, MAGIC, what, err);

	if (r == 0)
		r = frame_check_sum(&d->frame, LOG_TABLE_LIVE_OFFSET, what,
				    err);
	if (r == 0)
		r = check_reserved(d, offsetof(struct table_layout, reserved),
				   LOG_TABLE_LIVE_OFFSET, what, err);
	if (r == 0)
		r = check_reserved(
		    d, LOG_TABLE_LIVE_OFFSET + sizeof(struct log_table_live),
		    LOG_TABLE_HEAD_BYTES, what, err);
	if (r == 0 && (slots == 0 || slots > LOG_TABLE_SLOTS_MAX))
		r = err_set(err, -RP_ECORRUPT, "%s: %" PRIu32 " slots", what,
			    slots);
	return r;
}

int log_table_decode(const uint8_t buf[LOG_TABLE_HEAD_BYTES],
		     struct log_table_head *ret_head, struct err *err)
{
	const struct table_layout *d = (const struct table_layout *)buf;
	int r = check(d, err);

	if (r < 0)
		return r;
	ret_head->store = d->store;
	ret_head->point = d->point;
	ret_head->log = d->log;
	ret_head->boot = d->boot;
	ret_head->slots = le32_get(d->slots);
	ret_head->disk = le32_get(d->disk);
	return 0;
}

uint64_t log_table_bytes(uint32_t slots)
{
	return LOG_TABLE_HEAD_BYTES +
	       (uint64_t)slots * sizeof(struct log_table_slot);
}
