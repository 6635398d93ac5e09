/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

struct blob *blob_new(const void *data, uint64_t bytes)
{
	struct blob *blob = sim_alloc(sizeof(*blob) + bytes);

	blob->refs = 1;
	memcpy(blob->b, data, bytes);
	return blob;
}

struct blob *blob_get(struct blob *blob)
{
	if (blob)
		blob->refs++;
	return blob;
}

void blob_put(struct blob *blob)
{
	if (blob && --blob->refs == 0)
		free(blob);
}

uint64_t sectors(uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset / SIM_SECTOR;

	return bytes ? (offset + bytes - 1) / SIM_SECTOR - first + 1 : 1;
}

static uint64_t parts(const struct record *record)
{
	if (record->kind != RECORD_WRITE)
		return 1;
	return sectors(record->offset, record->bytes);
}

static void record_free(struct record *record)
{
	blob_put(record->data);
	free(record->lost);
	free(record);
}

struct node *node_new(struct sim *sim, struct dir *dir)
{
	struct node *node = sim_alloc(sizeof(*node));

	node->id = sim->next_id++;
	node->dir = dir;
	node->mtime = node->mtime_synced = node->ctime = sim->now;
	node->next = sim->nodes;
	sim->nodes = node;
	return node;
}

struct node *node_get(struct node *node)
{
	node->refs++;
	return node;
}

void node_put(struct sim *sim, struct node *node)
{
	struct node **at = &sim->nodes;

	assert(node->refs > 0);
	if (--node->refs)
		return;
	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	node_unmap(node);
	while (node->records) {
		struct record *next = node->records->next;

		record_free(node->records);
		node->records = next;
	}
	content_free(&node->current);
	content_free(&node->durable);
	free(node);
}

static struct record *record_copy(const struct record *record)
{
	struct record *copy = sim_alloc(sizeof(*copy));
	uint64_t n = parts(record);

	*copy = *record;
	copy->next = NULL;
	blob_get(copy->data);
	if (record->lost) {
		copy->lost = sim_alloc(n);
		memcpy(copy->lost, record->lost, n);
	}
	return copy;
}

struct node *node_copy(struct sim *to, const struct node *node)
{
	struct node *copy = node_new(to, node->dir->copy);
	struct node *next = copy->next;
	struct record **end = &copy->records;

	*copy = *node;
	copy->next = next;
	copy->dir = node->dir->copy;
	copy->refs = copy->named = copy->handles = 0;
	copy->copy = NULL;
	copy->map = NULL;
	content_copy(&copy->current, &node->current);
	content_copy(&copy->durable, &node->durable);
	if (node->map)
		content_write(&copy->current, node->map->addr, node->map->bytes,
			      0);
	copy->records = NULL;
	for (const struct record *r = node->records; r; r = r->next) {
		*end = record_copy(r);
		end = &(*end)->next;
	}
	return copy;
}

uint64_t node_bytes(const struct node *node)
{
	return node->current.bytes;
}

void node_read(const struct node *node, void *buf, uint64_t bytes,
	       uint64_t offset)
{
	if (node->map)
		memcpy(buf, node->map->addr + offset, bytes);
	else
		content_read(&node->current, buf, bytes, offset);
}

/* Writes sector I of RECORD, as much of it as the record covers. */
static void write_sector(struct content *content, const struct record *record,
			 uint64_t i)
{
	uint64_t start = (record->offset / SIM_SECTOR + i) * SIM_SECTOR;
	uint64_t end = MIN(start + SIM_SECTOR, record->offset + record->bytes);
	const uint8_t *data = record->data ? record->data->b : NULL;

	start = MAX(start, record->offset);
	if (data)
		data += start - record->offset;
	content_write(content, data, end - start, start);
}

/* Does the change, but for what is lost. */
static void replay(struct content *content, const struct record *record)
{
	uint64_t end = record->offset + record->bytes;

	if (record->kind == RECORD_WRITE && !record->lost) {
		content_write(content, record->data ? record->data->b : NULL,
			      record->bytes, record->offset);
	} else if (record->kind == RECORD_WRITE) {
		for (uint64_t i = 0; i < parts(record); i++)
			if (!record->lost[i])
				write_sector(content, record, i);
		content->bytes = MAX(content->bytes, end);
	} else if (record->lost && record->lost[0]) {
		return;
	} else if (record->kind == RECORD_RESIZE) {
		content_resize(content, record->bytes);
	} else {
		content_allocate(content, record->offset, record->bytes);
	}
}

/* Applies RECORD, which it takes over, to what reads see, and keeps it until
 * a sync. */
static void append(struct sim *sim, struct node *node, struct record *record)
{
	struct record **end = &node->records;

	replay(&node->current, record);
	if (node->dir->memory) {
		record_free(record);
		return;
	}
	record->number = sim->next_number++;
	while (*end)
		end = &(*end)->next;
	*end = record;
}

static void write_map(struct node *node, const struct record *record)
{
	for (uint64_t i = 0; i < record->bytes; i++) {
		uint64_t at = record->offset + i;

		if (record->lost &&
		    record->lost[at / SIM_SECTOR - record->offset / SIM_SECTOR])
			continue;
		node->map->addr[at] = record->data ? record->data->b[i] : 0;
	}
}

void node_write(struct sim *sim, struct node *node, struct blob *data,
		uint64_t bytes, uint64_t offset, uint8_t *lost)
{
	struct record *record = sim_alloc(sizeof(*record));

	record->kind = RECORD_WRITE;
	record->offset = offset;
	record->bytes = bytes;
	record->data = blob_get(data);
	record->lost = lost;
	if (node->map) {
		write_map(node, record);
		record_free(record);
		return;
	}
	append(sim, node, record);
}

void node_write_part(struct sim *sim, struct node *node, struct blob *data,
		     uint64_t bytes, uint64_t offset, int code)
{
	uint64_t n = sectors(offset, bytes);
	uint64_t end;
	uint8_t *lost;

	if (code != -EIO) {
		end =
		    (offset / SIM_PAGE + sim_random(sim, n / 8 + 1)) * SIM_PAGE;
		if (end > offset)
			node_write(sim, node, data, MIN(bytes, end - offset),
				   offset, NULL);
		return;
	}
	lost = sim_alloc(n);
	for (uint64_t i = 0; i < n; i++)
		lost[i] = (uint8_t)sim_random(sim, 2);
	node_write(sim, node, data, bytes, offset, lost);
}

void node_resize(struct sim *sim, struct node *node, uint64_t bytes)
{
	struct record *record = sim_alloc(sizeof(*record));

	record->kind = RECORD_RESIZE;
	record->bytes = bytes;
	append(sim, node, record);
}

void node_allocate(struct sim *sim, struct node *node, uint64_t offset,
		   uint64_t bytes)
{
	struct record *record = sim_alloc(sizeof(*record));

	record->kind = RECORD_ALLOCATE;
	record->offset = offset;
	record->bytes = bytes;
	append(sim, node, record);
}

void node_sync(struct node *node, uint64_t number)
{
	while (node->records && node->records->number <= number) {
		struct record *record = node->records;

		node->records = record->next;
		replay(&node->durable, record);
		record_free(record);
	}
	node->mtime_synced = node->mtime;
}

void node_sync_failed(struct sim *sim, struct node *node, uint64_t number)
{
	uint64_t odds = sim_random(sim, 3) + 1; /* of 3, that it is lost */

	for (struct record *r = node->records; r && r->number <= number;
	     r = r->next) {
		if (!r->lost)
			r->lost = sim_alloc(parts(r));
		for (uint64_t i = 0; i < parts(r); i++)
			if (sim_random(sim, 3) < odds)
				r->lost[i] = 1;
		node->stale = true;
	}
	if (node->stale && sim_random(sim, 2))
		node_evict(node);
}

void node_evict(struct node *node)
{
	if (node->dir->memory)
		return;
	content_free(&node->current);
	content_copy(&node->current, &node->durable);
	for (const struct record *r = node->records; r; r = r->next)
		replay(&node->current, r);
	node->stale = false;
}

/* ---- maps ---- */

int node_map(struct sim *sim, struct node *node, struct sim_map **ret_map)
{
	struct sim_map *map = node->map;

	if (!node->current.bytes)
		return -EINVAL;
	if (!map) {
		map = sim_alloc(sizeof(*map));
		map->bytes = node->current.bytes;
		map->addr = mmap(NULL, map->bytes, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert(map->addr != MAP_FAILED);
		content_read(&node->current, map->addr, map->bytes, 0);
		node->map = map;
		map->refs = 1;
	}
	map->refs++;
	*ret_map = map;
	return 0;
}

void map_put(struct sim_map *map)
{
	if (--map->refs)
		return;
	(void)munmap(map->addr, map->bytes);
	free(map);
}

void node_unmap(struct node *node)
{
	if (!node->map)
		return;
	content_write(&node->current, node->map->addr, node->map->bytes, 0);
	map_put(node->map);
	node->map = NULL;
}

/* ---- the power is cut ---- */

bool verdict_survives(struct sim *sim, const struct verdict *verdict,
		      uint64_t number)
{
	switch (verdict->cut) {
	case SIM_CUT_DROP:
		return false;
	case SIM_CUT_KEEP:
		return true;
	case SIM_CUT_RANDOM:
		return sim_random(sim, 8) < verdict->odds;
	case SIM_CUT_REORDER:
		return number > verdict->number ||
		       (number == verdict->number && sim_random(sim, 2));
	case SIM_CUT_TORN:
		break;
	}
	return number < verdict->number ||
	       (number == verdict->number && sim_random(sim, 2));
}

/* The sectors of RECORD that survive reach the disk; where a write grew the
 * file, the size may without them. */
static void survive(struct sim *sim, struct node *node, struct record *record,
		    const struct verdict *v)
{
	uint64_t end = record->offset + record->bytes;

	if (record->kind != RECORD_WRITE) {
		if (verdict_survives(sim, v, record->number))
			replay(&node->durable, record);
		return;
	}
	for (uint64_t i = 0; i < parts(record); i++)
		if (verdict_survives(sim, v, record->number) &&
		    !(record->lost && record->lost[i]))
			write_sector(&node->durable, record, i);
	if (end > node->durable.bytes &&
	    (v->cut == SIM_CUT_RANDOM || v->cut == SIM_CUT_TORN) &&
	    verdict_survives(sim, v, record->number))
		node->durable.bytes = end;
}

void node_cut(struct sim *sim, struct node *node, const struct verdict *v)
{
	while (node->records) {
		struct record *record = node->records;

		node->records = record->next;
		survive(sim, node, record, v);
		record_free(record);
	}
	node_evict(node);
	if (!verdict_survives(sim, v, v->number))
		node->mtime = node->mtime_synced;
	node->mtime_synced = node->mtime;
}
