/* SPDX-License-Identifier: Apache-2.0 */
/* What stands beside a log: docs/format/sidecar.md. */
#include "format/format.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "common/crc32c.h"
#include "format/frame.h"

#define MAGIC "RP-SIDE\n"

struct head_layout {
	struct frame_disk frame;
	struct guid store;
	struct guid log;
	struct guid previous;
	struct guid point;
	le64 bytes;
	le64 first_sequence;
	le64 first_time_ns;
	le32 disk;
	uint8_t reserved[3988];
};

static_assert(offsetof(struct head_layout, store) == 16, "sidecar.md");
static_assert(offsetof(struct head_layout, log) == 32, "sidecar.md");
static_assert(offsetof(struct head_layout, previous) == 48, "sidecar.md");
static_assert(offsetof(struct head_layout, point) == 64, "sidecar.md");
static_assert(offsetof(struct head_layout, bytes) == 80, "sidecar.md");
static_assert(offsetof(struct head_layout, first_sequence) == 88, "sidecar.md");
static_assert(offsetof(struct head_layout, first_time_ns) == 96, "sidecar.md");
static_assert(offsetof(struct head_layout, disk) == 104, "sidecar.md");
static_assert(offsetof(struct head_layout, reserved) == 108, "sidecar.md");
static_assert(sizeof(struct head_layout) == SIDECAR_HEAD_BYTES, "sidecar.md");

struct record_layout {
	le32 checksum;
	le32 data_checksum;
	uint8_t kind;
	uint8_t flags;
	uint8_t reserved[2];
	le32 length;
	le64 number;
	le64 sequence;
	le64 time_ns;
	le64 offset;
	le64 at;
	uint8_t more[8];
};

static_assert(offsetof(struct record_layout, kind) == 8, "sidecar.md");
static_assert(offsetof(struct record_layout, length) == 12, "sidecar.md");
static_assert(offsetof(struct record_layout, number) == 16, "sidecar.md");
static_assert(offsetof(struct record_layout, sequence) == 24, "sidecar.md");
static_assert(offsetof(struct record_layout, time_ns) == 32, "sidecar.md");
static_assert(offsetof(struct record_layout, offset) == 40, "sidecar.md");
static_assert(offsetof(struct record_layout, at) == 48, "sidecar.md");
static_assert(offsetof(struct record_layout, more) == 56, "sidecar.md");
static_assert(sizeof(struct record_layout) == SIDECAR_RECORD_BYTES,
	      "sidecar.md");

static const char *const names[] = {
    [SIDECAR_WRITE] = "write", [SIDECAR_ZEROS] = "zeros",
    [SIDECAR_BLOCK] = "block", [SIDECAR_FLUSH] = "flush",
    [SIDECAR_BREAK] = "break", [SIDECAR_MENDED] = "mended",
    [SIDECAR_CLOSE] = "close"};

const char *sidecar_kind_name(enum sidecar_kind kind)
{
	return names[kind];
}

/* ---- The head ---------------------------------------------------------- */

void sidecar_encode(const struct sidecar_head *head,
		    uint8_t buf[SIDECAR_HEAD_BYTES])
{
	struct head_layout *d = (struct head_layout *)buf;

	memset(d, 0, sizeof(*d));
	frame_begin(&d->frame, MAGIC);
	d->store = head->store;
	d->log = head->log;
	d->previous = head->previous;
	d->point = head->point;
	d->bytes = le64_make(head->bytes);
	d->first_sequence = le64_make(head->first_sequence);
	d->first_time_ns = le64_make((uint64_t)head->first_time_ns);
	d->disk = le32_make(head->disk);
	frame_finish(&d->frame, SIDECAR_HEAD_BYTES);
}

static int check_head(const struct head_layout *d, struct err *err)
{
	const char *what = "sidecar";
	uint64_t bytes = le64_get(d->bytes);
	int r = frame_check_magic(&d->frame, MAGIC, what, err);

	if (r == 0)
		r = frame_check_sum(&d->frame, SIDECAR_HEAD_BYTES, what, err);
	if (r == 0)
		r = check_reserved(d, offsetof(struct head_layout, reserved),
				   SIDECAR_HEAD_BYTES, what, err);
	if (r == 0 &&
	    (bytes == 0 || bytes > DISK_BYTES_MAX || bytes % SECTOR_BYTES != 0))
		r = err_set(err, -RP_ECORRUPT,
			    "%s: a disk of %" PRIu64 " bytes", what, bytes);
	if (r == 0 && le64_get(d->first_time_ns) > INT64_MAX)
		r = err_set(err, -RP_ECORRUPT, "%s: a time before 1970", what);
	return r;
}

int sidecar_decode(const uint8_t buf[SIDECAR_HEAD_BYTES],
		   struct sidecar_head *ret_head, struct err *err)
{
	const struct head_layout *d = (const struct head_layout *)buf;
	int r = check_head(d, err);

	if (r < 0)
		return r;
	ret_head->store = d->store;
	ret_head->log = d->log;
	ret_head->previous = d->previous;
	ret_head->point = d->point;
	ret_head->bytes = le64_get(d->bytes);
	ret_head->first_sequence = le64_get(d->first_sequence);
	ret_head->first_time_ns = (int64_t)le64_get(d->first_time_ns);
	ret_head->disk = le32_get(d->disk);
	return 0;
}

/* ---- Records ------------------------------------------------------------ */

static uint32_t record_checksum(const struct guid *log,
				const struct record_layout *d)
{
	struct record_layout copy = *d;

	copy.checksum = le32_make(0);
	return crc32c(crc32c(0, log, sizeof(*log)), &copy, sizeof(copy));
}

void sidecar_record_encode(const struct guid *log,
			   const struct sidecar_record *record,
			   uint8_t buf[SIDECAR_RECORD_BYTES])
{
	struct record_layout *d = (struct record_layout *)buf;

	memset(d, 0, sizeof(*d));
	d->data_checksum = le32_make(record->data_checksum);
	d->kind = (uint8_t)record->kind;
	d->flags = record->mending ? SIDECAR_FLAG_MENDING : 0;
	d->length = le32_make(record->length);
	d->number = le64_make(record->number);
	d->sequence = le64_make(record->sequence);
	d->time_ns = le64_make((uint64_t)record->time_ns);
	d->offset = le64_make(record->offset);
	d->at = le64_make(record->at);
	d->checksum = le32_make(record_checksum(log, d));
}

static int bad(struct err *err, uint64_t number, const char *why)
{
	return err_set(err, -RP_ECORRUPT, "sidecar: record %" PRIu64 ": %s",
		       number, why);
}

static bool is_of_disk(const struct record_layout *d, uint64_t bytes)
{
	uint64_t length = le32_get(d->length), offset = le64_get(d->offset);

	return length > 0 && length <= bytes && offset <= bytes - length &&
	       length % SECTOR_BYTES == 0 && offset % SECTOR_BYTES == 0;
}

static const char *check_record(const struct record_layout *d,
				const struct sidecar_head *head)
{
	bool data = d->kind == SIDECAR_WRITE || d->kind == SIDECAR_ZEROS;
	uint64_t at = le64_get(d->at);

	if (d->kind < SIDECAR_WRITE || d->kind > SIDECAR_CLOSE)
		return "of no known kind";
	if ((d->flags & ~SIDECAR_FLAG_MENDING) != 0 ||
	    !bytes_are_zero(d->reserved, sizeof(d->reserved)) ||
	    !bytes_are_zero(d->more, sizeof(d->more)))
		return "reserved bits are set";
	if (le64_get(d->time_ns) > INT64_MAX)
		return "a time before 1970";
	if (le64_get(d->sequence) < head->first_sequence)
		return "a sequence before the log's first";
	if (at % SECTOR_BYTES != 0 || at > INT64_MAX)
		return "a place that the log cannot have";
	if (data && !is_of_disk(d, head->bytes))
		return "beyond the disk's end, or no whole sectors";
	if (!data && (le32_get(d->length) != 0 || le64_get(d->offset) != 0))
		return "a range, but no data";
	if (d->kind != SIDECAR_WRITE && le32_get(d->data_checksum) != 0)
		return "a checksum of no data";
	return NULL;
}

int sidecar_record_decode(const uint8_t buf[SIDECAR_RECORD_BYTES],
			  const struct sidecar_head *head, uint64_t number,
			  struct sidecar_record *ret_record, struct err *err)
{
	const struct record_layout *d = (const struct record_layout *)buf;
	const char *why = NULL;

	if (bytes_are_zero(buf, SIDECAR_RECORD_BYTES))
		return -ENODATA;
	if (le32_get(d->checksum) != record_checksum(&head->log, d))
		why = "wrong checksum";
	else if (le64_get(d->number) != number)
		why = "it has another number";
	else
		why = check_record(d, head);
	if (why)
		return bad(err, number, why);
	*ret_record = (struct sidecar_record){
	    .kind = d->kind,
	    .mending = d->flags & SIDECAR_FLAG_MENDING,
	    .data_checksum = le32_get(d->data_checksum),
	    .length = le32_get(d->length),
	    .number = number,
	    .sequence = le64_get(d->sequence),
	    .time_ns = (int64_t)le64_get(d->time_ns),
	    .offset = le64_get(d->offset),
	    .at = le64_get(d->at),
	};
	return 0;
}

uint64_t sidecar_offset(uint64_t number)
{
	return SIDECAR_HEAD_BYTES + number * SIDECAR_RECORD_BYTES;
}
