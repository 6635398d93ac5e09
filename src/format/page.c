/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of the durable bitmap: docs/format/pages.md. */
#include "format/format.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "format/frame.h"

#define MAGIC "RP-PAGE\n"

struct page_disk {
	struct frame_disk frame;
	struct guid store;
	le64 generation;
	le64 sequence;
	le32 disk;
	le32 index;
	uint8_t reserved[456];
	le64 bits[PAGE_REGIONS][REGION_WORDS];
};

static_assert(offsetof(struct page_disk, store) == 16, "pages.md");
static_assert(offsetof(struct page_disk, generation) == 32, "pages.md");
static_assert(offsetof(struct page_disk, sequence) == 40, "pages.md");
static_assert(offsetof(struct page_disk, disk) == 48, "pages.md");
static_assert(offsetof(struct page_disk, index) == 52, "pages.md");
static_assert(offsetof(struct page_disk, reserved) == 56, "pages.md");
static_assert(offsetof(struct page_disk, bits) == PAGE_HEAD_BYTES, "pages.md");
static_assert(sizeof(struct page_disk) == PAGE_BYTES, "pages.md");

void page_encode(const struct page *page, uint8_t buf[PAGE_BYTES])
{
	struct page_disk *d = (struct page_disk *)buf;

	memset(d, 0, PAGE_HEAD_BYTES);
	frame_begin(&d->frame, MAGIC);
	d->store = page->store;
	d->generation = le64_make(page->generation);
	d->sequence = le64_make(page->sequence);
	d->disk = le32_make(page->disk);
	d->index = le32_make(page->index);
	for (unsigned r = 0; r < PAGE_REGIONS; r++)
		for (unsigned w = 0; w < REGION_WORDS; w++)
			d->bits[r][w] = le64_make(page->bits[r][w]);
	frame_finish(&d->frame, PAGE_BYTES);
}

static int check(const struct page_disk *d, struct err *err)
{
	int r = frame_check_magic(&d->frame, MAGIC, "page", err);

	if (r == 0)
		r = frame_check_sum(&d->frame, PAGE_BYTES, "page", err);
	if (r == 0)
		r = check_reserved(d, offsetof(struct page_disk, reserved),
				   PAGE_HEAD_BYTES, "page", err);
	if (r == 0 && le64_get(d->sequence) == 0)
		r = err_set(err, -RP_ECORRUPT, "page: sequence is 0");
	return r;
}

int page_decode(const uint8_t buf[PAGE_BYTES], struct page *ret_page,
		struct err *err)
{
	const struct page_disk *d = (const struct page_disk *)buf;
	int r;

	if (bytes_are_zero(buf, PAGE_BYTES))
		return -ENODATA;
	r = check(d, err);
	if (r < 0)
		return r;
	ret_page->store = d->store;
	ret_page->generation = le64_get(d->generation);
	ret_page->sequence = le64_get(d->sequence);
	ret_page->disk = le32_get(d->disk);
	ret_page->index = le32_get(d->index);
	for (unsigned i = 0; i < PAGE_REGIONS; i++)
		for (unsigned w = 0; w < REGION_WORDS; w++)
			ret_page->bits[i][w] = le64_get(d->bits[i][w]);
	return 0;
}

uint64_t page_count(uint64_t bytes)
{
	return div_round_up(div_round_up(bytes, REGION_BYTES), PAGE_REGIONS);
}

uint64_t page_offset(uint32_t index, unsigned slot)
{
	assert(slot < PAGE_SLOTS);
	return ((uint64_t)index * PAGE_SLOTS + slot) * PAGE_BYTES;
}
