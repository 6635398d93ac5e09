/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed generations: docs/format/sealed.md.
 *
 *   S1  Each set has exactly one encoding, and the decoder takes no other: a
 *       file that decodes encodes to the same bytes.
 *   S2  The decoder's memory is bounded by the file's size: a section is not
 *       looked at before the bytes of its containers are known to be there.
 */
#include "format/format.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "format/frame.h"

#define MAGIC    "RP-SEAL\n"
#define LIST_MAX 255u /* with 256 blocks a bitmap is as small */
#define WHAT     "sealed generation"

enum kind {
	KIND_FULL = 1,
	KIND_LIST = 2,
	KIND_BITMAP = 3,
};

struct sealed_disk_head {
	struct frame_disk frame;
	struct guid store;
	le64 generation;
	le64 bytes;
	le32 serial;
	le32 disks;
	uint8_t reserved[8];
};

struct section_disk {
	le32 disk;
	le32 containers;
	le64 bytes;
	le64 blocks;
};

struct container_disk {
	le32 region;
	le16 kind;
	le16 blocks; /* - 1 */
};

static_assert(offsetof(struct sealed_disk_head, store) == 16, "sealed.md");
static_assert(offsetof(struct sealed_disk_head, generation) == 32, "sealed.md");
static_assert(offsetof(struct sealed_disk_head, bytes) == 40, "sealed.md");
static_assert(offsetof(struct sealed_disk_head, serial) == 48, "sealed.md");
static_assert(offsetof(struct sealed_disk_head, disks) == 52, "sealed.md");
static_assert(offsetof(struct sealed_disk_head, reserved) == 56, "sealed.md");
static_assert(sizeof(struct sealed_disk_head) == 64, "sealed.md");
static_assert(offsetof(struct section_disk, containers) == 4, "sealed.md");
static_assert(offsetof(struct section_disk, bytes) == 8, "sealed.md");
static_assert(offsetof(struct section_disk, blocks) == 16, "sealed.md");
static_assert(sizeof(struct section_disk) == 24, "sealed.md");
static_assert(offsetof(struct container_disk, kind) == 4, "sealed.md");
static_assert(offsetof(struct container_disk, blocks) == 6, "sealed.md");
static_assert(sizeof(struct container_disk) == 8, "sealed.md");

static uint32_t count_words(const uint64_t *words)
{
	uint32_t n = 0;

	for (unsigned w = 0; w < REGION_WORDS; w++)
		n += (uint32_t)__builtin_popcountll(words[w]);
	return n;
}

/* Blocks that REGION of a disk of BLOCKS has. */
static uint32_t region_size(uint64_t blocks, uint64_t region)
{
	return (uint32_t)MIN(blocks - region * REGION_BLOCKS,
			     (uint64_t)REGION_BLOCKS);
}

static enum kind choose_kind(uint32_t count, uint32_t size)
{
	if (count == size)
		return KIND_FULL;
	return count <= LIST_MAX ? KIND_LIST : KIND_BITMAP;
}

static uint64_t payload_bytes(enum kind kind, uint32_t count)
{
	switch (kind) {
	case KIND_FULL:
		return 0;
	case KIND_LIST:
		return count * sizeof(le16);
	case KIND_BITMAP:
		break;
	}
	return REGION_WORDS * sizeof(le64);
}

/* ---- encoding ------------------------------------------------------- */

struct buffer {
	uint8_t *bytes;
	uint64_t used;
	uint64_t room;
};

/* N zeroed bytes at the end, or NULL. */
static void *buffer_add(struct buffer *buffer, uint64_t n)
{
	void *at;

	if (buffer->room - buffer->used < n) {
		uint64_t room = MAX(buffer->room * 2, buffer->used + n + 4096);
		void *bytes = realloc(buffer->bytes, room);

		if (!bytes)
			return NULL;
		buffer->bytes = bytes;
		buffer->room = room;
	}
	at = buffer->bytes + buffer->used;
	buffer->used += n;
	return memset(at, 0, n);
}

static void put_list(uint8_t *to, const uint64_t *words)
{
	for (unsigned w = 0; w < REGION_WORDS; w++)
		for (uint64_t bits = words[w]; bits; bits &= bits - 1) {
			le16 block = le16_make(
			    (uint16_t)(w * 64u +
				       (unsigned)__builtin_ctzll(bits)));

			memcpy(to, &block, sizeof(block));
			to += sizeof(block);
		}
}

static void put_bitmap(uint8_t *to, const uint64_t *words)
{
	for (unsigned w = 0; w < REGION_WORDS; w++) {
		le64 word = le64_make(words[w]);

		memcpy(to + w * sizeof(word), &word, sizeof(word));
	}
}

static int put_container(struct buffer *buffer, uint64_t region, uint32_t size,
			 const uint64_t *words, uint32_t *ret_count)
{
	uint32_t count = count_words(words);
	enum kind kind = choose_kind(count, size);
	struct container_disk *d =
	    buffer_add(buffer, sizeof(*d) + payload_bytes(kind, count));

	if (!d)
		return -ENOMEM;
	d->region = le32_make((uint32_t)region);
	d->kind = le16_make((uint16_t)kind);
	d->blocks = le16_make((uint16_t)(count - 1));
	if (kind == KIND_LIST)
		put_list((uint8_t *)(d + 1), words);
	if (kind == KIND_BITMAP)
		put_bitmap((uint8_t *)(d + 1), words);
	*ret_count = count;
	return 0;
}

static int put_section(struct buffer *buffer, const struct sealed_disk *disk)
{
	uint64_t begin = buffer->used, words[REGION_WORDS], blocks = 0;
	uint32_t containers = 0, count;
	uint64_t first, end, region;
	struct section_disk *d = buffer_add(buffer, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	for (uint64_t at = 0; blockset_next(disk->set, at, &first, &end);
	     at = (region + 1) * REGION_BLOCKS) {
		region = first / REGION_BLOCKS;
		(void)blockset_region(disk->set, region, words);
		r = put_container(buffer, region,
				  region_size(blockset_blocks(disk->set),
					      region),
				  words, &count);
		if (r < 0)
			return r;
		containers++;
		blocks += count;
	}
	d = (struct section_disk *)(buffer->bytes + begin);
	d->disk = le32_make(disk->disk);
	d->containers = le32_make(containers);
	d->bytes = le64_make(blockset_bytes(disk->set));
	d->blocks = le64_make(blocks);
	return 0;
}

static int put_all(struct buffer *buffer, const struct sealed_head *head,
		   const struct sealed_disk *disks)
{
	struct sealed_disk_head *d = buffer_add(buffer, sizeof(*d));

	if (!d)
		return -ENOMEM;
	for (uint32_t i = 0; i < head->disks; i++) {
		int r = put_section(buffer, &disks[i]);

		assert(i == 0 || disks[i - 1].disk < disks[i].disk);
		if (r < 0)
			return r;
	}
	d = (struct sealed_disk_head *)buffer->bytes;
	frame_begin(&d->frame, MAGIC);
	d->store = head->store;
	d->generation = le64_make(head->generation);
	d->bytes = le64_make(buffer->used);
	d->serial = le32_make(head->serial);
	d->disks = le32_make(head->disks);
	frame_finish(&d->frame, buffer->used);
	return 0;
}

int sealed_encode(const struct sealed_head *head,
		  const struct sealed_disk *disks, uint8_t **ret_buf,
		  uint64_t *ret_bytes, struct err *err)
{
	struct buffer buffer = {0};

	assert(head->disks >= 1 && head->disks <= DISKS_PER_VM_MAX);
	if (put_all(&buffer, head, disks) < 0) {
		free(buffer.bytes);
		return err_set(err, -ENOMEM, WHAT);
	}
	*ret_buf = buffer.bytes;
	*ret_bytes = buffer.used;
	return 0;
}

/* ---- decoding ------------------------------------------------------- */

/* What is left of the file. */
struct cursor {
	const uint8_t *at;
	uint64_t left;
};

static const void *cursor_take(struct cursor *cursor, uint64_t n)
{
	const void *at = cursor->at;

	if (cursor->left < n)
		return NULL;
	cursor->at += n;
	cursor->left -= n;
	return at;
}

static bool get_list(const uint8_t *from, uint32_t count, uint64_t *words)
{
	uint32_t least = 0;

	for (uint32_t i = 0; i < count; i++) {
		le16 d;
		uint32_t block;

		memcpy(&d, from + i * sizeof(d), sizeof(d));
		block = le16_get(d);
		if (block < least || block >= REGION_BLOCKS)
			return false;
		words[block / 64] |= 1ULL << block % 64;
		least = block + 1;
	}
	return true;
}

static void get_bitmap(const uint8_t *from, uint64_t *words)
{
	for (unsigned w = 0; w < REGION_WORDS; w++) {
		le64 word;

		memcpy(&word, from + w * sizeof(word), sizeof(word));
		words[w] = le64_get(word);
	}
}

static bool has_beyond(const uint64_t *words, uint32_t size)
{
	for (uint32_t block = size; block < REGION_BLOCKS;
	     block = (block | 63) + 1)
		if (words[block / 64] >> block % 64)
			return true;
	return false;
}

/* Adds the container at D, whose payload is PAYLOAD. */
static int get_container(const struct container_disk *d, const uint8_t *payload,
			 struct blockset *set, struct err *err)
{
	uint64_t region = le32_get(d->region), words[REGION_WORDS] = {0};
	uint32_t size = region_size(blockset_blocks(set), region);
	uint32_t count = le16_get(d->blocks) + 1u;
	enum kind kind = (enum kind)le16_get(d->kind);

	if (count > size || kind != choose_kind(count, size))
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": region %" PRIu64
				    ": kind %u with %" PRIu32 " of %" PRIu32
				    " blocks",
			       region, (unsigned)kind, count, size);
	if (kind == KIND_FULL)
		return blockset_add(set, region * REGION_BLOCKS, size);
	if (kind == KIND_LIST && !get_list(payload, count, words))
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": region %" PRIu64 ": list out of order",
			       region);
	if (kind == KIND_BITMAP)
		get_bitmap(payload, words);
	if (has_beyond(words, size))
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": region %" PRIu64
				    ": a block beyond the disk's end",
			       region);
	if (count_words(words) != count)
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": region %" PRIu64 ": not %" PRIu32
				    " blocks",
			       region, count);
	return blockset_add_words(set, region, words);
}

static int get_containers(struct cursor *cursor, uint32_t n,
			  struct blockset *set, struct err *err)
{
	uint64_t least = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct container_disk *d =
		    cursor_take(cursor, sizeof(*d));
		const uint8_t *payload;
		uint64_t region;
		int r;

		if (!d)
			return err_set(err, -RP_ECORRUPT,
				       WHAT ": ends within a section");
		region = le32_get(d->region);
		if (region < least || region >= blockset_regions(set))
			return err_set(err, -RP_ECORRUPT,
				       WHAT ": region %" PRIu64
					    " out of order or beyond the end",
				       region);
		payload =
		    cursor_take(cursor,
				payload_bytes((enum kind)le16_get(d->kind),
					      le16_get(d->blocks) + 1u));
		if (!payload)
			return err_set(err, -RP_ECORRUPT,
				       WHAT ": ends within a container");
		r = get_container(d, payload, set, err);
		if (r < 0)
			return r == -ENOMEM ? err_set(err, r, WHAT) : r;
		least = region + 1;
	}
	return 0;
}

static int check_section(const struct section_disk *d, uint64_t least_disk,
			 const struct cursor *cursor, struct err *err)
{
	uint64_t bytes = le64_get(d->bytes);
	uint32_t disk = le32_get(d->disk);

	if (disk < least_disk)
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": disk %" PRIu32 " out of order", disk);
	if (bytes == 0 || bytes > DISK_BYTES_MAX || bytes % SECTOR_BYTES != 0)
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": disk %" PRIu32 " of %" PRIu64 " bytes",
			       disk, bytes);
	if (le32_get(d->containers) >
	    cursor->left / sizeof(struct container_disk))
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": disk %" PRIu32
				    ": more regions than bytes",
			       disk);
	return 0;
}

static int get_section(struct cursor *cursor, uint64_t least_disk,
		       struct sealed_disk *ret_disk, struct err *err)
{
	const struct section_disk *d = cursor_take(cursor, sizeof(*d));
	struct blockset *set;
	int r;

	if (!d)
		return err_set(err, -RP_ECORRUPT, WHAT ": a disk is missing");
	r = check_section(d, least_disk, cursor, err);
	if (r < 0)
		return r;
	set = blockset_new(le64_get(d->bytes));
	if (!set)
		return err_set(err, -ENOMEM, WHAT);
	r = get_containers(cursor, le32_get(d->containers), set, err);
	if (r == 0 && blockset_count(set) != le64_get(d->blocks))
		r = err_set(err, -RP_ECORRUPT,
			    WHAT ": disk %" PRIu32 ": wrong sum of blocks",
			    le32_get(d->disk));
	if (r < 0) {
		blockset_free(set);
		return r;
	}
	ret_disk->disk = le32_get(d->disk);
	ret_disk->set = set;
	return 0;
}

static int check_head(const struct sealed_disk_head *d, uint64_t bytes,
		      struct err *err)
{
	int r = frame_check_magic(&d->frame, MAGIC, WHAT, err);
	uint32_t disks;

	if (r == 0 && le64_get(d->bytes) != bytes)
		r = err_set(err, -RP_ECORRUPT,
			    WHAT ": %" PRIu64 " bytes, should be %" PRIu64,
			    bytes, le64_get(d->bytes));
	if (r == 0)
		r = frame_check_sum(&d->frame, bytes, WHAT, err);
	if (r == 0)
		r = check_reserved(d,
				   offsetof(struct sealed_disk_head, reserved),
				   sizeof(*d), WHAT, err);
	if (r < 0)
		return r;
	disks = le32_get(d->disks);
	if (disks == 0 || disks > DISKS_PER_VM_MAX)
		return err_set(err, -RP_ECORRUPT, WHAT ": %" PRIu32 " disks",
			       disks);
	return 0;
}

int sealed_decode(const uint8_t *buf, uint64_t bytes,
		  struct sealed_head *ret_head, struct sealed_disk *ret_disks,
		  struct err *err)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX];
	struct cursor cursor = {buf, bytes};
	const struct sealed_disk_head *d = cursor_take(&cursor, sizeof(*d));
	uint64_t least = 0;
	uint32_t n, got = 0;
	int r;

	if (!d)
		return err_set(err, -RP_ECORRUPT,
			       WHAT ": only %" PRIu64 " bytes", bytes);
	r = check_head(d, bytes, err);
	n = r < 0 ? 0 : le32_get(d->disks);
	for (; got < n && r == 0; got += r == 0) {
		r = get_section(&cursor, least, &disks[got], err);
		if (r == 0)
			least = disks[got].disk + 1ULL;
	}
	if (r == 0 && cursor.left)
		r = err_set(err, -RP_ECORRUPT,
			    WHAT ": %" PRIu64 " bytes after the last disk",
			    cursor.left);
	if (r < 0) {
		while (got > 0)
			blockset_free(disks[--got].set);
		return r;
	}
	memcpy(ret_disks, disks, n * sizeof(disks[0]));
	ret_head->store = d->store;
	ret_head->generation = le64_get(d->generation);
	ret_head->serial = le32_get(d->serial);
	ret_head->disks = n;
	return 0;
}
