/* SPDX-License-Identifier: Apache-2.0 */
#include "hrl/reader.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

#define MARKS_MIN 64u
#define MARKS_MAX 65536u
#define NONE      UINT64_MAX

/* Where a block's used entries stand: O1 of hrl.h. */
enum order {
	UNKNOWN,
	OLDEST_FIRST, /* in the first slots */
	NEWEST_FIRST, /* in the last slots */
};

/*
 * A log has too many blocks to remember where each one is, and its links lead
 * back only.  So the way back leaves a mark at every STRIDE-th block; when
 * there is no room for another one every second is dropped, and the stride
 * doubled.  The way forward takes mark after mark, the last one made first,
 * and follows the links again over the stride's blocks, onto a stack.
 *
 * Memory: MARKS_MAX marks (512 KiB), a stack of HRL_BLOCKS_MAX / (MARKS_MAX /
 * 2) blocks at the most (1 MiB), one block (64 KiB).  Up to MARKS_MAX blocks,
 * a log of 32 GiB with 4 KiB writes, no link is read twice.
 */
struct hrl_reader {
	const struct hrl_source *source;
	uint64_t disk_bytes;
	uint64_t end;
	struct hrl_header header;
	enum order order; /* of the log; settled on the way back */

	uint64_t blocks;
	uint64_t entries;
	uint64_t *marks; /* offsets of blocks; the last block is the first */
	uint32_t marked;
	uint32_t room; /* for marks */
	uint64_t stride;

	/* the way forward */
	uint32_t next_mark; /* those below it are still to be taken */
	uint64_t *stack;    /* STRIDE offsets of blocks */
	uint64_t stacked;
	uint64_t block_at; /* of the block in hand; NONE before the first */
	uint64_t data_at;  /* of the next write */
	uint64_t index;    /* of the next write */
	uint32_t slot;     /* of BLOCK, of the next write */
	uint32_t left;     /* entries of BLOCK still to come */
	int failed;
	uint8_t *block; /* METADATA_BYTES */
};

/* ---- Reading ----------------------------------------------------------- */

static int in_block(uint64_t at, struct err *err, int r)
{
	if (r < 0)
		(void)err_wrap(err, "metadata block at %" PRIu64, at);
	return r;
}

static int read_head(const struct hrl_reader *r, uint64_t at,
		     struct hrl_block *ret_block, struct err *err)
{
	uint8_t buf[HRL_HEAD_BYTES];
	int e = hrl_read_all(r->source, buf, sizeof(buf), at, err);

	if (e == 0)
		e = hrl_block_decode(buf, at, r->header.metadata_bytes,
				     ret_block, err);
	return in_block(at, err, e);
}

static uint32_t slots(const struct hrl_reader *r)
{
	return hrl_slots(r->header.metadata_bytes);
}

static const uint8_t *slot(const struct hrl_reader *r, uint32_t i)
{
	return r->block + HRL_HEAD_BYTES + i * HRL_ENTRY_BYTES;
}

static bool are_whole(const struct hrl_reader *r, uint32_t first, uint32_t n)
{
	while (n-- > 0)
		if (!hrl_entry_is_whole(slot(r, first++)))
			return false;
	return true;
}

/* Learns from the block whose head says BLOCK in which order the log's entries
 * are.  One that is full or empty, or that has no whole entries anywhere, says
 * nothing. */
static int learn_order(struct hrl_reader *r, uint64_t at,
		       const struct hrl_block *block, struct err *err)
{
	uint32_t n = block->entries, last = slots(r) - n;
	int e;

	if (n == 0 || last == 0)
		return 0;
	e = hrl_read_all(r->source, r->block, r->header.metadata_bytes, at,
			 err);
	if (e < 0)
		return in_block(at, err, e);
	if (are_whole(r, 0, n))
		r->order = OLDEST_FIRST;
	else if (are_whole(r, last, n))
		r->order = NEWEST_FIRST;
	return 0;
}

/* ---- The way back ------------------------------------------------------ */

/* Room for another mark: more memory, or every second mark. */
static int make_room(struct hrl_reader *r, struct err *err)
{
	uint32_t room = r->room ? 2 * r->room : MARKS_MIN;
	uint64_t *marks;

	if (r->room == MARKS_MAX) {
		for (uint32_t i = 0; i < MARKS_MAX / 2; i++)
			r->marks[i] = r->marks[2 * i];
		r->marked = MARKS_MAX / 2;
		r->stride *= 2;
		return 0;
	}
	marks = realloc(r->marks, room * sizeof(*marks));
	if (!marks)
		return err_set(err, -ENOMEM, "remember the log's blocks");
	r->marks = marks;
	r->room = room;
	return 0;
}

/* The block at AT is the next one on the way back. */
static int mark(struct hrl_reader *r, uint64_t at, struct err *err)
{
	int e;

	if (r->blocks == HRL_BLOCKS_MAX)
		return err_set(err, -RP_ELIMIT,
			       "the log has more than %" PRIu64
			       " metadata blocks",
			       (uint64_t)HRL_BLOCKS_MAX);
	if (r->blocks % r->stride == 0 && r->marked == r->room) {
		e = make_room(r, err);
		if (e < 0)
			return e;
	}
	/* The stride may have doubled.  MARKS_MAX is even, so that this block
	 * has its mark all the same. */
	if (r->blocks % r->stride == 0)
		r->marks[r->marked++] = at;
	r->blocks++;
	return 0;
}

static int walk_back(struct hrl_reader *r, struct err *err)
{
	uint64_t at = r->end - r->header.metadata_bytes;
	struct hrl_block block;
	int e;

	do {
		e = read_head(r, at, &block, err);
		if (e == 0 && r->order == UNKNOWN)
			e = learn_order(r, at, &block, err);
		if (e == 0)
			e = mark(r, at, err);
		if (e < 0)
			return e;
		r->entries += block.entries;
		at -= block.back;
	} while (block.back != 0);
	if (r->order == UNKNOWN)
		r->order = OLDEST_FIRST;
	return 0;
}

/* ---- Opening ----------------------------------------------------------- */

static int read_header(struct hrl_reader *r, struct err *err)
{
	uint8_t buf[HRL_HEADER_BYTES];
	int e = hrl_read_all(r->source, buf, sizeof(buf), 0, err);

	if (e == 0)
		e = hrl_header_decode(buf, &r->header, err);
	if (e < 0)
		(void)err_wrap(err, "log header");
	return e;
}

static int choose_end(struct hrl_reader *r, uint64_t file_bytes, uint64_t end,
		      struct err *err)
{
	const char *what = end ? "the end" : "EOLLocation";

	if (end == 0)
		end = r->header.end;
	if (end == 0)
		return err_set(err, -RP_ESTATE,
			       "log header: EOLLocation is 0: the log was not "
			       "closed");
	if (end > file_bytes)
		return err_set(err, -RP_ECORRUPT,
			       "%s is %" PRIu64
			       ", but the file ends at %" PRIu64,
			       what, end, file_bytes);
	if (end < HRL_HEADER_BYTES + r->header.metadata_bytes ||
	    end % SECTOR_BYTES != 0)
		return err_set(err, -RP_ECORRUPT,
			       "%s, %" PRIu64 ", is no end of a metadata block",
			       what, end);
	r->end = end;
	return 0;
}

static int check_total(const struct hrl_reader *r, struct err *err)
{
	if (r->end != r->header.end || r->entries == r->header.entries)
		return 0;
	return err_set(err, -RP_ECORRUPT,
		       "log header: TotalMetadataEntries %" PRIu64
		       ", but the blocks have %" PRIu64,
		       r->header.entries, r->entries);
}

static int open_reader(struct hrl_reader *r, uint64_t file_bytes, uint64_t end,
		       struct err *err)
{
	int e = read_header(r, err);

	if (e == 0)
		e = choose_end(r, file_bytes, end, err);
	if (e < 0)
		return e;
	r->stride = 1;
	r->block = malloc(r->header.metadata_bytes);
	if (!r->block)
		return err_set(err, -ENOMEM, "room for a metadata block");
	e = walk_back(r, err);
	if (e == 0)
		e = check_total(r, err);
	if (e < 0)
		return e;
	r->stack = malloc(r->stride * sizeof(*r->stack));
	if (!r->stack)
		return err_set(err, -ENOMEM, "remember the log's blocks");
	hrl_reader_rewind(r);
	return 0;
}

int hrl_reader_open(const struct hrl_source *source, uint64_t file_bytes,
		    uint64_t disk_bytes, uint64_t end,
		    struct hrl_reader **ret_reader, struct err *err)
{
	struct hrl_reader *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return err_set(err, -ENOMEM, "open a log");
	r->source = source;
	r->disk_bytes = disk_bytes;
	e = open_reader(r, file_bytes, end, err);
	if (e < 0) {
		hrl_reader_free(r);
		return e;
	}
	*ret_reader = r;
	return 0;
}

void hrl_reader_free(struct hrl_reader *reader)
{
	if (!reader)
		return;
	free(reader->marks);
	free(reader->stack);
	free(reader->block);
	free(reader);
}

const struct hrl_header *hrl_reader_header(const struct hrl_reader *reader)
{
	return &reader->header;
}

uint64_t hrl_reader_end(const struct hrl_reader *reader)
{
	return reader->end;
}

uint64_t hrl_reader_blocks(const struct hrl_reader *reader)
{
	return reader->blocks;
}

uint64_t hrl_reader_entries(const struct hrl_reader *reader)
{
	return reader->entries;
}

/* ---- The way forward --------------------------------------------------- */

static int changed(struct err *err)
{
	return err_set(err, -RP_ECORRUPT, "the log changed while it was read");
}

/* The blocks from the next mark on, the first one on top. */
static int fill_stack(struct hrl_reader *r, struct err *err)
{
	uint64_t before, count, at;
	struct hrl_block block;

	r->next_mark--;
	before = r->next_mark * r->stride;
	count = MIN(r->stride, r->blocks - before);
	at = r->marks[r->next_mark];
	for (uint64_t i = 0;; at -= block.back) {
		int e;

		r->stack[i++] = at;
		r->stacked = i;
		if (i == count)
			return 0;
		e = read_head(r, at, &block, err);
		if (e < 0)
			return e;
		if (block.back == 0)
			return changed(err);
	}
}

/* Where a block's data begins, by its own link and by the block before it. */
static int data_begin(const struct hrl_reader *r, uint64_t at,
		      const struct hrl_block *block, uint64_t *ret_begin,
		      struct err *err)
{
	uint64_t before = block->back ? at - block->back : NONE;

	if (before != r->block_at)
		return changed(err);
	*ret_begin = before == NONE ? HRL_HEADER_BYTES
				    : before + r->header.metadata_bytes;
	return 0;
}

/* All entries of the block in hand, of which there are N, are good, and have
 * just the data that lies between BEGIN and END. */
static int check_entries(struct hrl_reader *r, uint32_t n, uint64_t begin,
			 uint64_t end, struct err *err)
{
	uint32_t first = r->order == OLDEST_FIRST ? 0 : slots(r) - n;
	struct hrl_entry entry;
	uint64_t bytes = 0;

	for (uint32_t i = first; i < first + n; i++) {
		int e =
		    hrl_entry_decode(slot(r, i), r->disk_bytes, &entry, err);

		if (e < 0) {
			(void)err_wrap(err, "entry %" PRIu32, i);
			return e;
		}
		bytes += entry.length;
	}
	if (bytes != end - begin)
		return err_set(err, -RP_ECORRUPT,
			       "its entries have %" PRIu64
			       " bytes of data, but %" PRIu64 " lie before it",
			       bytes, end - begin);
	r->slot = r->order == OLDEST_FIRST ? 0 : slots(r) - 1;
	return 0;
}

static int take_block(struct hrl_reader *r, uint64_t at, struct err *err)
{
	struct hrl_block block;
	uint64_t begin = 0;
	int e;

	e = hrl_read_all(r->source, r->block, r->header.metadata_bytes, at,
			 err);
	if (e == 0)
		e = hrl_block_decode(r->block, at, r->header.metadata_bytes,
				     &block, err);
	if (e == 0)
		e = data_begin(r, at, &block, &begin, err);
	if (e == 0)
		e = check_entries(r, block.entries, begin, at, err);
	if (e < 0)
		return in_block(at, err, e);
	r->block_at = at;
	r->data_at = begin;
	r->left = block.entries;
	return 0;
}

/* The next block that has entries: 1; 0 behind the last one. */
static int next_block(struct hrl_reader *r, struct err *err)
{
	while (r->left == 0) {
		int e = 0;

		if (r->stacked == 0) {
			if (r->next_mark == 0)
				return 0;
			e = fill_stack(r, err);
		}
		if (e == 0)
			e = take_block(r, r->stack[--r->stacked], err);
		if (e < 0)
			return e;
	}
	return 1;
}

int hrl_reader_next(struct hrl_reader *reader, struct hrl_write *ret_write,
		    struct err *err)
{
	struct hrl_reader *r = reader;
	struct hrl_entry entry;
	int e;

	if (r->failed)
		return err_set(err, r->failed, "the log was found damaged");
	e = next_block(r, err);
	if (e < 0)
		r->failed = e;
	if (e <= 0)
		return e;
	/* take_block() has checked it. */
	hrl_entry_peek(slot(r, r->slot), &entry);
	*ret_write =
	    (struct hrl_write){entry.offset,        entry.length, entry.time,
			       entry.data_checksum, r->data_at,   r->index};
	r->data_at += entry.length;
	r->index++;
	r->left--;
	if (r->order == OLDEST_FIRST)
		r->slot++;
	else
		r->slot--;
	return 1;
}

void hrl_reader_rewind(struct hrl_reader *reader)
{
	reader->next_mark = reader->marked;
	reader->stacked = 0;
	reader->block_at = NONE;
	reader->index = 0;
	reader->left = 0;
	reader->failed = 0;
}
