/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

struct page {
	unsigned refs;
	uint8_t b[SIM_PAGE];
};

/* The one page of zeros; never freed, never written to. */
static struct page zeros = {.refs = 1};

void *sim_alloc(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);

	if (!p) {
		(void)fprintf(stderr, "sim: out of memory\n");
		abort();
	}
	return p;
}

static struct page *page_get(struct page *page)
{
	if (page != &zeros)
		page->refs++;
	return page;
}

static void page_put(struct page *page)
{
	if (page != &zeros && --page->refs == 0)
		free(page);
}

static size_t hash(const struct content *content, uint64_t index)
{
	return (size_t)((index * 0x9e3779b97f4a7c15u) >> 20) &
	       (content->slots - 1);
}

/* The slot that holds INDEX, or the free one where it belongs. */
static struct slot *seek(const struct content *content, uint64_t index)
{
	size_t i = hash(content, index);

	while (content->table[i].page && content->table[i].index != index)
		i = (i + 1) & (content->slots - 1);
	return &content->table[i];
}

static struct page *find(const struct content *content, uint64_t index)
{
	return content->slots ? seek(content, index)->page : NULL;
}

bool content_has(const struct content *content, uint64_t index)
{
	return find(content, index) != NULL;
}

/* Moves all pages with an index below END into a table of SLOTS. */
static void rebuild(struct content *content, size_t slots, uint64_t end)
{
	struct content old = *content;

	content->slots = slots;
	content->used = 0;
	content->table = sim_alloc(slots * sizeof(*content->table));
	for (size_t i = 0; i < old.slots; i++) {
		struct slot *slot = &old.table[i];

		if (!slot->page)
			continue;
		if (slot->index >= end) {
			page_put(slot->page);
			continue;
		}
		*seek(content, slot->index) = *slot;
		content->used++;
	}
	free(old.table);
}

/* Takes PAGE over. */
static void put(struct content *content, uint64_t index, struct page *page)
{
	struct slot *slot;

	if (content->used * 4 >= content->slots * 3)
		rebuild(content, MAX(content->slots * 2, 16u), UINT64_MAX);
	slot = seek(content, index);
	if (slot->page)
		page_put(slot->page);
	else
		content->used++;
	slot->index = index;
	slot->page = page;
}

/* A page of our own to write to. */
static struct page *own(struct content *content, uint64_t index)
{
	struct page *page = find(content, index);
	struct page *copy;

	if (page && page != &zeros && page->refs == 1)
		return page;
	copy = sim_alloc(sizeof(*copy));
	copy->refs = 1;
	if (page)
		memcpy(copy->b, page->b, SIM_PAGE);
	put(content, index, copy);
	return copy;
}

void content_copy(struct content *dest, const struct content *src)
{
	*dest = *src;
	if (!src->slots)
		return;
	dest->table = sim_alloc(src->slots * sizeof(*dest->table));
	memcpy(dest->table, src->table, src->slots * sizeof(*dest->table));
	for (size_t i = 0; i < dest->slots; i++)
		if (dest->table[i].page)
			page_get(dest->table[i].page);
}

void content_free(struct content *content)
{
	for (size_t i = 0; i < content->slots; i++)
		if (content->table[i].page)
			page_put(content->table[i].page);
	free(content->table);
	*content = (struct content){0};
}

void content_read(const struct content *content, void *buf, uint64_t bytes,
		  uint64_t offset)
{
	uint8_t *to = buf;

	while (bytes) {
		uint64_t in = offset % SIM_PAGE;
		uint64_t n = MIN(bytes, SIM_PAGE - in);
		const struct page *page = find(content, offset / SIM_PAGE);

		if (page)
			memcpy(to, page->b + in, n);
		else
			memset(to, 0, n);
		to += n;
		offset += n;
		bytes -= n;
	}
}

static void write_page(struct content *content, const uint8_t *data,
		       uint64_t bytes, uint64_t offset)
{
	uint8_t *to;

	if (!data && bytes == SIM_PAGE) {
		put(content, offset / SIM_PAGE, &zeros);
		return;
	}
	to = own(content, offset / SIM_PAGE)->b + offset % SIM_PAGE;
	if (data)
		memcpy(to, data, bytes);
	else
		memset(to, 0, bytes);
}

void content_write(struct content *content, const void *data, uint64_t bytes,
		   uint64_t offset)
{
	const uint8_t *from = data;

	content->bytes = MAX(content->bytes, offset + bytes);
	while (bytes) {
		uint64_t n = MIN(bytes, SIM_PAGE - offset % SIM_PAGE);

		write_page(content, from, n, offset);
		if (from)
			from += n;
		offset += n;
		bytes -= n;
	}
}

void content_resize(struct content *content, uint64_t bytes)
{
	uint64_t in = bytes % SIM_PAGE;

	if (bytes < content->bytes && content->slots)
		rebuild(content, content->slots, div_round_up(bytes, SIM_PAGE));
	if (bytes < content->bytes && in &&
	    content_has(content, bytes / SIM_PAGE))
		memset(own(content, bytes / SIM_PAGE)->b + in, 0,
		       SIM_PAGE - in);
	content->bytes = bytes;
}

void content_allocate(struct content *content, uint64_t offset, uint64_t bytes)
{
	uint64_t end = div_round_up(offset + bytes, SIM_PAGE);

	for (uint64_t i = offset / SIM_PAGE; i < end; i++)
		if (!content_has(content, i))
			put(content, i, &zeros);
	content->bytes = MAX(content->bytes, offset + bytes);
}
