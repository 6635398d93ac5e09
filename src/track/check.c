/* SPDX-License-Identifier: Apache-2.0 */
/* The scrub, and growth: what is done to a store's files at leisure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/internal.h"
#include "track/judge.h"

struct checking {
	struct vm *vm;
	void (*fn)(void *arg, const struct vm_finding *finding);
	void *arg;
	uint64_t bytes;
	uint32_t disk;
	unsigned which;
};

static void finding(struct checking *c, bool damaged, const char *where,
		    const char *message)
{
	struct vm_finding f = {.damaged = damaged};

	(void)snprintf(f.where, sizeof(f.where), "%s", where);
	(void)snprintf(f.message, sizeof(f.message), "%s", message);
	c->fn(c->arg, &f);
}

static void check_catalogue(struct checking *c)
{
	struct err err = {0};
	uint64_t bytes = 0;

	if (catalogue_verify(c->vm->catalogue, &bytes, &err) < 0)
		finding(c, true, CATALOGUE_NAME, err.text);
	c->bytes += bytes;
}

static void check_sealed(struct checking *c, const struct generation_row *row)
{
	struct sealed_disk disks[DISKS_PER_VM_MAX] = {0};
	struct sealed_head head;
	struct err err = {0};
	char name[48];
	int r = sealed_read(c->vm->env.store, &c->vm->system.store,
			    row->generation, row->serial, &head, disks, &err);

	sealed_name(row->generation, row->serial, name);
	if (r < 0) {
		finding(c, true, name, err.text);
		return;
	}
	if (head.disks != c->vm->disk_count)
		finding(c, true, name, "the number of disks is not right");
	for (uint32_t i = 0; i < head.disks; i++) {
		c->bytes += blockset_count(disks[i].set) * 2;
		blockset_free(disks[i].set);
	}
}

static int check_page(void *arg, const struct page_report *report)
{
	struct checking *c = arg;
	char where[64];

	c->bytes += PAGE_BYTES;
	if (!report->torn || c->vm->attached || c->vm->system.live)
		return 0;
	(void)snprintf(where, sizeof(where), "pages.%u.%u page %u", c->disk,
		       c->which, report->index);
	finding(c, true, where, "a slot is damaged");
	return 0;
}

static void check_pages(struct checking *c, uint32_t disk, unsigned which)
{
	struct vm *vm = c->vm;
	struct pages_file *pages = NULL;
	struct err err = {0};
	char where[48];
	int r;

	c->disk = disk;
	c->which = which;
	(void)snprintf(where, sizeof(where), "pages.%u.%u", disk, which);
	r = pages_open(vm->env.store, &vm->system.store, disk, which,
		       vm->disks[disk].bytes, &pages, &err);
	if (r == 0)
		r = pages_scan(pages, vm->system.open_generation, check_page, c,
			       &err);
	if (r < 0)
		finding(c, true, where, err.text);
	pages_close(pages);
}

/* Reads only: intents_open() would renew the record in force. */
static void check_intents(struct checking *c)
{
	struct vm *vm = c->vm;
	uint8_t *buf = malloc(INTENT_SLOT_BYTES);
	struct intent *intents = malloc(INTENT_ENTRIES_MAX * sizeof(*intents));
	struct file *file = NULL;
	struct err err = {0};
	unsigned torn = 0;
	bool found = false;
	int r = buf && intents
		    ? fs_open(vm->env.store, "intents", FILE_READ, &file, &err)
		    : err_set(&err, -ENOMEM, "read the intents");

	for (unsigned i = 0; r == 0 && i < INTENT_SLOTS; i++) {
		struct intent_head head;
		int64_t n = file_read(file, buf, INTENT_SLOT_BYTES,
				      (uint64_t)i * INTENT_SLOT_BYTES, &err);

		if (n != INTENT_SLOT_BYTES) {
			r = n < 0 ? (int)n
				  : err_set(&err, -RP_ECORRUPT,
					    "the file is too short");
			break;
		}
		c->bytes += (uint64_t)n;
		n = intents_decode(buf, INTENT_SLOT_BYTES, &head, intents,
				   NULL);
		torn += n < 0 && n != -ENODATA;
		found |= n == 0 && guid_equal(&head.store, &vm->system.store) &&
			 guid_equal(&head.live, &vm->system.live_id);
	}
	if (r < 0)
		finding(c, true, "intents", err.text);
	else if (torn > 1)
		finding(c, true, "intents",
			"several slots are damaged; a crash leaves one");
	else if (vm->system.live && !found)
		finding(c, true, "intents", "no record of this life is valid");
	file_close(file);
	free(intents);
	free(buf);
}

/* T3 on what is attached: in a cold region every set bit is in a page. */
struct durable {
	struct checking *c;
	struct blockset *set;
};

static int collect_page(void *arg, const struct page_report *report)
{
	struct durable *d = arg;

	for (uint64_t r = 0; report->present && r < PAGE_REGIONS; r++) {
		uint64_t region = (uint64_t)report->index * PAGE_REGIONS + r;

		if (region < blockset_regions(d->set) &&
		    blockset_add_words(d->set, region, report->bits[r]) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void check_region(struct checking *c, struct volume *volume,
			 const struct blockset *durable, uint64_t region)
{
	uint64_t words[REGION_WORDS] = {0};
	char where[64];

	if (volume->regions[region].state != REGION_COLD)
		return;
	(void)blockset_region(durable, region, words);
	for (uint64_t w = 0; w < REGION_WORDS; w++) {
		uint64_t live = 0;

		for (unsigned s = 0; s < 2; s++)
			if (volume->live_open[s])
				live |= atomic_load(
				    &volume->live[s]
					 .bits[region * REGION_WORDS + w]);
		if (!(live & ~words[w]))
			continue;
		(void)snprintf(where, sizeof(where), "disk %u region %llu",
			       volume->ordinal, (unsigned long long)region);
		finding(c, true, where,
			"a block is marked that no durable page holds");
		return;
	}
}

static void check_cold(struct checking *c, struct volume *volume)
{
	struct durable d = {c, blockset_new(volume->bytes)};
	struct vm *vm = c->vm;
	int r = d.set ? 0 : -ENOMEM;

	for (unsigned f = 0; r == 0 && f < PAGE_FILES; f++)
		r = pages_scan(volume->pages[f], vm->system.open_generation,
			       collect_page, &d, NULL);
	if (r == 0) {
		(void)pthread_rwlock_rdlock(&vm->maps);
		(void)pthread_mutex_lock(&volume->lock);
		for (uint64_t i = 0; i < volume->region_count; i++)
			check_region(c, volume, d.set, i);
		(void)pthread_mutex_unlock(&volume->lock);
		(void)pthread_rwlock_unlock(&vm->maps);
	}
	blockset_free(d.set);
}

int vm_check(struct vm *vm, void (*fn)(void *arg, const struct vm_finding *f),
	     void *arg, uint64_t *ret_bytes_read, struct err *err)
{
	struct checking c = {.vm = vm, .fn = fn, .arg = arg};

	(void)pthread_mutex_lock(&vm->control);
	check_catalogue(&c);
	for (uint32_t i = 0; i < vm->generation_count; i++)
		if (vm->generations[i].sealed)
			check_sealed(&c, &vm->generations[i]);
	(void)pthread_mutex_lock(&vm->keeping);
	check_intents(&c);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		for (unsigned f = 0; f < PAGE_FILES; f++)
			check_pages(&c, i, f);
		if (vm->attached)
			check_cold(&c, &vm->volumes[i]);
	}
	(void)pthread_mutex_unlock(&vm->keeping);
	(void)pthread_mutex_unlock(&vm->control);
	*ret_bytes_read = c.bytes;
	return 0;
}

/* ---- growth ----------------------------------------------------------- */

struct growing {
	struct disk_row disk;
	struct generation_row open;
};

static struct growing *growing_new(struct vm *vm, uint32_t disk)
{
	struct growing *g = malloc(sizeof(*g));

	if (g) {
		g->disk = vm->disks[disk];
		g->open = *model_open_generation(vm);
	}
	return g;
}

static int put_growing(struct vm *vm, void *arg, struct err *err)
{
	const struct growing *g = arg;
	int r = catalogue_put_disk(vm->catalogue, &g->disk, err);

	return r ? r : catalogue_put_generation(vm->catalogue, &g->open, err);
}

static int commit_growing(struct vm *vm, struct growing *g, struct err *err)
{
	int r = vm_commit(vm, put_growing, g, NULL, err);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	vm->disks[g->disk.ordinal] = g->disk;
	*model_open_generation(vm) = g->open;
	vm->serial++;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

/* Growth moves the image's times: what others did before it must be told now,
 * or never. */
static int judge_growing(struct vm *vm, struct growing *g, struct err *err)
{
	struct judge_facts facts = {.end = JUDGE_CLEAN,
				    .owned = vm->system.owned};
	uint32_t disk = g->disk.ordinal;
	struct image_stamp stamp;
	int r = vm->env.stamp(vm->env.arg, disk, &stamp, err);

	if (r == 0)
		judge_image(&g->disk, &stamp, &facts, &g->open.accuracy[disk]);
	return r;
}

static int grow_check(const struct vm *vm, uint32_t disk, uint64_t bytes,
		      struct err *err)
{
	const struct disk_row *row = &vm->disks[disk];

	if (vm->attached || vm->system.live)
		return err_set(err, -RP_ESTATE,
			       "a disk grows only while it is not served");
	if (bytes <= row->bytes)
		return err_set(err, -RP_EPARAM,
			       "disk '%s' has %llu bytes and can only grow",
			       row->id, (unsigned long long)row->bytes);
	if (bytes % SECTOR_BYTES || bytes > DISK_BYTES_MAX)
		return err_set(err, -RP_EPARAM,
			       "a disk's size is a multiple of 512 up to 64 "
			       "TiB");
	return vm_usable(vm, err);
}

int vm_grow_begin(struct vm *vm, uint32_t disk, uint64_t bytes, struct err *err)
{
	struct growing *g;
	int r;

	(void)pthread_mutex_lock(&vm->control);
	g = growing_new(vm, disk);
	r = g ? grow_check(vm, disk, bytes, err)
	      : err_set(err, -ENOMEM, "resize");
	if (r == 0)
		r = judge_growing(vm, g, err);
	if (r == 0)
		r = pages_create(vm->env.store, disk, bytes, err);
	if (r == 0) {
		g->disk.growing_to = bytes;
		r = commit_growing(vm, g, err);
	}
	(void)pthread_mutex_unlock(&vm->control);
	free(g);
	return r;
}

static int grow_end(struct vm *vm, struct growing *g, struct err *err)
{
	struct disk_row *row = &g->disk;
	struct image_stamp stamp;
	int r = vm->env.stamp(vm->env.arg, row->ordinal, &stamp, err);

	if (r < 0)
		return r;
	if (row->growing_to == 0 || stamp.bytes < row->growing_to)
		return err_set(err, -RP_ESTATE,
			       "the image of disk '%s' has not grown", row->id);
	/* A block device may have been rounded up. */
	if (stamp.bytes > row->growing_to)
		r = pages_create(vm->env.store, row->ordinal, stamp.bytes, err);
	if (r < 0)
		return r;
	row->bytes = stamp.bytes;
	row->growing_to = 0;
	row->stamp = stamp;
	return commit_growing(vm, g, err);
}

int vm_grow_end(struct vm *vm, uint32_t disk, struct err *err)
{
	struct growing *g;
	int r;

	(void)pthread_mutex_lock(&vm->control);
	g = growing_new(vm, disk);
	r = g ? grow_end(vm, g, err) : err_set(err, -ENOMEM, "resize");
	(void)pthread_mutex_unlock(&vm->control);
	free(g);
	return r;
}
