/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file of durable bitmap pages.
 *
 *   I1  A write goes to the slot that does not hold the page's newest durable
 *       content: until a sync has succeeded, every write of a page goes to the
 *       same slot.
 *   I2  What is read from a slot, to choose one, is durable: the file is synced
 *       before the first choice, as a killed process may have left writes that
 *       only the page cache has; and then written again as it was read, as a
 *       sync that failed for somebody before us may have lost what the cache
 *       still shows (D4).  Sectors that were durable do not change by that, so
 *       a crash tears only what had been lost.
 *   So no crash damages both slots of a page.
 *   I3  After a sync that failed nobody knows which pages are durable (D4), so
 *       there is no slot to choose: the object refuses to write from then on.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/files.h"
#include "store/preallocated.h"

#define PAIR_BYTES  (PAGE_SLOTS * PAGE_BYTES)
#define PIECE_PAGES 64u /* read at once by a scan: 512 KiB */
#define NAME_BYTES  32

/* What is known of one page. */
struct page_state {
	uint64_t sequence; /* of its newest content */
	uint64_t round;    /* in which that was written; 0: not known yet */
	unsigned slot;     /* and where */
};

struct pages_file {
	struct file *file;
	struct guid store;
	uint32_t disk;
	uint64_t bytes;
	uint64_t pages;
	uint64_t round; /* 0 before the first write, then counts syncs */
	bool failed;    /* a sync did */
	struct page_state *states;
};

static void pages_name(uint32_t disk, unsigned which, char name[NAME_BYTES])
{
	(void)snprintf(name, NAME_BYTES, "pages.%" PRIu32 ".%u", disk, which);
}

int pages_create(struct fs *fs, uint32_t disk, uint64_t bytes, struct err *err)
{
	for (unsigned which = 0; which < PAGE_FILES; which++) {
		char name[NAME_BYTES];
		int r;

		pages_name(disk, which, name);
		r = preallocated_create(fs, name,
					page_count(bytes) * PAIR_BYTES, true,
					err);
		if (r < 0)
			return r;
	}
	return 0;
}

int pages_open(struct fs *fs, const struct guid *store, uint32_t disk,
	       unsigned which, uint64_t bytes, struct pages_file **ret_file,
	       struct err *err)
{
	struct pages_file *file = calloc(1, sizeof(*file));
	char name[NAME_BYTES];
	int r;

	pages_name(disk, which, name);
	if (!file)
		return err_set(err, -ENOMEM, "%s", name);
	file->store = *store;
	file->disk = disk;
	file->bytes = bytes;
	file->pages = page_count(bytes);
	file->states = calloc(file->pages, sizeof(file->states[0]));
	r = file->states ? 0 : err_set(err, -ENOMEM, "%s", name);
	if (r == 0)
		r = preallocated_open(fs, name, file->pages * PAIR_BYTES,
				      &file->file, err);
	if (r < 0) {
		pages_close(file);
		return r;
	}
	*ret_file = file;
	return 0;
}

struct pages_file *pages_close(struct pages_file *file)
{
	if (!file)
		return NULL;
	file_close(file->file);
	free(file->states);
	free(file);
	return NULL;
}

/* ---- reading ---------------------------------------------------------- */

enum slot_kind {
	SLOT_EMPTY,
	SLOT_VALID,
	SLOT_TORN,
};

/* Words of page INDEX's bits that have blocks of the disk, and the mask of the
 * last one. */
static uint64_t page_words(const struct pages_file *file, uint32_t index,
			   uint64_t *ret_last_mask)
{
	uint64_t blocks = div_round_up(file->bytes, BLOCK_BYTES) -
			  (uint64_t)index * PAGE_REGIONS * REGION_BLOCKS;

	blocks = MIN(blocks, (uint64_t)PAGE_REGIONS * REGION_BLOCKS);
	*ret_last_mask = ~0ULL >> (63 - (blocks - 1) % 64);
	return div_round_up(blocks, 64);
}

/* Clears what lies beyond the disk's end: the disk may have been larger. */
static void trim(const struct pages_file *file, uint32_t index, uint64_t *words)
{
	uint64_t mask, n = page_words(file, index, &mask);

	words[n - 1] &= mask;
	memset(words + n, 0,
	       (PAGE_REGIONS * REGION_WORDS - n) * sizeof(words[0]));
}

/* Is it the page that should be here? */
static int check_page(const struct pages_file *file, uint32_t index,
		      const struct page *page, struct err *err)
{
	const char *what = NULL;

	if (!guid_equal(&page->store, &file->store))
		what = "is of another store";
	else if (page->disk != file->disk)
		what = "is of another disk";
	else if (page->index != index)
		what = "belongs elsewhere";
	if (!what)
		return 0;
	return err_set(err, -RP_ECORRUPT, "'%s': page %" PRIu32 " %s",
		       file->file->name, index, what);
}

/* Decodes the two slots of page INDEX in BUF.  Both torn: no crash does it. */
static int decode_pair(const struct pages_file *file, uint32_t index,
		       const uint8_t *buf, struct page pages[PAGE_SLOTS],
		       enum slot_kind kinds[PAGE_SLOTS], struct err *err)
{
	for (unsigned slot = 0; slot < PAGE_SLOTS; slot++) {
		int r = page_decode(buf + (uint64_t)slot * PAGE_BYTES,
				    &pages[slot], err);

		kinds[slot] = r == 0          ? SLOT_VALID
			      : r == -ENODATA ? SLOT_EMPTY
					      : SLOT_TORN;
		if (r == -ENODATA || r == -RP_ECORRUPT)
			continue;
		if (r == 0)
			r = check_page(file, index, &pages[slot], err);
		if (r < 0)
			return r;
	}
	if (kinds[0] == SLOT_TORN && kinds[1] == SLOT_TORN)
		return err_set(err, -RP_ECORRUPT,
			       "'%s': both slots of page %" PRIu32
			       " are damaged, a crash leaves one",
			       file->file->name, index);
	return 0;
}

static int report_pair(const struct pages_file *file, uint32_t index,
		       const uint8_t *buf, uint64_t from,
		       struct page_report *ret_report, struct err *err)
{
	struct page pages[PAGE_SLOTS];
	enum slot_kind kinds[PAGE_SLOTS];
	uint64_t *to = (void *)ret_report->bits;
	int r = decode_pair(file, index, buf, pages, kinds, err);

	if (r < 0)
		return r;
	memset(ret_report, 0, sizeof(*ret_report));
	ret_report->index = index;
	for (unsigned slot = 0; slot < PAGE_SLOTS; slot++) {
		const uint64_t *words = (const void *)pages[slot].bits;

		ret_report->torn |= kinds[slot] == SLOT_TORN;
		if (kinds[slot] != SLOT_VALID || pages[slot].generation < from)
			continue;
		ret_report->present = true;
		for (unsigned w = 0; w < PAGE_REGIONS * REGION_WORDS; w++)
			to[w] |= words[w];
	}
	trim(file, index, to);
	return 0;
}

static bool pair_is_empty(const uint8_t *buf)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, PAIR_BYTES - 1) == 0;
}

static int scan_piece(const struct pages_file *file, uint32_t first,
		      uint32_t count, const uint8_t *buf, uint64_t from,
		      int (*fn)(void *arg, const struct page_report *report),
		      void *arg, struct err *err)
{
	struct page_report report;

	for (uint32_t i = 0; i < count; i++, buf += PAIR_BYTES) {
		int r;

		if (pair_is_empty(buf))
			continue;
		r = report_pair(file, first + i, buf, from, &report, err);
		if (r == 0 && (report.present || report.torn))
			r = fn(arg, &report);
		if (r != 0)
			return r;
	}
	return 0;
}

int pages_read(struct pages_file *file, uint32_t index, uint64_t from,
	       struct page_report *ret_report, struct err *err)
{
	uint8_t buf[PAIR_BYTES];
	int r = file_read_all(file->file, buf, PAIR_BYTES,
			      page_offset(index, 0), err);

	return r ? r : report_pair(file, index, buf, from, ret_report, err);
}

int pages_scan(struct pages_file *file, uint64_t from,
	       int (*fn)(void *arg, const struct page_report *report),
	       void *arg, struct err *err)
{
	uint8_t *buf = malloc((size_t)PIECE_PAGES * PAIR_BYTES);
	int r = buf ? 0 : err_set(err, -ENOMEM, "'%s'", file->file->name);

	for (uint64_t at = 0; at < file->pages && r == 0; at += PIECE_PAGES) {
		uint64_t n = MIN(file->pages - at, (uint64_t)PIECE_PAGES);

		r = file_read_all(file->file, buf, n * PAIR_BYTES,
				  page_offset((uint32_t)at, 0), err);
		if (r == 0)
			r = scan_piece(file, (uint32_t)at, (uint32_t)n, buf,
				       from, fn, arg, err);
	}
	free(buf);
	return r;
}

/* ---- writing ---------------------------------------------------------- */

/* Finds out which slot holds page INDEX's newest content. */
static int learn(struct pages_file *file, uint32_t index, struct err *err)
{
	struct page_state *state = &file->states[index];
	struct page pages[PAGE_SLOTS];
	enum slot_kind kinds[PAGE_SLOTS];
	uint8_t buf[PAIR_BYTES];
	int r = file_read_all(file->file, buf, PAIR_BYTES,
			      page_offset(index, 0), err);

	if (r == 0)
		r = decode_pair(file, index, buf, pages, kinds, err);
	if (r < 0)
		return r;
	for (unsigned slot = 0; slot < PAGE_SLOTS; slot++)
		if (kinds[slot] == SLOT_VALID &&
		    pages[slot].sequence > state->sequence) {
			state->sequence = pages[slot].sequence;
			state->slot = slot;
		}
	/* With nothing to keep, a torn slot is as good as the other. */
	return 0;
}

int pages_sync(struct pages_file *file, struct err *err)
{
	int r = file->failed
		    ? err_set(err, -EIO, "sync '%s': an earlier sync failed",
			      file->file->name)
		    : file_sync(file->file, err);

	if (r < 0)
		file->failed = true;
	else if (file->round)
		file->round++;
	return r;
}

static bool all_zero(const uint8_t *buf, uint64_t bytes)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, bytes - 1) == 0;
}

/* I2. */
static int renew(struct pages_file *file, struct err *err)
{
	uint8_t *buf = malloc((size_t)PIECE_PAGES * PAIR_BYTES);
	int r = buf ? 0 : err_set(err, -ENOMEM, "'%s'", file->file->name);

	for (uint64_t at = 0; at < file->pages && r == 0; at += PIECE_PAGES) {
		uint64_t n =
		    MIN(file->pages - at, (uint64_t)PIECE_PAGES) * PAIR_BYTES;
		uint64_t offset = page_offset((uint32_t)at, 0);

		r = file_read_all(file->file, buf, n, offset, err);
		if (r == 0 && !all_zero(buf, n))
			r = file_write(file->file, buf, n, offset, err);
	}
	free(buf);
	return r;
}

static int begin_writing(struct pages_file *file, struct err *err)
{
	int r = pages_sync(file, err);

	if (r == 0)
		r = renew(file, err);
	if (r == 0)
		r = pages_sync(file, err);
	if (r == 0)
		file->round = 2; /* what is learnt is of round 1: durable */
	return r;
}

static void fill(const struct pages_file *file, struct page *page,
		 const _Atomic uint64_t *bits, uint64_t words)
{
	uint64_t n = MIN(words, (uint64_t)PAGE_REGIONS * REGION_WORDS);
	uint64_t *to = (void *)page->bits;

	memset(page->bits, 0, sizeof(page->bits));
	for (uint64_t w = 0; w < n; w++)
		to[w] = atomic_load_explicit(&bits[w], memory_order_relaxed);
	trim(file, page->index, to);
}

int pages_write(struct pages_file *file, uint32_t index, uint64_t generation,
		const _Atomic uint64_t *bits, uint64_t words, struct err *err)
{
	struct page_state *state, next;
	struct page page;
	uint8_t buf[PAGE_BYTES];
	int r = 0;

	if (index >= file->pages)
		return err_set(err, -ERANGE, "'%s': page %" PRIu32,
			       file->file->name, index);
	if (file->failed)
		return err_set(err, -EIO, "write '%s': an earlier sync failed",
			       file->file->name);
	state = &file->states[index];
	if (file->round == 0)
		r = begin_writing(file, err);
	if (r == 0 && state->round == 0) {
		r = learn(file, index, err);
		state->round = r == 0;
	}
	if (r < 0)
		return r;
	next = (struct page_state){state->sequence + 1, file->round,
				   state->slot ^ (state->round < file->round)};
	page.store = file->store;
	page.generation = generation;
	page.sequence = next.sequence;
	page.disk = file->disk;
	page.index = index;
	fill(file, &page, bits, words);
	page_encode(&page, buf);
	/* Also if it fails it may have taken effect in part. */
	*state = next;
	return file_write(file->file, buf, PAGE_BYTES,
			  page_offset(index, next.slot), err);
}
