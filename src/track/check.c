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
static bool region_is_durable(struct volume *volume, uint64_t region,
			      const uint64_t words[REGION_WORDS])
{
	if (volume->regions[region].state != REGION_COLD)
		return true;
	for (uint64_t w = 0; w < REGION_WORDS; w++) {
		uint64_t live = 0;

		for (unsigned s = 0; s < 2; s++)
			if (volume->live_open[s])
				live |= atomic_load(
				    &volume->live[s]
					 .bits[region * REGION_WORDS + w]);
		if (live & ~words[w])
			return false;
	}
	return true;
}

/* What both page files hold of a page together. */
static int durable_page(struct volume *volume, uint32_t index,
			uint64_t bits[PAGE_REGIONS][REGION_WORDS],
			struct err *err)
{
	uint64_t from = volume->vm->system.open_generation;

	memset(bits, 0, PAGE_REGIONS * sizeof(bits[0]));
	for (unsigned f = 0; f < PAGE_FILES; f++) {
		struct page_report report;
		int r = pages_read(volume->pages[f], index, from, &report, err);

		if (r < 0)
			return r;
		for (uint64_t i = 0; report.present && i < PAGE_REGIONS; i++)
			for (uint64_t w = 0; w < REGION_WORDS; w++)
				bits[i][w] |= report.bits[i][w];
	}
	return 0;
}

/* One page at a time: the retirer and the guest wait for no more than that.
 * Tracking that gave way, also meanwhile, marks where nothing is durable (T10).
 */
static void check_cold_page(struct checking *c, struct volume *volume,
			    uint32_t index)
{
	uint64_t bits[PAGE_REGIONS][REGION_WORDS];
	struct vm *vm = c->vm;
	struct err err = {0};
	char where[64];
	bool good = true;
	int r;

	(void)pthread_mutex_lock(&vm->paging);
	r = durable_page(volume, index, bits, &err);
	(void)pthread_rwlock_rdlock(&vm->maps);
	(void)pthread_mutex_lock(&volume->lock);
	for (uint64_t i = 0; r == 0 && i < PAGE_REGIONS; i++) {
		uint64_t region = (uint64_t)index * PAGE_REGIONS + i;

		if (region < volume->region_count)
			good &= region_is_durable(volume, region, bits[i]);
	}
	(void)pthread_mutex_unlock(&volume->lock);
	(void)pthread_rwlock_unlock(&vm->maps);
	(void)pthread_mutex_unlock(&vm->paging);
	(void)snprintf(where, sizeof(where), "disk %u page %u", volume->ordinal,
		       index);
	if (r < 0)
		finding(c, true, where, err.text);
	else if (!good && atomic_load(&vm->latch) == LATCH_OFF)
		finding(c, true, where,
			"a block is marked that no durable page holds");
}

static void check_cold(struct checking *c, struct volume *volume)
{
	for (uint32_t i = 0; i < page_count(volume->bytes) &&
			     atomic_load(&c->vm->latch) == LATCH_OFF;
	     i++)
		check_cold_page(c, volume, i);
}

int vm_check(struct vm *vm, void (*fn)(void *arg, const struct vm_finding *f),
	     void *arg, uint64_t *ret_bytes_read, struct err *err)
{
	struct checking c = {.vm = vm, .fn = fn, .arg = arg};

	(void)pthread_mutex_lock(&vm->control);
	if (vm->generation_count == 0) { /* it could not be read again */
		(void)pthread_mutex_unlock(&vm->control);
		return vm_usable(vm, err);
	}
	check_catalogue(&c);
	for (uint32_t i = 0; i < vm->generation_count; i++)
		if (vm->generations[i].sealed)
			check_sealed(&c, &vm->generations[i]);
	(void)pthread_mutex_lock(&vm->keeping);
	check_intents(&c);
	(void)pthread_mutex_unlock(&vm->keeping);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		for (unsigned f = 0; f < PAGE_FILES; f++)
			check_pages(&c, i, f);
		if (vm->attached)
			check_cold(&c, &vm->volumes[i]);
	}
	(void)pthread_mutex_unlock(&vm->control);
	*ret_bytes_read = c.bytes;
	return 0;
}

/* ---- growth ----------------------------------------------------------- */

struct disk_change {
	struct disk_row disk;
	struct generation_row open;
};

static int put_disk(struct vm *vm, void *arg, struct err *err)
{
	struct disk_change *change = arg;
	int r = catalogue_put_disk(vm->catalogue, &change->disk, err);

	return r ? r
		 : catalogue_put_generation(vm->catalogue, &change->open, err);
}

static int commit_disk(struct vm *vm, struct disk_change *change,
		       struct err *err)
{
	int r = vm_commit(vm, put_disk, change, NULL, err);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	vm->disks[change->disk.ordinal] = change->disk;
	*model_open_generation(vm) = change->open;
	vm->serial++;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

static struct disk_change *change_new(struct vm *vm, uint32_t disk,
				      struct err *err)
{
	struct disk_change *change = malloc(sizeof(*change));

	if (!change) {
		err_set(err, -ENOMEM, "resize");
		return NULL;
	}
	change->disk = vm->disks[disk];
	change->open = *model_open_generation(vm);
	return change;
}

/* The growth will move the image's times, so others' writes are looked for
 * first.  A block device has grown already. */
static int judge_before_growth(struct vm *vm, uint32_t disk, uint64_t bytes,
			       struct disk_change *change, struct err *err)
{
	struct judge_facts facts = {.end = JUDGE_CLEAN,
				    .owned = vm->system.owned};
	struct image_stamp now;
	int r = vm->env.stamp(vm->env.arg, disk, &now, err);

	if (r < 0)
		return r;
	if (now.kind == IMAGE_BLOCK && now.bytes == bytes)
		now.bytes = change->disk.bytes;
	judge_image(&change->disk, &now, &facts, &change->open.accuracy[disk]);
	return 0;
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

static int grow_begin_locked(struct vm *vm, uint32_t disk, uint64_t bytes,
			     struct err *err)
{
	struct disk_change *change;
	int r = grow_check(vm, disk, bytes, err);

	if (r == 0 && model_count(vm, true) > 0)
		r = err_set(err, -RP_ESTATE,
			    "a disk cannot grow beneath a snapshot: drop or "
			    "convert it first");
	if (r == 0)
		r = pages_create(vm->env.store, disk, bytes, err);
	if (r < 0)
		return r;
	change = change_new(vm, disk, err);
	if (!change)
		return -ENOMEM;
	change->disk.growing_to = bytes;
	r = judge_before_growth(vm, disk, bytes, change, err);
	if (r == 0)
		r = commit_disk(vm, change, err);
	free(change);
	return r;
}

int vm_grow_begin(struct vm *vm, uint32_t disk, uint64_t bytes, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = grow_begin_locked(vm, disk, bytes, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

static int grow_end_locked(struct vm *vm, uint32_t disk, struct err *err)
{
	struct disk_change *change = change_new(vm, disk, err);
	struct image_stamp stamp;
	int r;

	if (!change)
		return -ENOMEM;
	r = vm->env.stamp(vm->env.arg, disk, &stamp, err);
	if (r == 0 && (change->disk.growing_to == 0 ||
		       stamp.bytes < change->disk.growing_to))
		r = err_set(err, -RP_ESTATE,
			    "the image of disk '%s' has not grown",
			    change->disk.id);
	/* A device may have grown by more than was asked for. */
	if (r == 0 && stamp.bytes > change->disk.growing_to)
		r = pages_create(vm->env.store, disk, stamp.bytes, err);
	if (r == 0) {
		change->disk.bytes = stamp.bytes;
		change->disk.growing_to = 0;
		change->disk.stamp = stamp;
		r = commit_disk(vm, change, err);
	}
	free(change);
	return r;
}

int vm_grow_end(struct vm *vm, uint32_t disk, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = grow_end_locked(vm, disk, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}
