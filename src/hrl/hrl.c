/* SPDX-License-Identifier: Apache-2.0 */
/* Header, metadata blocks and entries: docs/format/log.md. */
#include "hrl/hrl.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "common/bytes.h"

#define COOKIE          "msctlog" /* and what fills it up to 8 bytes */
#define EPOCH_S         946684800 /* 2000-01-01, in seconds since 1970 */
#define NS_PER_S        1000000000
#define DISK_OFFSET_MAX INT64_MAX /* of any disk */

struct header_layout {
	uint8_t cookie[8];
	le32 version;
	le32 created;
	char creator[4];
	le32 creator_version;
	le64 original_bytes;
	le64 current_bytes;
	le32 checksum;
	le64 end;
	le32 error;
	le32 metadata_bytes;
	struct guid id;
	struct guid previous;
	le32 modified;
	le64 entries;
	le32 file_type;
	le16 flags;
	struct guid data_write;
	uint8_t reserved[3970];
};

static_assert(offsetof(struct header_layout, creator) == 16, "log.md");
static_assert(offsetof(struct header_layout, checksum) == 40, "log.md");
static_assert(offsetof(struct header_layout, end) == 44, "log.md");
static_assert(offsetof(struct header_layout, metadata_bytes) == 56, "log.md");
static_assert(offsetof(struct header_layout, previous) == 76, "log.md");
static_assert(offsetof(struct header_layout, entries) == 96, "log.md");
static_assert(offsetof(struct header_layout, data_write) == 110, "log.md");
static_assert(offsetof(struct header_layout, reserved) == 126, "log.md");
static_assert(sizeof(struct header_layout) == HRL_HEADER_BYTES, "log.md");

struct block_layout {
	le64 back;
	le32 entries;
	le32 checksum;
	uint8_t reserved[16];
};

static_assert(offsetof(struct block_layout, checksum) == 12, "log.md");
static_assert(sizeof(struct block_layout) == HRL_HEAD_BYTES, "log.md");

struct entry_layout {
	le64 offset;
	le32 checksum;
	le32 length;
	le32 time;
	uint8_t operation;
	le32 data_checksum;
	uint8_t location;
	uint8_t reserved[6];
};

static_assert(offsetof(struct entry_layout, checksum) == 8, "log.md");
static_assert(offsetof(struct entry_layout, data_checksum) == 21, "log.md");
static_assert(offsetof(struct entry_layout, reserved) == 26, "log.md");
static_assert(sizeof(struct entry_layout) == HRL_ENTRY_BYTES, "log.md");

static_assert(HRL_HEAD_BYTES + HRL_ENTRIES * HRL_ENTRY_BYTES ==
		  HRL_METADATA_BYTES,
	      "log.md");

uint32_t hrl_checksum(const void *data, uint64_t bytes)
{
	return ~hrl_sum(0, data, bytes);
}

/* Of a structure whose own checksum stands at OWN. */
static uint32_t checksum_but(const void *structure, uint64_t bytes,
			     uint64_t own)
{
	const uint8_t *p = structure;
	uint64_t rest = own + sizeof(le32);

	return ~hrl_sum(hrl_sum(0, p, own), p + rest, bytes - rest);
}

#define CHECKSUM_OF(d)                                                         \
	checksum_but((d), sizeof(*(d)),                                        \
		     (uint64_t)((const uint8_t *)&(d)->checksum -              \
				(const uint8_t *)(d)))

static bool is_zero(const uint8_t *p, size_t bytes)
{
	return p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0;
}

static int wrong_sum(uint32_t is, uint32_t want, struct err *err)
{
	return err_set(err, -RP_ECORRUPT,
		       "Checksum %" PRIu32 ", but its bytes have %" PRIu32, is,
		       want);
}

uint32_t hrl_time(int64_t realtime_ns)
{
	int64_t s = realtime_ns / NS_PER_S - EPOCH_S;

	return s < 0 ? 0 : s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

int64_t hrl_time_ns(uint32_t time)
{
	return (time + (int64_t)EPOCH_S) * NS_PER_S;
}

/* Between the order of the text, which is ours, and [MS-DTYP]'s. */
static struct guid guid_swap(struct guid guid)
{
	static const uint8_t from[16] = {3, 2, 1,  0,  5,  4,  7,  6,
					 8, 9, 10, 11, 12, 13, 14, 15};
	struct guid swapped;

	for (unsigned i = 0; i < sizeof(from); i++)
		swapped.b[i] = guid.b[from[i]];
	return swapped;
}

/* ---- The header ------------------------------------------------------ */

void hrl_header_encode(const struct hrl_header *header,
		       uint8_t buf[HRL_HEADER_BYTES])
{
	struct header_layout *d = (struct header_layout *)buf;

	memset(d, 0, sizeof(*d));
	memcpy(d->cookie, COOKIE, sizeof(d->cookie));
	d->version = le32_make(HRL_VERSION);
	d->created = le32_make(header->created);
	memcpy(d->creator, header->creator, sizeof(d->creator));
	d->creator_version = le32_make(header->creator_version);
	d->original_bytes = le64_make(header->original_bytes);
	d->current_bytes = le64_make(header->current_bytes);
	d->end = le64_make(header->end);
	d->error = le32_make((uint32_t)header->error);
	d->metadata_bytes = le32_make(header->metadata_bytes);
	d->id = guid_swap(header->id);
	d->previous = guid_swap(header->previous);
	d->modified = le32_make(header->modified);
	d->entries = le64_make(header->entries);
	d->file_type = le32_make(header->file_type);
	d->flags = le16_make(header->flags);
	d->data_write = guid_swap(header->data_write);
	d->checksum = le32_make(CHECKSUM_OF(d));
}

void hrl_header_peek(const uint8_t buf[HRL_HEADER_BYTES],
		     struct hrl_header *ret_header)
{
	const struct header_layout *d = (const struct header_layout *)buf;

	*ret_header = (struct hrl_header){
	    .version = le32_get(d->version),
	    .created = le32_get(d->created),
	    .creator_version = le32_get(d->creator_version),
	    .original_bytes = le64_get(d->original_bytes),
	    .current_bytes = le64_get(d->current_bytes),
	    .end = le64_get(d->end),
	    .error = (int32_t)le32_get(d->error),
	    .metadata_bytes = le32_get(d->metadata_bytes),
	    .id = guid_swap(d->id),
	    .previous = guid_swap(d->previous),
	    .modified = le32_get(d->modified),
	    .entries = le64_get(d->entries),
	    .file_type = le32_get(d->file_type),
	    .flags = le16_get(d->flags),
	    .data_write = guid_swap(d->data_write),
	};
	memcpy(ret_header->creator, d->creator, sizeof(d->creator));
}

/* A NUL fills the cookie up, or the blank of the text's example. */
static bool is_cookie(const uint8_t cookie[8])
{
	return memcmp(cookie, COOKIE, 7) == 0 &&
	       (cookie[7] == '\0' || cookie[7] == ' ');
}

static int header_check_frame(const struct header_layout *d, struct err *err)
{
	uint32_t version = le32_get(d->version);

	if (!is_cookie(d->cookie))
		return err_set(err, -RP_ECORRUPT, "Cookie is not 'msctlog'");
	if (le32_get(d->checksum) != CHECKSUM_OF(d))
		return wrong_sum(le32_get(d->checksum), CHECKSUM_OF(d), err);
	if (version != HRL_VERSION)
		return err_set(err, -RP_EVERSION,
			       "LogFormatVersion %" PRIu32 ".%" PRIu32
			       ", this program knows 2.0",
			       version >> 16, version & 0xffff);
	return 0;
}

static int header_check_kind(const struct header_layout *d, struct err *err)
{
	if (le32_get(d->file_type) != 0)
		return err_set(err, -RP_EUNSUPPORTED,
			       "FileType %" PRIu32 " is not known",
			       le32_get(d->file_type));
	if (le16_get(d->flags) != 0)
		return err_set(err, -RP_EUNSUPPORTED, "Flags 0x%x not known",
			       le16_get(d->flags));
	if (!is_zero(d->reserved, sizeof(d->reserved)))
		return err_set(err, -RP_EUNSUPPORTED, "Reserved is not zero");
	if (le32_get(d->error) != 0)
		return err_set(err, -RP_EFAILED,
			       "ErrorCode %" PRId32 ": the log is incomplete",
			       (int32_t)le32_get(d->error));
	return 0;
}

static int header_check_sizes(const struct header_layout *d, struct err *err)
{
	uint32_t metadata = le32_get(d->metadata_bytes);
	uint64_t end = le64_get(d->end);

	if (metadata == 0 || metadata % SECTOR_BYTES != 0 ||
	    metadata > HRL_METADATA_BYTES_MAX)
		return err_set(err, -RP_ECORRUPT,
			       "MetadataSize %" PRIu32
			       " is not a multiple of 512 up to %" PRIu64,
			       metadata, (uint64_t)HRL_METADATA_BYTES_MAX);
	if (end != 0 && (end < HRL_HEADER_BYTES + metadata ||
			 end % SECTOR_BYTES != 0 || end > INT64_MAX))
		return err_set(err, -RP_ECORRUPT,
			       "EOLLocation %" PRIu64
			       " is no end of a metadata block",
			       end);
	return 0;
}

int hrl_header_decode(const uint8_t buf[HRL_HEADER_BYTES],
		      struct hrl_header *ret_header, struct err *err)
{
	const struct header_layout *d = (const struct header_layout *)buf;
	int r = header_check_frame(d, err);

	if (r == 0)
		r = header_check_kind(d, err);
	if (r == 0)
		r = header_check_sizes(d, err);
	if (r < 0)
		return r;
	hrl_header_peek(buf, ret_header);
	return 0;
}

/* ---- A metadata block ------------------------------------------------- */

void hrl_block_encode(const struct hrl_block *block,
		      uint8_t buf[HRL_HEAD_BYTES])
{
	struct block_layout *d = (struct block_layout *)buf;

	memset(d, 0, sizeof(*d));
	d->back = le64_make(block->back);
	d->entries = le32_make(block->entries);
	d->checksum = le32_make(CHECKSUM_OF(d));
}

void hrl_block_peek(const uint8_t buf[HRL_HEAD_BYTES],
		    struct hrl_block *ret_block)
{
	const struct block_layout *d = (const struct block_layout *)buf;

	ret_block->back = le64_get(d->back);
	ret_block->entries = le32_get(d->entries);
}

/* The blocks before lie at smaller and smaller offsets, and do not overlap, so
 * that there can be no loop. */
static int check_back(uint64_t back, uint64_t at, uint32_t metadata_bytes,
		      struct err *err)
{
	if (back == 0)
		return 0;
	if (back > at - HRL_HEADER_BYTES)
		return err_set(err, -RP_ECORRUPT,
			       "PreviousMetadataLocation %" PRIu64
			       " leads into the header or before it",
			       back);
	if (back < metadata_bytes)
		return err_set(err, -RP_ECORRUPT,
			       "PreviousMetadataLocation %" PRIu64
			       " leads to a block that overlaps this one",
			       back);
	if (back % SECTOR_BYTES != 0)
		return err_set(err, -RP_ECORRUPT,
			       "PreviousMetadataLocation %" PRIu64
			       " is not a multiple of 512",
			       back);
	return 0;
}

int hrl_block_decode(const uint8_t buf[HRL_HEAD_BYTES], uint64_t at,
		     uint32_t metadata_bytes, struct hrl_block *ret_block,
		     struct err *err)
{
	const struct block_layout *d = (const struct block_layout *)buf;
	struct hrl_block block;
	int r;

	assert(at >= HRL_HEADER_BYTES);
	hrl_block_peek(buf, &block);
	if (le32_get(d->checksum) != CHECKSUM_OF(d))
		return wrong_sum(le32_get(d->checksum), CHECKSUM_OF(d), err);
	if (!is_zero(d->reserved, sizeof(d->reserved)))
		return err_set(err, -RP_EUNSUPPORTED, "Reserved is not zero");
	if (block.entries > hrl_slots(metadata_bytes))
		return err_set(err, -RP_ECORRUPT,
			       "ValidMetadataEntries %" PRIu32
			       ", but there is room for %" PRIu32,
			       block.entries, hrl_slots(metadata_bytes));
	r = check_back(block.back, at, metadata_bytes, err);
	if (r < 0)
		return r;
	*ret_block = block;
	return 0;
}

void hrl_entry_encode(const struct hrl_entry *entry,
		      uint8_t buf[HRL_ENTRY_BYTES])
{
	struct entry_layout *d = (struct entry_layout *)buf;

	memset(d, 0, sizeof(*d));
	d->offset = le64_make(entry->offset);
	d->length = le32_make(entry->length);
	d->time = le32_make(entry->time);
	d->operation = HRL_OPERATION_WRITE;
	d->data_checksum = le32_make(entry->data_checksum);
	d->checksum = le32_make(CHECKSUM_OF(d));
}

bool hrl_entry_is_whole(const uint8_t buf[HRL_ENTRY_BYTES])
{
	const struct entry_layout *d = (const struct entry_layout *)buf;

	return le32_get(d->checksum) == CHECKSUM_OF(d);
}

void hrl_entry_peek(const uint8_t buf[HRL_ENTRY_BYTES],
		    struct hrl_entry *ret_entry)
{
	const struct entry_layout *d = (const struct entry_layout *)buf;

	ret_entry->offset = le64_get(d->offset);
	ret_entry->length = le32_get(d->length);
	ret_entry->time = le32_get(d->time);
	ret_entry->data_checksum = le32_get(d->data_checksum);
	ret_entry->operation = d->operation;
}

static int check_range(const struct hrl_entry *entry, uint64_t disk_bytes,
		       struct err *err)
{
	uint64_t limit = disk_bytes ? disk_bytes : DISK_OFFSET_MAX;

	if (entry->length == 0 || entry->length % SECTOR_BYTES != 0)
		return err_set(err, -RP_ECORRUPT,
			       "DataLength %" PRIu32 " is not whole sectors",
			       entry->length);
	if (entry->offset % SECTOR_BYTES != 0)
		return err_set(err, -RP_ECORRUPT,
			       "ByteOffset %" PRIu64
			       " is not a multiple of 512",
			       entry->offset);
	if (entry->offset > limit || entry->length > limit - entry->offset)
		return err_set(err, -RP_ECORRUPT,
			       "%" PRIu32 " bytes at ByteOffset %" PRIu64
			       " end beyond the disk, at %" PRIu64,
			       entry->length, entry->offset, limit);
	return 0;
}

int hrl_entry_decode(const uint8_t buf[HRL_ENTRY_BYTES], uint64_t disk_bytes,
		     struct hrl_entry *ret_entry, struct err *err)
{
	const struct entry_layout *d = (const struct entry_layout *)buf;
	struct hrl_entry entry;
	int r;

	hrl_entry_peek(buf, &entry);
	if (!hrl_entry_is_whole(buf))
		return wrong_sum(le32_get(d->checksum), CHECKSUM_OF(d), err);
	if (entry.operation != HRL_OPERATION_WRITE)
		return err_set(err, -RP_EUNSUPPORTED,
			       "MetaOperation %u is no write", entry.operation);
	if (!is_zero(d->reserved, sizeof(d->reserved)))
		return err_set(err, -RP_EUNSUPPORTED, "Reserved is not zero");
	r = check_range(&entry, disk_bytes, err);
	if (r < 0)
		return r;
	*ret_entry = entry;
	return 0;
}

bool hrl_is_zeros(uint32_t length, uint32_t data_checksum)
{
	return length <= HRL_ZEROS_BYTES_MAX &&
	       data_checksum == HRL_ZEROS_CHECKSUM;
}
